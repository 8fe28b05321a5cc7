//! Whether a target answers in vain: at once, with a 5xx or with what is no answer of a model. It has the least to do of
//! all, and would draw every request to itself.
//!
//! It is passed over for a second, and for twice as long with each such answer in a row, where another target may be asked.
//! A preference and no breaker: where all are out of favour, all are asked as before.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(1);
/// Doublings at most.
const MOST: u32 = 5;

pub(super) struct Favour {
    since: Instant,
    /// Answers in vain since the last good one.
    run: AtomicU32,
    /// Until when it is passed over, in milliseconds from `since`.
    until: AtomicU64,
}

impl Favour {
    pub fn new(now: Instant) -> Self {
        Self { since: now, run: AtomicU32::new(0), until: AtomicU64::new(0) }
    }

    pub fn is_lost(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until > 0 && until > self.milliseconds(now)
    }

    /// An answer came that could not be passed on.
    pub fn lose(&self, now: Instant) {
        let run = self.run.fetch_add(1, Ordering::Relaxed);
        let until = self.milliseconds(now + FIRST * (1 << run.min(MOST)));
        self.until.fetch_max(until, Ordering::Relaxed);
    }

    /// A good answer came: the next in vain is the first again. What time was set runs on, for another model may be well.
    pub fn regain(&self) {
        if self.run.load(Ordering::Relaxed) > 0 {
            self.run.store(0, Ordering::Relaxed);
        }
    }

    fn milliseconds(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.since).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_lost_for_longer_with_each_answer_in_vain_until_a_good_one() {
        let start = Instant::now();
        let favour = Favour::new(start);
        assert!(!favour.is_lost(start));
        let mut now = start;
        for (answer, seconds) in [1, 2, 4, 8, 16, 32, 32].into_iter().enumerate() {
            favour.lose(now);
            now += Duration::from_secs(seconds);
            assert!(favour.is_lost(now - Duration::from_millis(1)), "answer {answer}");
            assert!(!favour.is_lost(now), "answer {answer}");
        }
        favour.regain();
        favour.lose(now);
        assert!(favour.is_lost(now) && !favour.is_lost(now + FIRST));
    }
}
