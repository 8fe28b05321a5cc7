//! Lines that may come in crowds: one a second is written, and how many were not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const APART: Duration = Duration::from_secs(1);

pub struct Seldom {
    since: Instant,
    /// When the next may be written, in milliseconds from `since`.
    next: AtomicU64,
    unwritten: AtomicU64,
}

impl Seldom {
    pub fn new(now: Instant) -> Self {
        Self { since: now, next: AtomicU64::new(0), unwritten: AtomicU64::new(0) }
    }

    /// Whether a line that is due is to be written: with how many before it were not. None: with the next.
    pub fn write(&self, now: Instant) -> Option<u64> {
        let at = milliseconds(now.saturating_duration_since(self.since));
        let next = self.next.load(Ordering::Relaxed);
        let mine = at >= next
            && self.next.compare_exchange(next, at + milliseconds(APART), Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if mine {
            return Some(self.unwritten.swap(0, Ordering::Relaxed));
        }
        self.unwritten.fetch_add(1, Ordering::Relaxed);
        None
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_is_written_with_the_number_of_those_that_were_not() {
        let start = Instant::now();
        let seldom = Seldom::new(start);
        let at = |milliseconds| seldom.write(start + Duration::from_millis(milliseconds));
        assert_eq!([0, 1, 500, 999, 1_000, 1_001, 9_000].map(at), [Some(0), None, None, None, Some(3), None, Some(1)]);
    }
}
