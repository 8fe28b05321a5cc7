//! How much to ask for: what lasts a user for half a minute or so, by how long the last lease did.
//!
//! Enough that nobody waits for the store between two requests, and little enough that a process which dies for good takes
//! along what is hardly missed.

/// The size of a first lease, and of those of a user who asks now and then.
const FIRST: u32 = 8;
/// A lease used up within so many turns, a quarter of a minute, is followed by one of twice its size.
const QUICK: u32 = 60;
/// One that lasted so many, a minute, by one of half.
const SLOW: u32 = 240;

/// The last lease of a subject's day.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// 0 before the first.
    pub(super) granted: u32,
    /// Since then.
    turns: u32,
}

impl Pace {
    pub(super) fn note(&mut self, granted: u32) {
        *self = Self { granted, turns: 0 };
    }

    /// A turn of the background task.
    pub(super) fn turn(&mut self) {
        self.turns = self.turns.saturating_add(1);
    }

    /// The size of the next lease, where there is room for it.
    pub(super) fn wanted(&self) -> u32 {
        let wanted = match self.turns {
            0..QUICK => self.granted.saturating_mul(2),
            QUICK..SLOW => self.granted,
            SLOW.. => self.granted / 2,
        };
        wanted.max(FIRST)
    }
}
