//! What an edge hears from the others and says of itself: its heartbeat, recalls, and the leases of its earlier life.
//!
//! Failure stance: what cannot be heard is not waited for. A recall that is lost costs its sender a refusal, never a
//! request too many; a heartbeat that is not taken leaves the number of edges as it was last known.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::admission::calls::{BATCH, Call, Errand};
use crate::admission::quota::{RateLimiter, Shared, lock};
use crate::admission::quota_store::{OpenLease, Settlement, Subject, Word};
use crate::admission::slot::Slot;
use crate::units::{Day, EdgeId, LeaseId, StoreError};

/// Between heartbeats. Stores take an edge for gone after about three of them.
const BEAT: Duration = Duration::from_secs(3);

impl RateLimiter {
    /// Accounts for the leases that `edge` left open when it died, and closes them; gives how many there were. `opens`:
    /// how many requests were opened from each lease, where a record of them survived; of the others what was last
    /// reported is counted. The caller knows that `edge` is dead, or is about to live again as this one: then it is
    /// called before the first request. May be called again after an error.
    pub async fn recover(&self, edge: EdgeId, opens: &HashMap<LeaseId, u32>) -> Result<usize, StoreError> {
        let left = self.0.store.open_leases(edge).await?;
        let settle = |open: &OpenLease| {
            let OpenLease { lease, subject, day, granted, used } = *open;
            let opened = opens.get(&lease).copied().unwrap_or(0).min(granted);
            Settlement { lease, subject, day, used: used.max(opened), closes: true }
        };
        for part in left.chunks(BATCH) {
            self.0.store.settle(part.iter().map(settle).collect()).await?;
        }
        Ok(left.len())
    }
}

impl Shared {
    /// Says every few seconds that this edge lives, and learns how many do.
    pub(super) async fn beat(&self) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            if self.departing.load(Ordering::Acquire) {
                return;
            }
            if let Ok(Ok(live_edges)) = tokio::time::timeout(2 * BEAT, self.store.beat(self.edge)).await {
                self.note_live_edges(live_edges);
            }
        }
    }

    /// Says that this edge ends. No heartbeat follows.
    pub(super) async fn depart(&self) -> Result<(), StoreError> {
        self.departing.store(true, Ordering::Release);
        self.store.depart(self.edge).await
    }

    /// Hears the other edges, for the life of the process.
    pub(super) async fn listen(self: &Arc<Self>) {
        loop {
            match self.store.hear(self.edge).await {
                Word::Recall { subject, day } => self.on_recall(subject, day),
                Word::Freed { subject, day } => self.known(subject, day).iter().for_each(on_freed),
                Word::Missed => self.slots.iter().for_each(|shard| lock(shard).values().for_each(on_freed)),
            }
        }
    }

    /// Another edge has run dry. One task at a time answers for a slot, however many ask.
    pub(super) fn on_recall(self: &Arc<Self>, subject: Subject, day: Day) {
        let Some(slot) = self.known(subject, day) else { return };
        if std::mem::replace(&mut slot.lock().recalled, true) {
            return;
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move { shared.give_up(slot).await });
    }

    async fn give_up(&self, slot: Arc<Slot>) {
        loop {
            let changed = slot.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = slot.lock();
                if !state.busy {
                    if !state.give_up() {
                        return;
                    }
                    break;
                }
            }
            changed.await;
            // What a call has just brought was asked for by requests of this edge: they take it first.
            tokio::task::yield_now().await;
        }
        self.run_call(Call(slot), Errand::Settle).await;
    }
}

fn on_freed(slot: &Arc<Slot>) {
    slot.lock().denial.note_freed();
    slot.changed.notify_waiters();
}
