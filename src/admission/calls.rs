//! What an edge says to the store about one subject's day, or about many at once, and in which order.
//!
//! Failure stance: see [`RateLimiter`](super::RateLimiter). A call that fails changes nothing here: what it said is
//! said again by the next, under the same ids.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout};

use crate::admission::lease::Turn;
use crate::admission::quota::{Shared, lock};
use crate::admission::quota_store::{Settlement, largest_lease};
use crate::admission::slot::Slot;
use crate::units::StoreError;

/// A call that takes longer than this counts as failed. Requests have long stopped waiting for it.
const GIVE_UP: Duration = Duration::from_secs(5);
/// Calls of a turn that are under way at once: as many as a pool of connections serves.
const AT_ONCE: usize = 8;
/// Turns between reports of leases in use, so that the stored count lags by little more than a second.
const REPORT: u32 = 4;
/// Settlements sent in one call.
pub(super) const BATCH: usize = 500;
/// How long other edges have to give up what they hold. A little less than requests wait for it, so that those hear
/// the outcome.
const RECALL: Duration = Duration::from_millis(240);
/// How often the store is asked again meanwhile: an edge may have had nothing left and no reason to say so.
const ASK_AGAIN: Duration = Duration::from_millis(80);

/// What a call to the store is for. The numbers are the limit to ask a lease under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// Only to say what became of leases.
    Settle,
    /// A lease for requests to come.
    Ahead(u32),
    /// A lease for requests that wait: others are asked for theirs before the answer is no.
    Need(u32),
}

/// What came of asking for a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Granted,
    /// Nothing is left in the store, but other edges hold some unused.
    Elsewhere,
    Exhausted,
    /// Nothing was left, but something was freed while the answer was on its way.
    Outdated,
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

/// Marks the slot free for the next call to the store, also when this one is dropped half-way.
pub(super) struct Call(pub(super) Arc<Slot>);

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        (state.busy, state.recalling, state.overdue) = (false, false, false);
        drop(state);
        self.0.changed.notify_waiters();
    }
}

impl Shared {
    /// Starts a call to the store for a slot already marked busy.
    pub(super) fn call(self: &Arc<Self>, slot: &Arc<Slot>, errand: Errand) {
        let (shared, call) = (Arc::clone(self), Call(Arc::clone(slot)));
        tokio::spawn(async move { shared.run_call(call, errand).await });
    }

    pub(super) async fn run_call(&self, call: Call, errand: Errand) {
        match in_time(GIVE_UP, self.speak(&call.0, errand)).await {
            Ok(()) => self.outage.note_answer(),
            Err(error) => self.outage.note_failure(&error.0),
        }
    }

    /// What one call says, in the order that keeps the count true: local admissions first, so that no lease is granted
    /// over them; then what was used of leases, of which a release is a part; then the ask, so that what was released
    /// can be granted again.
    async fn speak(&self, slot: &Slot, errand: Errand) -> Result<(), StoreError> {
        let (post, release) = slot.lock().postings();
        if let Some(post) = post {
            self.timed(slot, self.store.post(post)).await?;
            slot.lock().posted();
        }
        if errand == Errand::Settle || release.is_some() {
            let settlements = slot.lock().settlements();
            if !settlements.is_empty() {
                self.timed(slot, self.store.settle(settlements.clone())).await?;
                slot.lock().settled(&settlements);
            }
        }
        if let Some(release) = release {
            self.timed(slot, self.store.release(release)).await?;
            slot.lock().released();
        }
        match errand {
            Errand::Settle => Ok(()),
            Errand::Ahead(limit) => self.ask(slot, limit).await.map(drop),
            Errand::Need(limit) => match self.ask(slot, limit).await? {
                Asked::Elsewhere => self.recall(slot, limit).await,
                Asked::Granted | Asked::Exhausted | Asked::Outdated => Ok(()),
            },
        }
    }

    /// One answer of the store, and whether requests still wait for it when it comes.
    async fn timed<T>(&self, slot: &Slot, call: impl Future<Output = T>) -> T {
        let asked = Instant::now();
        let answer = call.await;
        slot.lock().late = asked.elapsed() > self.settings.patience;
        answer
    }

    /// A call whose answer requests wait for: where it is not there in time, the store counts as away until it is.
    async fn missed_when_late<T>(&self, call: impl Future<Output = T>) -> T {
        tokio::pin!(call);
        match timeout(self.settings.patience, &mut call).await {
            Ok(answer) => answer,
            Err(_) => {
                self.outage.note_failure("no answer in time");
                call.await
            }
        }
    }

    async fn ask(&self, slot: &Slot, limit: u32) -> Result<Asked, StoreError> {
        let (ask, freed) = {
            let mut state = slot.lock();
            // What lies unused here, and would be lost with this process, is never more than one lease.
            let room = largest_lease(limit, self.live_edges()).saturating_sub(state.free());
            let room = if self.store.hears() { room.max(1) } else { 1 };
            (state.ask(self.edge, limit, room), state.denial.freed())
        };
        let grant = self.timed(slot, self.missed_when_late(self.store.grant(ask.clone()))).await?;
        self.note_live_edges(grant.live_edges);
        self.note_lease(grant.granted);
        let mut state = slot.lock();
        state.granted(&ask, grant);
        if grant.granted > 0 {
            return Ok(Asked::Granted);
        }
        if state.denial.freed() != freed {
            return Ok(Asked::Outdated);
        }
        state.denial.note(limit, grant.elsewhere > 0);
        Ok(if grant.elsewhere > 0 { Asked::Elsewhere } else { Asked::Exhausted })
    }

    /// Asks the other edges once for what they hold unused, and the store for as long as they have time to give it up.
    async fn recall(&self, slot: &Slot, limit: u32) -> Result<(), StoreError> {
        let until = Instant::now() + RECALL;
        let mut freed = {
            let mut state = slot.lock();
            state.recalling = true;
            state.denial.freed()
        };
        slot.changed.notify_waiters();
        let (subject, day) = slot.whose();
        in_time(self.settings.patience, self.store.recall(self.edge, subject, day)).await?;
        loop {
            self.until_freed(slot, freed, until.min(Instant::now() + ASK_AGAIN)).await;
            let last = Instant::now() >= until;
            freed = slot.lock().denial.freed();
            match in_time(self.settings.patience, self.ask(slot, limit)).await? {
                Asked::Granted | Asked::Exhausted => return Ok(()),
                Asked::Elsewhere if last => {
                    slot.lock().denial.note(limit, false);
                    return Ok(());
                }
                Asked::Elsewhere | Asked::Outdated => {}
            }
        }
    }

    /// Waits until something is heard to be freed that was not when `freed` was noted; `until` at the latest.
    async fn until_freed(&self, slot: &Slot, freed: u64, until: Instant) {
        let heard = async {
            loop {
                let changed = slot.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if slot.lock().denial.freed() != freed {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout_at(until, heard).await;
    }

    /// Looks at every slot once. With `close`, everything is given back. True while any slot has more to say.
    pub(super) async fn turn(&self, close: bool) -> bool {
        let Gathered { mut settlements, own, busy } = self.gather(close);
        let mut failed = false;
        while !settlements.is_empty() {
            let rest = settlements.split_off(BATCH.min(settlements.len()));
            // Their slots are free for requests as soon as their own part is said.
            let part = std::mem::replace(&mut settlements, rest);
            failed |= !self.settle(&part).await;
        }
        let calls = futures_util::stream::iter(own);
        calls.for_each_concurrent(AT_ONCE, |call| self.run_call(call, Errand::Settle)).await;
        failed || busy || (close && self.slots.iter().any(|shard| !lock(shard).is_empty()))
    }

    /// Marks the slots that have something to say as busy, and forgets those that have nothing left.
    fn gather(&self, close: bool) -> Gathered {
        let (today, hears) = (self.clock.now().day(), self.store.hears());
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        // All at once, where one call says it of every slot; else a part of them at each turn, so that few are busy at a time.
        let apart = self.slots_seen.load(Ordering::Relaxed) > BATCH;
        let (mut gathered, mut seen) = (Gathered::default(), 0);
        for (number, shard) in (0..).zip(&self.slots) {
            let reports = turn.wrapping_add(if apart { number } else { 0 }).is_multiple_of(REPORT);
            lock(shard).retain(|_, slot| {
                seen += 1;
                let mut state = slot.lock();
                gathered.busy |= state.busy;
                match state.turn(today, close, hears, reports) {
                    Turn::Settle(settlements) => gathered.settlements.push((Call(Arc::clone(slot)), settlements)),
                    Turn::Own => gathered.own.push(Call(Arc::clone(slot))),
                    // With only the map holding it, no request has it, and none can get it while the map is locked.
                    Turn::Forget => return Arc::strong_count(slot) > 1 && !close,
                    Turn::Nothing => {}
                }
                true
            });
        }
        self.slots_seen.store(seen, Ordering::Relaxed);
        gathered
    }

    async fn settle(&self, part: &[(Call, Vec<Settlement>)]) -> bool {
        let all = part.iter().flat_map(|(_, settlements)| settlements.iter().copied()).collect();
        let asked = Instant::now();
        let answer = in_time(GIVE_UP, self.store.settle(all)).await;
        let late = asked.elapsed() > self.settings.patience;
        part.iter().for_each(|(call, _)| call.0.lock().late = late);
        match answer {
            Ok(()) => {
                self.outage.note_answer();
                part.iter().for_each(|(call, settlements)| call.0.lock().settled(settlements));
                true
            }
            Err(error) => {
                self.outage.note_failure(&error.0);
                false
            }
        }
    }
}

/// A call's answer, or an error where there is none in time.
async fn in_time<T>(patience: Duration, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(patience, call).await.unwrap_or_else(|_| Err(StoreError("no answer in time".to_owned())))
}
