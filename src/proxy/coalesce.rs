//! Events of a stream that is faster than anybody reads go to the client together.
//!
//! A piece passed on costs a read, a write and the client's own read, whatever its length: more than all that the edge does
//! with what is in it. A model writes some tens or hundreds of events a second, and each of those goes as it comes. Where
//! they come closer upon one another than [`CLOSE`], as from a cache or a server that hands over what it had gathered, the next
//! is not read before it has company: 0.5 ms later, and up to 1 ms more until the timer rings.
//! docs/decisions/021-events-that-go-together.md has the figures.

use std::time::{Duration, Instant};

/// A piece that comes so soon after it was asked for is close upon the one before it, and is asked for that much later.
const CLOSE: Duration = Duration::from_micros(500);
/// So many may be close upon one another before one has to wait: a stream's first words are never held back.
const AT_ONCE: u8 = 2;
/// A piece of so many bytes is worth a write of its own, and no more than this is gathered.
pub const ENOUGH: usize = 4 << 10;

/// Tells when the next piece of one stream is asked for.
#[derive(Debug, Default)]
pub struct Coalescer {
    /// Pieces in a row, each close upon the one before it; counted no further than is asked for.
    close: u8,
    /// When the next piece was asked for, where that was not as soon as the one before it had gone.
    asked: Option<Instant>,
}

impl Coalescer {
    /// Until when the next piece is left to come, the one before it having been passed on at `last`. None: it is asked
    /// for at once.
    pub fn leaves_until(&self, last: Instant) -> Option<Instant> {
        (self.close > AT_ONCE).then(|| last + CLOSE)
    }

    /// The next piece was left to come, and is asked for `now`.
    pub fn asks(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// A piece of `length` bytes came `now`, the one before it having been passed on at `last`. Whether what has come
    /// behind it goes with it.
    pub fn came(&mut self, length: usize, last: Instant, now: Instant) -> bool {
        let asked = self.asked.take();
        if now.duration_since(asked.unwrap_or(last)) >= CLOSE || length >= ENOUGH {
            self.close = 0;
        } else if self.close <= AT_ONCE {
            self.close += 1;
        }
        asked.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which small pieces are left to come, where each is there so many microseconds after the one before has gone.
    fn left(gaps: &[u64]) -> Vec<bool> {
        let mut coalescer = Coalescer::default();
        let mut last = Instant::now();
        let outcome = gaps.iter().map(|gap| {
            let there = last + Duration::from_micros(*gap);
            let until = coalescer.leaves_until(last);
            if let Some(until) = until {
                coalescer.asks(until);
            }
            let came = until.unwrap_or(there).max(there);
            assert_eq!(coalescer.came(200, last, came), until.is_some());
            last = came;
            until.is_some()
        });
        outcome.collect()
    }

    #[test]
    fn a_models_events_go_as_they_come() {
        assert_eq!(left(&[20_000; 50]), [false; 50]);
        assert_eq!(left(&[500; 50]), [false; 50]);
    }

    #[test]
    fn the_first_words_go_at_once_and_what_is_close_behind_them_together() {
        assert_eq!(left(&[10, 10, 10, 10, 499, 999]), [false, false, false, true, true, true]);
    }

    #[test]
    fn a_pause_begins_anew() {
        assert_eq!(left(&[10, 10, 10, 1_000, 10, 10, 10, 10]), [false, false, false, true, false, false, false, true]);
    }

    #[test]
    fn a_large_piece_waits_for_nobody() {
        let mut coalescer = Coalescer { close: AT_ONCE + 1, asked: None };
        let last = Instant::now();
        assert_eq!(coalescer.leaves_until(last), Some(last + CLOSE));
        assert!(!coalescer.came(ENOUGH, last, last));
        assert_eq!(coalescer.leaves_until(last), None);
    }
}
