//! What both databases can write down of a span of time: the years 1 to 9999. Whoever asks for more is asked nothing else
//! by being answered for these, and a date that no column holds would be an error.

use crate::units::{Day, Timestamp};

const FIRST: Day = Day(-719_162); // 0001-01-01
const LAST: Day = Day(2_932_895); // 9999-12-30, the last whole day that the calendar here has

pub(super) fn day(day: Day) -> Day {
    day.clamp(FIRST, LAST)
}

pub(super) fn time(time: Timestamp) -> Timestamp {
    time.clamp(FIRST.start(), LAST.start())
}

/// From then on, and before then; everything where nothing is said.
pub(super) fn span(since: Option<Timestamp>, until: Option<Timestamp>) -> (Timestamp, Timestamp) {
    (time(since.unwrap_or(FIRST.start())), time(until.unwrap_or(LAST.start())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_dates_that_people_write() {
        assert_eq!((day(Day(i32::MIN)).iso(), day(Day(i32::MAX)).iso()), ("0001-01-01".into(), "9999-12-30".into()));
        let (first, last) = span(Some(Timestamp(i64::MIN)), None);
        assert_eq!((first.rfc3339(), last.rfc3339()), ("0001-01-01T00:00:00Z".into(), "9999-12-30T00:00:00Z".into()));
        assert_eq!(time(Timestamp(7)), Timestamp(7));
    }
}
