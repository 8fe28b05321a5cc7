//! The place of one subject's day on this edge: its bookkeeping under one lock, and word of every change to it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::admission::lease::State;
use crate::admission::quota_store::Subject;
use crate::units::{Day, Timestamp};

/// One subject's day. Kept while any [`Hold`](super::Hold) of it lives.
#[derive(Debug)]
pub(super) struct Slot {
    subject: Subject,
    day: Day,
    /// Notified whenever there may be something to take, or a reason to stop waiting.
    pub(super) changed: Notify,
    state: Mutex<State>,
}

impl Slot {
    pub(super) fn new(subject: Subject, day: Day) -> Self {
        Self { subject, day, changed: Notify::new(), state: Mutex::new(State::new(subject, day)) }
    }

    pub(super) fn whose(&self) -> (Subject, Day) {
        (self.subject, self.day)
    }

    /// The midnight at which the count starts anew.
    pub(super) fn reset(&self) -> Timestamp {
        self.day.end()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
