//! What is remembered elsewhere of a day whose store does not answer: the durable store's count behind Redis.
//!
//! Asked once for each slot that no grant was heard of, when it is first needed, and waited for as long as for any
//! answer. Where it fails it is asked again behind later requests, which go on without it.

use std::sync::Arc;

use tokio::time::timeout;

use crate::admission::quota::Shared;
use crate::admission::slot::Slot;

#[derive(Debug)]
pub(super) struct Memory {
    used: Option<u32>,
    asking: bool,
    /// There was an answer, or none in time.
    asked: bool,
    due: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self { used: None, asking: false, asked: false, due: true }
    }
}

impl Memory {
    /// Whether it is to be asked now; whoever is told so asks.
    fn begin(&mut self) -> bool {
        let begins = self.used.is_none() && !self.asking && self.due;
        self.asking |= begins;
        self.due &= !begins;
        begins
    }

    /// Whether it is being asked for the first time: worth waiting for.
    pub(super) fn is_awaited(&self) -> bool {
        self.asking && !self.asked
    }

    fn note(&mut self, used: Option<u32>) {
        (self.used, self.asking, self.asked) = (used, false, true);
    }

    /// A turn of the background task.
    pub(super) fn turn(&mut self) {
        self.due = self.used.is_none();
    }

    /// What one of `live_edges` may admit by itself: of what was left when the memory was asked, else of the limit.
    pub(super) fn share(&self, limit: u32, live_edges: u32) -> u32 {
        limit.saturating_sub(self.used.unwrap_or(0)) / live_edges.max(1)
    }
}

impl Shared {
    /// Asks what is remembered of a slot's day, where that is not known and not being asked yet.
    pub(super) fn recollect(self: &Arc<Self>, slot: &Arc<Slot>) {
        if !slot.lock().memory.begin() {
            return;
        }
        let (shared, slot) = (Arc::clone(self), Arc::clone(slot));
        tokio::spawn(async move {
            let (subject, day) = slot.whose();
            let asked = shared.store.remembered(shared.edge, subject, day);
            let remembered = timeout(shared.settings.patience, asked).await.ok().flatten();
            if let Some(remembered) = &remembered {
                shared.note_live_edges(remembered.live_edges);
            }
            slot.lock().memory.note(remembered.map(|remembered| remembered.used));
            slot.changed.notify_waiters();
        });
    }
}
