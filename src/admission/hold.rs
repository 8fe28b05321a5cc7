//! What an admitted request holds of its day's quota.

use std::sync::Arc;

use crate::admission::slot::Slot;
use crate::units::{LeaseId, Timestamp};

/// One admitted request's place in the day's quota.
#[derive(Debug)]
#[must_use = "dropping this gives the request back"]
pub struct Hold {
    pub limit: u32,
    /// Requests left today after this one, as best this edge knows; 0 with the last.
    pub remaining: u32,
    /// When the count starts anew: the next UTC midnight.
    pub reset: Timestamp,
    lease: Option<LeaseId>,
    /// A record of the request names `lease`.
    opened: bool,
    slot: Option<Arc<Slot>>,
}

impl Hold {
    pub(super) fn new(slot: Arc<Slot>, limit: u32, remaining: u32, lease: Option<LeaseId>) -> Self {
        Self { limit, remaining, reset: slot.reset(), lease, opened: false, slot: Some(slot) }
    }

    /// The lease this request was taken from. None where the store counts it already (an earlier one was given back)
    /// or does not count it yet (it was admitted while the store was away).
    pub fn lease(&self) -> Option<LeaseId> {
        self.lease
    }

    /// A record under [`lease`](Self::lease) survives this process. Whoever takes this place after a give-back is then
    /// counted by that record and needs no other.
    pub fn note_opened(&mut self) {
        self.opened = true;
    }

    /// The request happened: it stays counted.
    pub fn spend(mut self) {
        self.slot = None;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.lock().give_back(self.lease.filter(|_| !self.opened));
            slot.changed.notify_waiters();
        }
    }
}
