//! Requests per UTC day, exact: [`RateLimiter`], implemented once over whatever [`QuotaStore`] there is.
//!
//! Failure stance: open, within bounds. Leases in hand go on. When they are used up and the store does not answer
//! within `patience`, requests are counted here alone, bounded by the last known remainder or, where none is known, by
//! this edge's share of what is left by the durable count behind the store, if there is one, and of the whole limit if
//! not; and posted when the store is back. With several edges the count may pass
//! the limit by that: the one case of over-admission, logged and counted. Who was exhausted stays so.
//! `OnStoreOutage::Refuse` closes instead. A process that dies leaves its leases behind: they stay set aside until it
//! is started again and accounts for them (`recover`), or until midnight, which never over-admits. What it admitted
//! without the store and had not posted is lost with it.
//!
//! The states, their transitions and what is promised are written down in `docs/decisions/005-quota-leases.md`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};

use crate::admission::calls::Errand;
use crate::admission::hold::Hold;
use crate::admission::lease::{Taken, Then};
use crate::admission::outage::Outage;
use crate::admission::quota_store::{QuotaStore, Subject};
use crate::admission::slot::Slot;
use crate::clock::Clock;
use crate::units::{Day, EdgeId, StoreError, Timestamp};

const SHARDS: usize = 16;
/// Between turns of the background task.
const TURN: Duration = Duration::from_millis(250);
#[derive(Debug, Clone, Copy)]
pub struct QuotaSettings {
    /// The longest a request waits for the store.
    pub patience: Duration,
    pub on_store_outage: OnStoreOutage,
}

/// What happens to requests while the store is away and the leases in hand are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStoreOutage {
    #[default]
    Local,
    Refuse,
}

/// Why a request is not counted, and so not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuotaRefusal {
    #[error("the daily quota of {limit} requests is used up")]
    Exhausted { limit: u32, reset: Timestamp },
    #[error("requests cannot be counted now")]
    StoreUnavailable,
}

/// Counts requests against daily limits. One for the process, shared.
pub struct RateLimiter(pub(super) Arc<Shared>);

pub(super) type Slots = HashMap<(Subject, Day), Arc<Slot>, RandomState>;

pub(super) struct Shared {
    pub(super) store: Arc<dyn QuotaStore>,
    pub(super) edge: EdgeId,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: QuotaSettings,
    pub(super) slots: [Mutex<Slots>; SHARDS],
    hasher: RandomState,
    pub(super) outage: Outage,
    pub(super) departing: AtomicBool,
    live_edges: AtomicU32,
    /// Of the background task so far.
    pub(super) turns: AtomicU32,
    /// Slots that there were at the last turn.
    pub(super) slots_seen: AtomicUsize,
    leases: AtomicU64,
    local: AtomicU64,
}

/// How one attempt to take a request ended.
enum Attempt {
    Done(Result<Hold, QuotaRefusal>),
    /// The store has been asked, or the other edges.
    Wait {
        recalling: bool,
    },
}

impl Default for QuotaSettings {
    fn default() -> Self {
        Self { patience: Duration::from_millis(250), on_store_outage: OnStoreOutage::Local }
    }
}

impl RateLimiter {
    pub fn new(store: Arc<dyn QuotaStore>, edge: EdgeId, clock: Arc<dyn Clock>, settings: QuotaSettings) -> Self {
        Self(Arc::new(Shared {
            store,
            edge,
            clock,
            settings,
            slots: Default::default(),
            hasher: RandomState::new(),
            outage: Outage::default(),
            departing: AtomicBool::new(false),
            live_edges: AtomicU32::new(1),
            turns: AtomicU32::new(0),
            slots_seen: AtomicUsize::new(0),
            leases: AtomicU64::new(0),
            local: AtomicU64::new(0),
        }))
    }

    /// Counts one request of `subject` on `day`, or says why not. With a lease in hand, which is nearly always, this
    /// completes at once; it never waits for one answer of the store longer than `patience`.
    pub async fn check_and_increment(&self, subject: Subject, day: Day, limit: u32) -> Result<Hold, QuotaRefusal> {
        let slot = self.0.slot(subject, day);
        match self.0.attempt(&slot, limit) {
            Attempt::Done(result) => result,
            // Boxed: the rare path must not make every request's future larger.
            Attempt::Wait { .. } => Box::pin(self.0.wait(&slot, limit)).await,
        }
    }

    /// The same for a request that has waited for this store already, in vain: what is not at hand is counted as it is
    /// while the store is away, and asked for behind the request.
    pub fn increment_at_once(&self, subject: Subject, day: Day, limit: u32) -> Result<Hold, QuotaRefusal> {
        let slot = self.0.slot(subject, day);
        match self.0.attempt(&slot, limit) {
            Attempt::Done(result) => result,
            Attempt::Wait { .. } => self.0.without_store(&slot, limit),
        }
    }

    /// Whether the limit is already known to be reached: spares reading the body of a request that will be refused.
    /// No I/O; `Ok` promises nothing.
    pub fn peek(&self, subject: Subject, day: Day, limit: u32) -> Result<(), QuotaRefusal> {
        let shard = self.0.shard(subject, day);
        let exhausted = shard.get(&(subject, day)).is_some_and(|slot| {
            let state = slot.lock();
            state.free() == 0 && state.denial.is_exhausted(limit)
        });
        if exhausted { Err(QuotaRefusal::Exhausted { limit, reset: day.end() }) } else { Ok(()) }
    }

    /// Requests admitted for `subject` on `day`, for pages that show it: from memory where this edge alone counts for
    /// it now, else from the store. An edge among others cannot tell what they use from what they hold.
    pub async fn used(&self, subject: Subject, day: Day) -> Result<u32, StoreError> {
        let known = self.0.known(subject, day).and_then(|slot| {
            let state = slot.lock();
            (state.knows_count() && self.0.live_edges() == 1).then(|| state.in_use())
        });
        match known {
            Some(used) => Ok(used),
            None => self.0.store.used(subject, day).await,
        }
    }

    /// Runs for the life of the process: settles what is idle, reports what is in use, catches up after an outage,
    /// and keeps in touch with the other edges.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.turns(), self.0.beat(), self.0.listen());
    }

    async fn turns(&self) {
        let mut turn = tokio::time::interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            self.turn().await;
        }
    }

    /// Gives everything back to the store and takes leave of the other edges. False when some of it did not get there
    /// within `patience`. Requests must have ended: what is taken after this, the next start accounts for.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        let settle = async {
            while self.0.turn(true).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // Where this fails, the heartbeat runs out by itself.
            let _ = self.0.depart().await;
        };
        tokio::time::timeout(patience, settle).await.is_ok()
    }

    /// Whether the other edges are heard at this moment, where there may be any. While they are not, leases are of one
    /// request each.
    pub fn hears(&self) -> bool {
        self.0.store.hears()
    }

    /// Leases granted to this edge so far.
    pub fn leases_granted(&self) -> u64 {
        self.0.leases.load(Ordering::Relaxed)
    }

    /// Requests admitted without the store so far.
    pub fn admitted_locally(&self) -> u64 {
        self.0.local.load(Ordering::Relaxed)
    }

    /// One turn of the background task.
    async fn turn(&self) {
        if self.0.outage.may_call() {
            self.0.turn(false).await;
        }
    }
}

impl Shared {
    /// Takes a request from what is at hand, and starts the call to the store that this makes necessary, if any.
    fn attempt(self: &Arc<Self>, slot: &Arc<Slot>, limit: u32) -> Attempt {
        let hears = self.store.hears();
        let mut state = slot.lock();
        match state.take(limit, hears) {
            Taken::Exhausted => Attempt::Done(Err(QuotaRefusal::Exhausted { limit, reset: slot.reset() })),
            Taken::Yes { lease, remaining, then } => {
                let call = then != Then::Nothing && !state.busy && self.outage.may_call();
                state.busy |= call;
                drop(state);
                if call {
                    self.call(slot, if then == Then::Refill { Errand::Ahead(limit) } else { Errand::Settle });
                }
                Attempt::Done(Ok(Hold::new(Arc::clone(slot), limit, remaining, lease)))
            }
            Taken::Empty => {
                let away = self.outage.lasts() || (state.overdue && !state.recalling);
                let call = !state.busy && self.outage.may_call();
                state.busy |= call;
                let recalling = state.recalling;
                drop(state);
                if call {
                    self.call(slot, Errand::Need(limit));
                }
                if away && !self.awaits_memory(slot) {
                    Attempt::Done(self.without_store(slot, limit))
                } else {
                    Attempt::Wait { recalling }
                }
            }
        }
    }

    /// Waits for the store's answers, each `patience` long at most, and as long for other edges to give up leases. An
    /// answer that came late, to whatever was asked before, gives the next no time of its own.
    async fn wait(self: &Arc<Self>, slot: &Arc<Slot>, limit: u32) -> Result<Hold, QuotaRefusal> {
        let patience = self.settings.patience;
        let (mut recalled_by, mut answered_by) = (None, None);
        loop {
            let changed = slot.changed.notified();
            tokio::pin!(changed);
            // Listening begins before the attempt, so that no answer falls in between.
            changed.as_mut().enable();
            let recalling = match self.attempt(slot, limit) {
                Attempt::Done(result) => return result,
                Attempt::Wait { recalling } => recalling,
            };
            let now = Instant::now();
            let until = if recalling {
                *recalled_by.get_or_insert(now + patience)
            } else {
                let by = answered_by.filter(|_| slot.lock().late).unwrap_or(now + patience);
                *answered_by.insert(by)
            };
            if timeout_at(until, changed).await.is_ok() {
                continue;
            }
            if recalling {
                // The store has said no; only the others have not answered in time.
                return Err(QuotaRefusal::Exhausted { limit, reset: slot.reset() });
            }
            {
                // Whether the store is away is for its calls to say: this one may have waited for one about something
                // else, which happens to be slow.
                let mut state = slot.lock();
                state.overdue = state.busy;
            }
            return self.without_store(slot, limit);
        }
    }

    /// Whether what is remembered of the day is still to be waited for. Has it asked for, where it is not known.
    fn awaits_memory(self: &Arc<Self>, slot: &Arc<Slot>) -> bool {
        if slot.lock().knows_count() || self.settings.on_store_outage == OnStoreOutage::Refuse {
            return false;
        }
        self.recollect(slot);
        slot.lock().memory.is_awaited()
    }

    fn without_store(&self, slot: &Arc<Slot>, limit: u32) -> Result<Hold, QuotaRefusal> {
        if self.settings.on_store_outage == OnStoreOutage::Refuse {
            return Err(QuotaRefusal::StoreUnavailable);
        }
        match slot.lock().take_local(limit, self.live_edges()) {
            Some(remaining) => {
                self.local.fetch_add(1, Ordering::Relaxed);
                Ok(Hold::new(Arc::clone(slot), limit, remaining, None))
            }
            None => Err(QuotaRefusal::Exhausted { limit, reset: slot.reset() }),
        }
    }

    pub(super) fn live_edges(&self) -> u32 {
        self.live_edges.load(Ordering::Relaxed)
    }

    pub(super) fn note_live_edges(&self, live_edges: u32) {
        self.live_edges.store(live_edges.max(1), Ordering::Relaxed);
    }

    pub(super) fn note_lease(&self, granted: u32) {
        self.leases.fetch_add(u64::from(granted > 0), Ordering::Relaxed);
    }

    /// The slot of a subject's day, where this edge has one.
    pub(super) fn known(&self, subject: Subject, day: Day) -> Option<Arc<Slot>> {
        self.shard(subject, day).get(&(subject, day)).cloned()
    }

    fn slot(&self, subject: Subject, day: Day) -> Arc<Slot> {
        let mut shard = self.shard(subject, day);
        Arc::clone(shard.entry((subject, day)).or_insert_with(|| Arc::new(Slot::new(subject, day))))
    }

    fn shard(&self, subject: Subject, day: Day) -> MutexGuard<'_, Slots> {
        let place = usize::try_from(self.hasher.hash_one((subject, day))).unwrap_or_default() % SHARDS;
        lock(&self.slots[place])
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "edges_tests.rs"]
mod edges_tests;
#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
