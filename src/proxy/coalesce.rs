//! Pieces of a stream that is faster than anybody reads go to the client together.
//!
//! A piece passed on costs a read, a write and the client's own read, whatever its length: more than all that the edge does
//! with what is in it. A model writes some tens or hundreds of events a second, and each of those goes as it comes. Where
//! pieces come one close upon the other, as from a cache or a server that hands over what it had gathered, the next is left
//! to come for a while and goes with those behind it. docs/decisions/021-pieces-that-go-together.md has the figures.

use std::time::{Duration, Instant};

/// A piece that comes so soon after the one before it was passed on is near it.
const NEAR: Duration = Duration::from_micros(500);
/// What the next piece is given to find company, but for the timer's step of 1 ms, which comes on top.
const WAIT: Duration = Duration::from_micros(500);
/// So many pieces in a row that are near have the next wait. The words that a dialect begins with are fewer.
const IN_A_ROW: u8 = 8;
/// So many bytes are worth a write of their own: nothing more is looked for behind them.
pub const ENOUGH: usize = 4 << 10;
/// A wait that brings less than [`ENOUGH`] has to bring more than so many times what came by itself, or there are no more
/// for now.
const WORTH: usize = 2;

/// Tells of one stream which pieces wait for company.
#[derive(Debug, Default)]
pub struct Coalescer {
    /// Pieces in a row, each near the one before it. At [`IN_A_ROW`] pieces are gathered.
    in_a_row: u8,
    /// The longest of these, in bytes.
    longest: usize,
    /// The last that was gathered was [`ENOUGH`], so that more may be there.
    full: bool,
}

impl Coalescer {
    /// Whether what is there behind the next piece goes with it.
    pub fn gathers(&self) -> bool {
        self.in_a_row == IN_A_ROW
    }

    /// Until when the next piece is not asked for, the one before it having been passed on at `last`. None: it is asked for
    /// at once.
    pub fn wait_until(&self, last: Instant) -> Option<Instant> {
        (self.gathers() && !self.full).then(|| last + WAIT)
    }

    /// A piece of `length` bytes, with what was gathered, came `now`; the one before it was passed on at `last`.
    pub fn arrived(&mut self, length: usize, last: Instant, now: Instant) {
        if self.gathers() {
            // What is left behind a full one is no sign of anything.
            let worth = self.full || length >= ENOUGH || length > WORTH * self.longest;
            self.full = length >= ENOUGH;
            if !worth {
                self.reset();
            }
        } else if length >= ENOUGH || now.duration_since(last) >= NEAR {
            self.reset();
        } else {
            self.in_a_row += 1;
            self.longest = self.longest.max(length);
        }
    }

    /// Something else than a piece came in between.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: usize = 200;

    /// Pieces of so many bytes, each so long after the one before: which of them had been waited for.
    fn waited(coalescer: &mut Coalescer, pieces: &[(u64, usize)]) -> Vec<bool> {
        let last = Instant::now();
        let waited = pieces.iter().map(|(micros, length)| {
            let waits = coalescer.wait_until(last);
            assert!(waits.is_none_or(|until| until == last + WAIT));
            coalescer.arrived(*length, last, last + Duration::from_micros(*micros));
            waits.is_some()
        });
        waited.collect()
    }

    fn gathering() -> Coalescer {
        let mut coalescer = Coalescer::default();
        assert_eq!(waited(&mut coalescer, &[(10, EVENT); IN_A_ROW as usize]), [false; IN_A_ROW as usize]);
        assert!(coalescer.gathers());
        coalescer
    }

    #[test]
    fn a_models_events_go_as_they_come() {
        let mut coalescer = Coalescer::default();
        assert_eq!(waited(&mut coalescer, &[(500, EVENT); 50]), [false; 50]);
        // Seven at a time are no stream that is too fast.
        for _ in 0..10 {
            assert_eq!(waited(&mut coalescer, &[(499, EVENT); 7]), [false; 7]);
            assert_eq!(waited(&mut coalescer, &[(500, EVENT)]), [false]);
        }
    }

    #[test]
    fn what_is_close_goes_together_for_as_long_as_it_is_worth_the_wait() {
        let mut coalescer = gathering();
        assert_eq!(waited(&mut coalescer, &[(1_500, 3 * EVENT); 20]), [true; 20]);
        // The last wait brought two events: the next seven are not waited for, however soon they come.
        assert_eq!(waited(&mut coalescer, &[(1_500, 2 * EVENT)]), [true]);
        assert_eq!(waited(&mut coalescer, &[(10, EVENT); 8]), [false; 8]);
        assert!(coalescer.wait_until(Instant::now()).is_some());
    }

    #[test]
    fn behind_a_full_one_more_may_be_there() {
        let mut coalescer = gathering();
        assert_eq!(waited(&mut coalescer, &[(1_500, ENOUGH), (10, ENOUGH), (10, EVENT)]), [true, false, false]);
        assert_eq!(waited(&mut coalescer, &[(1_500, EVENT)]), [true]);
        assert!(!coalescer.gathers());
    }

    #[test]
    fn events_of_half_a_gather_are_gathered_as_well() {
        let large = ENOUGH * 3 / 4;
        let mut coalescer = Coalescer::default();
        assert_eq!(waited(&mut coalescer, &[(10, large); IN_A_ROW as usize]), [false; IN_A_ROW as usize]);
        assert_eq!(waited(&mut coalescer, &[(1_500, 2 * large), (10, large)]), [true, false]);
        assert!(coalescer.gathers());
    }

    #[test]
    fn a_large_piece_waits_for_nobody() {
        let mut coalescer = Coalescer::default();
        assert_eq!(waited(&mut coalescer, &[(10, EVENT); 7]), [false; 7]);
        assert_eq!(waited(&mut coalescer, &[(10, ENOUGH); 20]), [false; 20]);
        assert_eq!(waited(&mut coalescer, &[(10, EVENT); 8]), [false; 8]);
    }

    #[test]
    fn a_comment_in_between_begins_anew() {
        let mut coalescer = gathering();
        coalescer.reset();
        assert!(!coalescer.gathers() && coalescer.wait_until(Instant::now()).is_none());
    }
}
