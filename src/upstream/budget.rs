//! How many second attempts an upstream may be sent, so that its outage is not doubled by those who try again.
//!
//! One in five of the requests of the last ten seconds, and ten beside. Pure but for its counts: the time is passed in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Seconds that are looked back on.
const SECONDS: usize = 10;
/// Second attempts that go at any rate within them: an edge with little to do retries what fails.
const FLOOR: u64 = 10;
/// One second attempt for so many requests.
const SHARE: u64 = 5;

pub struct Budget {
    started: Instant,
    requests: Window,
    retries: Window,
    refused: AtomicU64,
}

/// Counts by second, each cell with the second that it is of: `second << 32 | count`.
#[derive(Default)]
struct Window([AtomicU64; SECONDS]);

impl Budget {
    pub fn new(now: Instant) -> Self {
        Self { started: now, requests: Window::default(), retries: Window::default(), refused: AtomicU64::new(0) }
    }

    pub fn note_request(&self, now: Instant) {
        self.requests.add(self.second(now));
    }

    /// Whether one more second attempt may go; counts it where it may.
    pub fn take(&self, now: Instant) -> bool {
        let second = self.second(now);
        let granted = self.retries.sum(second) < FLOOR + self.requests.sum(second) / SHARE;
        if granted {
            self.retries.add(second);
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        granted
    }

    /// Second attempts that were not made for want of it.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs()
    }
}

impl Window {
    fn add(&self, second: u64) {
        let Some(cell) = self.0.get(place(second)) else { return };
        let stamp = second << 32;
        let counted = |cell: u64| if cell >> 32 == second { cell + 1 } else { stamp | 1 };
        let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |cell| Some(counted(cell)));
    }

    fn sum(&self, second: u64) -> u64 {
        let cells = self.0.iter().map(|cell| cell.load(Ordering::Relaxed));
        cells.filter(|cell| (cell >> 32) + SECONDS as u64 > second).map(|cell| cell & u64::from(u32::MAX)).sum()
    }
}

fn place(second: u64) -> usize {
    usize::try_from(second % SECONDS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn taken(budget: &Budget, now: Instant, tries: usize) -> usize {
        (0..tries).filter(|_| budget.take(now)).count()
    }

    #[test]
    fn an_idle_upstream_has_its_floor_and_a_busy_one_a_fifth_beside() {
        let now = Instant::now();
        let budget = Budget::new(now);
        assert_eq!((taken(&budget, now, 100), budget.refused()), (10, 90));
        (0..500).for_each(|_| budget.note_request(now));
        assert_eq!(taken(&budget, now, 1_000), 100);
    }

    #[test]
    fn what_lies_ten_seconds_back_counts_no_more() {
        let now = Instant::now();
        let budget = Budget::new(now);
        (0..50).for_each(|_| budget.note_request(now));
        assert_eq!(taken(&budget, now, 100), 20);
        assert_eq!(taken(&budget, now + Duration::from_secs(9), 100), 0);
        assert_eq!(taken(&budget, now + Duration::from_secs(10), 100), 10);
    }

    proptest! {
        #[test]
        fn no_ten_seconds_see_more_than_a_fifth_and_the_floor(steps in proptest::collection::vec((0..3_000_u64, any::<bool>()), 0..400)) {
            let start = Instant::now();
            let budget = Budget::new(start);
            let (mut now, mut requests, mut retries) = (start, Vec::new(), Vec::new());
            for (pass, retry) in steps {
                now += Duration::from_millis(pass);
                if retry {
                    if budget.take(now) {
                        retries.push(now);
                    }
                } else {
                    budget.note_request(now);
                    requests.push(now);
                }
                // Cells are whole seconds: what is certain is that of a window one cell shorter.
                let lately = |times: &[Instant], within: u64| times.iter().filter(|at| now - **at < Duration::from_secs(within)).count();
                prop_assert!(lately(&retries, 9) <= 10 + lately(&requests, 19) / 5);
            }
        }
    }
}
