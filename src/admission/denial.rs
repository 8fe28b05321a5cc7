//! What the store's "nothing left" is still worth.
//!
//! A denial is remembered, so that a refused client who keeps asking costs nothing; and it must be forgotten the
//! moment it is no longer true, or a client would be refused what lies unused.

/// Turns after which a denial is forgotten by an edge that could not hear that something was freed: one second.
const UNHEARD: u32 = 4;

/// What one subject's day was last denied.
#[derive(Debug, Default)]
pub(super) struct Denial {
    /// The limit at which nothing was left anywhere.
    exhausted: Option<u32>,
    /// The limit at which the store had nothing left, while other edges held some unused: worth a recall.
    elsewhere: Option<u32>,
    /// Counts what was heard to be freed, so that an answer given before it is not believed after it.
    freed: u64,
    /// Since the last denial.
    turns: u32,
}

impl Denial {
    /// Whether nothing was left at this limit, and nothing came back since.
    pub(super) fn is_exhausted(&self, limit: u32) -> bool {
        self.exhausted.is_some_and(|at| limit <= at)
    }

    /// Whether the store had nothing left at this limit, but other edges did.
    pub(super) fn is_elsewhere(&self, limit: u32) -> bool {
        self.elsewhere.is_some_and(|at| limit <= at)
    }

    /// Whether nothing was left at any limit: worth being remembered until midnight.
    pub(super) fn is_kept(&self) -> bool {
        self.exhausted.is_some()
    }

    /// How often something was heard to be freed: to be noted before the store is asked.
    pub(super) fn freed(&self) -> u64 {
        self.freed
    }

    /// Something was freed: nothing that was denied is true any longer, nor what is being denied now.
    pub(super) fn note_freed(&mut self) {
        self.freed += 1;
        self.forget();
    }

    /// The store had nothing left at `limit`; other edges had, or had not.
    pub(super) fn note(&mut self, limit: u32, elsewhere: bool) {
        let (exhausted, elsewhere) = if elsewhere { (None, Some(limit)) } else { (Some(limit), None) };
        *self = Self { exhausted, elsewhere, freed: self.freed, turns: 0 };
    }

    pub(super) fn forget(&mut self) {
        (self.exhausted, self.elsewhere) = (None, None);
    }

    /// A turn of the background task, on an edge that hears the others or does not.
    pub(super) fn turn(&mut self, hears: bool) {
        self.turns = self.turns.saturating_add(1);
        if !hears && self.turns >= UNHEARD {
            self.forget();
        }
    }
}
