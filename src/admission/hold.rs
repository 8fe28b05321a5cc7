//! What an admitted request holds of its day's quota.

use std::sync::Arc;

use crate::admission::slot::Slot;
use crate::units::{LeaseId, Timestamp};

/// One admitted request's place in the day's quota.
///
/// Dropped, it is another's at once. Whatever record names its [`lease`](Self::lease) must have been taken back by then:
/// the next to have the place is recorded under the same.
#[derive(Debug)]
#[must_use = "dropping this gives the request back"]
pub struct Hold {
    pub limit: u32,
    /// Requests left today after this one, as best this edge knows; 0 with the last.
    pub remaining: u32,
    /// When the count starts anew: the next UTC midnight.
    pub reset: Timestamp,
    lease: Option<LeaseId>,
    slot: Option<Arc<Slot>>,
}

impl Hold {
    pub(super) fn new(slot: Arc<Slot>, limit: u32, remaining: u32, lease: Option<LeaseId>) -> Self {
        Self { limit, remaining, reset: slot.reset(), lease, slot: Some(slot) }
    }

    /// The lease this request was taken from. None where the store counts it already (an earlier one was given back)
    /// or does not count it yet (it was admitted while the store was away).
    pub fn lease(&self) -> Option<LeaseId> {
        self.lease
    }

    /// The request happened: it stays counted.
    pub fn spend(mut self) {
        self.slot = None;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.lock().give_back(self.lease);
            slot.changed.notify_waiters();
        }
    }
}
