//! Time as a value that is passed in. Owns: the clock, UTC days, and their text forms. Knows nothing of requests.
//!
//! Durations inside a request use `std::time::Instant`; everything that is stored or shown uses [`Timestamp`].

use std::cell::RefCell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;
use jiff::civil::{DateTime, datetime};
use jiff::fmt::temporal::Pieces;

use crate::units::{Day, RequestId, Timestamp};

const MICROS_PER_DAY: i64 = 86_400 * 1_000_000;
/// In UTC. Texts are read and written by jiff's calendar, which has all of the year 9999: its instants end a day and two hours
/// before that does.
const EPOCH: DateTime = datetime(1970, 1, 1, 0, 0, 0, 0);

/// Where the time comes from: the system in production, a hand-set value in tests.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The operating system's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

impl ManualClock {
    pub fn at(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.0))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap_or(0), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

impl Timestamp {
    /// The UTC day this instant falls on.
    pub fn day(self) -> Day {
        Day(i32::try_from(self.0.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX))
    }

    /// This long from here; the end of time where that lies beyond it.
    pub fn after(self, span: Duration) -> Timestamp {
        Timestamp(i64::try_from(span.as_micros()).map_or(i64::MAX, |micros| self.0.saturating_add(micros)))
    }

    /// From here to `later`; zero when `later` is in the past.
    pub fn until(self, later: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(later.0 - self.0).unwrap_or(0))
    }

    /// Reads any RFC 3339 text with an offset; what is finer than a microsecond is cut off.
    pub fn parse(text: &str) -> Option<Self> {
        let pieces = Pieces::parse(text).ok()?;
        let since = pieces.date().to_datetime(pieces.time()?).duration_since(EPOCH);
        let offset = pieces.to_numeric_offset()?.seconds();
        Some(Self((since.as_secs() - i64::from(offset)) * 1_000_000 + i64::from(since.subsec_micros())))
    }

    /// RFC 3339 in UTC with whole seconds, `2026-01-31T00:00:00Z`: the form of `X-RateLimit-Reset`. The last second of the year
    /// 9999 where it lies beyond.
    pub fn rfc3339(self) -> String {
        with_second(self, |text| [text, "Z"].concat())
    }

    /// RFC 3339 in UTC with microseconds: the form of log lines and stored rows.
    pub fn rfc3339_micros(self) -> String {
        let mut text = String::with_capacity("2026-01-31T00:00:00.000000Z".len());
        self.write_micros(&mut text);
        text
    }

    /// Appends what [`rfc3339_micros`](Self::rfc3339_micros) gives.
    pub fn write_micros(self, out: &mut String) {
        with_second(self, |text| out.push_str(text));
        let mut digits = itoa::Buffer::new();
        // The leading 1 keeps the fraction's zeros.
        let fraction = digits.format(1_000_000 + self.0.rem_euclid(1_000_000)).get(1..).unwrap_or_default();
        out.push('.');
        out.push_str(fraction);
        out.push('Z');
    }
}

/// Hands `show` an instant's text down to its second. The last one is kept: one and the same second is written for
/// thousands of requests, and the calendar costs more than the rest of a row.
fn with_second<T>(instant: Timestamp, show: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static LAST: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    let second = instant.0.div_euclid(1_000_000);
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second {
            let civil = EPOCH.saturating_add(SignedDuration::from_secs(second));
            *text = civil.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            *last = second;
        }
        show(text)
    })
}

impl Day {
    /// The midnight that begins this day.
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * MICROS_PER_DAY)
    }

    /// The midnight that ends it, when quotas start anew.
    pub fn end(self) -> Timestamp {
        Timestamp((i64::from(self.0) + 1) * MICROS_PER_DAY)
    }

    /// `2026-01-31`.
    pub fn iso(self) -> String {
        self.start().rfc3339().chars().take(10).collect()
    }
}

impl RequestId {
    /// A fresh UUIDv7 whose time part is `now`, so that the row's `created_at` can be read back from it.
    pub fn new(now: Timestamp) -> Self {
        let micros = u64::try_from(now.0).unwrap_or(0);
        let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000;
        let time = uuid::Timestamp::from_unix(uuid::NoContext, micros / 1_000_000, nanos);
        Self(uuid::Uuid::new_v7(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_and_end_at_utc_midnight() {
        let last = Timestamp(1_769_903_999_999_999); // 2026-01-31T23:59:59.999999Z
        assert_eq!(last.rfc3339_micros(), "2026-01-31T23:59:59.999999Z");
        assert_eq!(Timestamp::parse("2026-01-31T23:59:59.999999Z"), Some(last));
        assert_eq!(Timestamp::parse("2026-01-31"), None);
        assert_eq!(last.day().iso(), "2026-01-31");
        assert_eq!(last.day().end().rfc3339(), "2026-02-01T00:00:00Z");
        assert_eq!(Timestamp(last.0 + 1).day(), Day(last.day().0 + 1));
        assert_eq!(last.until(last.day().end()), Duration::from_micros(1));
    }

    #[test]
    fn the_calendar_has_all_of_the_year_9999_and_its_end_is_the_end() {
        for text in ["1970-01-01T00:00:00Z", "9999-12-30T22:00:01Z", "9999-12-31T00:00:00Z", "9999-12-31T23:59:59Z"] {
            assert_eq!(Timestamp::parse(text).unwrap().rfc3339(), text);
        }
        let eve = Timestamp::parse("9999-12-30T00:00:00Z").unwrap();
        assert_eq!(eve.day().end().rfc3339(), "9999-12-31T00:00:00Z");
        assert_eq!(Timestamp::parse("9999-12-30T03:00:00+03:00"), Some(eve));
        assert_eq!(eve.day().end().day().end().rfc3339(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp(i64::MAX).rfc3339(), "9999-12-31T23:59:59Z");
        for text in ["10000-01-01T00:00:00Z", "9999-12-32T00:00:00Z", "9999-12-31T00:00:00", "9999-12-31"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn request_ids_carry_their_millisecond() {
        let now = Timestamp(1_769_903_999_999_000);
        let id = RequestId::new(now).0;
        let (seconds, nanos) = id.get_timestamp().map(|time| time.to_unix()).unwrap_or_default();
        assert_eq!((seconds, nanos / 1_000_000), (1_769_903_999, 999));
    }
}
