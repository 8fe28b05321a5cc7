//! Requests per UTC day, exact: [`RateLimiter`], implemented once over whatever [`QuotaStore`] there is.
//!
//! Failure stance: open, within bounds. Leases in hand go on. When they are used up and the store does not answer
//! within `patience`, requests are counted here alone, bounded by the last known remainder or, where nothing is
//! known, by this edge's share of the limit, and posted when the store is back. With several edges the count may pass
//! the limit by that: the one case of over-admission, logged and counted. Who was exhausted stays so.
//! `OnStoreOutage::Refuse` closes instead. A process that dies leaves its leases behind; the store counts them as
//! used in full when the next one starts, which never over-admits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use tokio::time::MissedTickBehavior;

use crate::admission::lease::{Hold, Slot, Taken, Then, Turn};
use crate::admission::outage::Outage;
use crate::admission::quota_store::{QuotaStore, Settlement, Subject, largest_lease};
use crate::clock::Clock;
use crate::units::{Day, EdgeId, StoreError, Timestamp};

const SHARDS: usize = 16;
/// Between turns of the background task.
const TURN: Duration = Duration::from_millis(250);
/// A call that takes longer than this counts as failed. Requests have long stopped waiting for it.
const GIVE_UP: Duration = Duration::from_secs(5);
/// Settlements sent in one call.
const BATCH: usize = 500;

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
pub struct RateLimiter(Arc<Shared>);

type Slots = HashMap<(Subject, Day), Arc<Slot>, RandomState>;

struct Shared {
    store: Arc<dyn QuotaStore>,
    edge: EdgeId,
    clock: Arc<dyn Clock>,
    settings: QuotaSettings,
    slots: [Mutex<Slots>; SHARDS],
    hasher: RandomState,
    outage: Outage,
    live_edges: AtomicU32,
    leases: AtomicU64,
    local: AtomicU64,
}

/// What one turn of the background task found to say.
#[derive(Default)]
struct Gathered {
    settlements: Vec<(Call, Vec<Settlement>)>,
    /// Slots that need a call of their own.
    own: Vec<Call>,
    /// Whether some slot was in the midst of a call.
    busy: bool,
}

/// How one attempt to take a request ended.
enum Attempt {
    Done(Result<Hold, QuotaRefusal>),
    /// The store has been asked.
    Wait,
}

/// Marks the slot free for the next call to the store, also when this one is dropped half-way.
struct Call(Arc<Slot>);

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
            live_edges: AtomicU32::new(1),
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
            Attempt::Wait => Box::pin(self.0.wait(&slot, limit)).await,
        }
    }

    /// Whether the limit is already known to be reached: spares reading the body of a request that will be refused.
    /// No I/O; `Ok` promises nothing.
    pub fn peek(&self, subject: Subject, day: Day, limit: u32) -> Result<(), QuotaRefusal> {
        let shard = self.0.shard(subject, day);
        let exhausted = shard.get(&(subject, day)).is_some_and(|slot| {
            let state = slot.lock();
            state.free() == 0 && state.is_exhausted(limit)
        });
        if exhausted { Err(QuotaRefusal::Exhausted { limit, reset: day.end() }) } else { Ok(()) }
    }

    /// Requests admitted for `subject` on `day`, for pages that show it: from memory where this edge counts for it
    /// now, else from the store.
    pub async fn used(&self, subject: Subject, day: Day) -> Result<u32, StoreError> {
        let slot = self.0.shard(subject, day).get(&(subject, day)).cloned();
        let known = slot.and_then(|slot| {
            let state = slot.lock();
            state.knows_count().then(|| state.in_use())
        });
        match known {
            Some(used) => Ok(used),
            None => self.0.store.used(subject, day).await,
        }
    }

    /// Runs for the life of the process: settles what is idle, reports what is in use, catches up after an outage.
    pub async fn run(self: Arc<Self>) {
        let mut turn = tokio::time::interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            self.turn().await;
        }
    }

    /// Gives everything back to the store. False when some of it did not get there within `patience`. Requests must
    /// have ended: what is taken after this is counted in full by the next start.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        let settle = async {
            while self.0.turn(true).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(patience, settle).await.is_ok()
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
        let mut state = slot.lock();
        match state.take(limit) {
            Taken::Exhausted => Attempt::Done(Err(QuotaRefusal::Exhausted { limit, reset: slot.reset() })),
            Taken::Yes { remaining, then } => {
                let call = then != Then::Nothing && !state.busy && self.outage.may_call();
                state.busy |= call;
                drop(state);
                if call {
                    self.call(slot, (then == Then::Refill).then_some(limit));
                }
                Attempt::Done(Ok(Hold::new(Arc::clone(slot), limit, remaining)))
            }
            Taken::Empty => {
                let away = self.outage.lasts();
                let call = !state.busy && self.outage.may_call();
                state.busy |= call;
                drop(state);
                if call {
                    self.call(slot, Some(limit));
                }
                if away { Attempt::Done(self.without_store(slot, limit)) } else { Attempt::Wait }
            }
        }
    }

    async fn wait(self: &Arc<Self>, slot: &Arc<Slot>, limit: u32) -> Result<Hold, QuotaRefusal> {
        loop {
            let changed = slot.changed.notified();
            tokio::pin!(changed);
            // Listening begins before the attempt, so that no answer falls in between.
            changed.as_mut().enable();
            if let Attempt::Done(result) = self.attempt(slot, limit) {
                return result;
            }
            if tokio::time::timeout(self.settings.patience, changed).await.is_err() {
                self.outage.note_failure("no answer in time");
                return self.without_store(slot, limit);
            }
        }
    }

    fn without_store(&self, slot: &Arc<Slot>, limit: u32) -> Result<Hold, QuotaRefusal> {
        if self.settings.on_store_outage == OnStoreOutage::Refuse {
            return Err(QuotaRefusal::StoreUnavailable);
        }
        match slot.lock().take_local(limit, self.live_edges.load(Ordering::Relaxed)) {
            Some(remaining) => {
                self.local.fetch_add(1, Ordering::Relaxed);
                Ok(Hold::new(Arc::clone(slot), limit, remaining))
            }
            None => Err(QuotaRefusal::Exhausted { limit, reset: slot.reset() }),
        }
    }

    /// Starts a call to the store for a slot already marked busy. `ask`: the limit to ask a lease under; None only
    /// settles.
    fn call(self: &Arc<Self>, slot: &Arc<Slot>, ask: Option<u32>) {
        let (shared, call) = (Arc::clone(self), Call(Arc::clone(slot)));
        tokio::spawn(async move { shared.run_call(call, ask).await });
    }

    async fn run_call(&self, call: Call, ask: Option<u32>) {
        let outcome = tokio::time::timeout(GIVE_UP, self.speak(&call.0, ask)).await;
        match outcome {
            Ok(Ok(())) => self.outage.note_answer(),
            Ok(Err(error)) => self.outage.note_failure(&error.0),
            Err(_) => self.outage.note_failure("a call was given up"),
        }
    }

    /// What one call says, in the order that keeps the count true: local admissions first, so that no lease is granted
    /// over them; then what was used of leases, of which a release is a part; then the ask, so that what was released
    /// can be granted again.
    async fn speak(&self, slot: &Slot, ask: Option<u32>) -> Result<(), StoreError> {
        let (post, release) = slot.lock().postings();
        if let Some(post) = post {
            self.store.post(post).await?;
            slot.lock().posted();
        }
        if ask.is_none() || release.is_some() {
            let settlements = slot.lock().settlements();
            if !settlements.is_empty() {
                self.store.settle(settlements.clone()).await?;
                slot.lock().settled(&settlements);
            }
        }
        if let Some(release) = release {
            self.store.release(release).await?;
            slot.lock().released();
        }
        let Some(limit) = ask else { return Ok(()) };
        let most = if self.store.hears() { largest_lease(self.live_edges.load(Ordering::Relaxed)) } else { 1 };
        let ask = slot.lock().ask(self.edge, limit, most);
        let grant = self.store.grant(ask.clone()).await?;
        self.live_edges.store(grant.live_edges.max(1), Ordering::Relaxed);
        self.leases.fetch_add(u64::from(grant.granted > 0), Ordering::Relaxed);
        slot.lock().granted(&ask, grant);
        Ok(())
    }

    /// Looks at every slot once. With `close`, everything is given back. True while any slot has more to say.
    async fn turn(&self, close: bool) -> bool {
        let Gathered { settlements, own, busy } = self.gather(close);
        let mut failed = false;
        for part in settlements.chunks(BATCH) {
            failed |= !self.settle(part).await;
        }
        drop(settlements);
        for call in own {
            self.run_call(call, None).await;
        }
        failed || busy || (close && self.slots.iter().any(|shard| !lock(shard).is_empty()))
    }

    /// Marks the slots that have something to say as busy, and forgets those that have nothing left.
    fn gather(&self, close: bool) -> Gathered {
        let today = self.clock.now().day();
        let mut gathered = Gathered::default();
        for shard in &self.slots {
            lock(shard).retain(|_, slot| {
                let mut state = slot.lock();
                gathered.busy |= state.busy;
                match state.turn(today, close) {
                    Turn::Settle(settlements) => gathered.settlements.push((Call(Arc::clone(slot)), settlements)),
                    Turn::Own => gathered.own.push(Call(Arc::clone(slot))),
                    // With only the map holding it, no request has it, and none can get it while the map is locked.
                    Turn::Forget => return Arc::strong_count(slot) > 1 && !close,
                    Turn::Nothing => {}
                }
                true
            });
        }
        gathered
    }

    async fn settle(&self, part: &[(Call, Vec<Settlement>)]) -> bool {
        let all = part.iter().flat_map(|(_, settlements)| settlements.iter().copied()).collect();
        match tokio::time::timeout(GIVE_UP, self.store.settle(all)).await {
            Ok(Ok(())) => {
                self.outage.note_answer();
                part.iter().for_each(|(call, settlements)| call.0.lock().settled(settlements));
                true
            }
            Ok(Err(error)) => {
                self.outage.note_failure(&error.0);
                false
            }
            Err(_) => {
                self.outage.note_failure("settlements were given up");
                false
            }
        }
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

impl Drop for Call {
    fn drop(&mut self) {
        self.0.lock().busy = false;
        self.0.changed.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
