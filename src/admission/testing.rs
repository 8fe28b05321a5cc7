//! Stores in memory for the tests of this room. They pass the same conformance suite as the real ones
//! (`storage/conformance.rs`), and can be told to fail.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::admission::{
    Ask, Changed, Changes, Grant, KeyStore, OpenLease, Posting, PostingId, PublicId, QuotaStore, Remembered,
    Settlement, StoredKey, Subject, Word, lease_size,
};
use crate::units::{Day, EdgeId, KeyId, LeaseId, StoreError, Timestamp};

/// Faults that a double has now.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Refuses every call.
    pub(crate) down: AtomicBool,
    /// Does what it is asked and then fails to answer.
    pub(crate) mute: AtomicBool,
    /// Does not go on until this is over.
    pub(crate) hung: AtomicBool,
    pub(crate) calls: AtomicU64,
}

impl Faults {
    /// Begins one of the calls that are counted.
    async fn before(&self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.works().await
    }

    async fn works(&self) -> Result<(), StoreError> {
        // A real store answers from another thread: whoever asks must be able to be overtaken.
        tokio::task::yield_now().await;
        while self.hung.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if self.down.load(Ordering::SeqCst) { Err(StoreError("down".to_owned())) } else { Ok(()) }
    }

    fn answer<T>(&self, value: T) -> Result<T, StoreError> {
        if self.mute.load(Ordering::SeqCst) { Err(StoreError("the answer was lost".to_owned())) } else { Ok(value) }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

/// An edge is gone when nothing was heard of it for so long.
const GONE: Duration = Duration::from_secs(10);

/// [`QuotaStore`] in memory, for any number of edges.
#[derive(Debug, Default)]
pub(crate) struct MemoryQuota {
    pub(crate) faults: Faults,
    /// Edges said to live beside those that beat.
    pub(crate) live_edges: u32,
    /// Tells every edge that it hears nothing.
    pub(crate) unheard: AtomicBool,
    pub(crate) recalls: AtomicU64,
    /// Milliseconds between what a grant does and its answer.
    pub(crate) slow_answers: AtomicU64,
    /// The same of what was used.
    pub(crate) slow_settlements: AtomicU64,
    /// What is known elsewhere while this does not answer: how much of any day was used, and how many edges live.
    pub(crate) elsewhere: Mutex<Option<Remembered>>,
    counts: Mutex<Counts>,
    said: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    days: HashMap<(Subject, Day), Count>,
    leases: HashMap<LeaseId, Lease>,
    postings: HashSet<PostingId>,
    /// The last heartbeat of each edge.
    beats: HashMap<EdgeId, Instant>,
    /// Words said and not heard yet, for every edge that ever beat or listened.
    words: HashMap<EdgeId, VecDeque<Word>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    used: u32,
    leased: u32,
    /// Someone was denied since something was last freed.
    reached: bool,
}

#[derive(Debug)]
struct Lease {
    edge: EdgeId,
    subject: Subject,
    day: Day,
    granted: u32,
    used: u32,
}

impl MemoryQuota {
    pub(crate) fn with_edges(live_edges: u32) -> Self {
        Self { live_edges, ..Self::default() }
    }

    /// `(request_count, leased)`.
    pub(crate) fn count(&self, subject: Subject, day: Day) -> (u32, u32) {
        let count = self.lock().days.get(&(subject, day)).copied().unwrap_or_default();
        (count.used, count.leased)
    }

    /// What was heard to be used of a lease; 0 of one that is closed or was never granted.
    pub(crate) fn reported(&self, lease: LeaseId) -> u32 {
        self.lock().leases.get(&lease).map_or(0, |lease| lease.used)
    }

    fn grant_now(&self, ask: Ask) -> Grant {
        let mut counts = self.lock();
        let live_edges = self.live_edges.max(counts.living()).max(1);
        ask.settled.iter().for_each(|settlement| counts.settle(settlement));
        let earlier = counts.leases.get(&ask.lease).map(|lease| lease.granted);
        let count = counts.days.entry((ask.subject, ask.day)).or_default();
        let granted = earlier.unwrap_or_else(|| {
            let granted = lease_size(ask.limit, count.used + count.leased, live_edges, ask.most);
            count.leased += granted;
            granted
        });
        count.reached |= granted == 0;
        let counted = count.used + count.leased;
        if granted > 0 && earlier.is_none() {
            let Ask { edge, subject, day, .. } = ask;
            counts.leases.insert(ask.lease, Lease { edge, subject, day, granted, used: 0 });
        }
        let others = counts.leases.values().filter(|lease| lease.edge != ask.edge && counts.lives(lease.edge));
        let others = others.filter(|lease| (lease.subject, lease.day) == (ask.subject, ask.day));
        let elsewhere = others.map(|lease| lease.granted - lease.used).sum();
        Grant { granted, counted, live_edges, elsewhere }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap()
    }
}

impl Counts {
    fn settle(&mut self, settlement: &Settlement) {
        let Some(lease) = self.leases.get_mut(&settlement.lease) else { return };
        let used = settlement.used.max(lease.used);
        let day = self.days.get_mut(&(settlement.subject, settlement.day)).unwrap();
        day.used += used - lease.used;
        day.leased -= if settlement.closes { lease.granted - lease.used } else { used - lease.used };
        lease.used = used;
        if settlement.closes {
            let (edge, frees) = (lease.edge, lease.granted > used);
            self.leases.remove(&settlement.lease);
            if frees {
                self.freed(Some(edge), settlement.subject, settlement.day);
            }
        }
    }

    /// Tells the others, where anyone was denied.
    fn freed(&mut self, by: Option<EdgeId>, subject: Subject, day: Day) {
        let count = self.days.entry((subject, day)).or_default();
        if std::mem::take(&mut count.reached) {
            self.say(by, Word::Freed { subject, day });
        }
    }

    fn say(&mut self, by: Option<EdgeId>, word: Word) {
        let others = self.words.iter_mut().filter(|(edge, _)| Some(**edge) != by);
        others.for_each(|(_, words)| words.push_back(word));
    }

    fn lives(&self, edge: EdgeId) -> bool {
        self.beats.get(&edge).is_some_and(|beat| beat.elapsed() < GONE)
    }

    fn living(&self) -> u32 {
        u32::try_from(self.beats.values().filter(|beat| beat.elapsed() < GONE).count()).unwrap()
    }
}

#[async_trait]
impl QuotaStore for MemoryQuota {
    async fn grant(&self, ask: Ask) -> Result<Grant, StoreError> {
        self.faults.before().await?;
        let grant = self.grant_now(ask);
        self.said.notify_waiters();
        slow(&self.slow_answers).await;
        self.faults.answer(grant)
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), StoreError> {
        self.faults.before().await?;
        settlements.iter().for_each(|settlement| self.lock().settle(settlement));
        self.said.notify_waiters();
        slow(&self.slow_settlements).await;
        self.faults.answer(())
    }

    async fn release(&self, posting: Posting) -> Result<(), StoreError> {
        self.faults.before().await?;
        let mut counts = self.lock();
        if counts.postings.insert(posting.id) {
            let day = counts.days.entry((posting.subject, posting.day)).or_default();
            // An underflow here is a release that overtook its settlement: the tests must hear of it.
            day.used -= posting.count;
            counts.freed(None, posting.subject, posting.day);
        }
        drop(counts);
        self.said.notify_waiters();
        self.faults.answer(())
    }

    async fn post(&self, posting: Posting) -> Result<(), StoreError> {
        self.faults.before().await?;
        let mut counts = self.lock();
        if counts.postings.insert(posting.id) {
            counts.days.entry((posting.subject, posting.day)).or_default().used += posting.count;
        }
        self.faults.answer(())
    }

    async fn used(&self, subject: Subject, day: Day) -> Result<u32, StoreError> {
        self.faults.before().await?;
        self.faults.answer(self.count(subject, day).0)
    }

    async fn beat(&self, edge: EdgeId) -> Result<u32, StoreError> {
        self.faults.works().await?;
        let mut counts = self.lock();
        counts.beats.insert(edge, Instant::now());
        counts.words.entry(edge).or_default();
        self.faults.answer(self.live_edges.max(counts.living()))
    }

    async fn depart(&self, edge: EdgeId) -> Result<(), StoreError> {
        self.faults.works().await?;
        let mut counts = self.lock();
        counts.beats.remove(&edge);
        counts.words.remove(&edge);
        self.faults.answer(())
    }

    async fn open_leases(&self, edge: EdgeId) -> Result<Vec<OpenLease>, StoreError> {
        self.faults.works().await?;
        let counts = self.lock();
        let own = counts.leases.iter().filter(|(_, lease)| lease.edge == edge);
        let open = own.map(|(id, lease)| {
            let Lease { subject, day, granted, used, .. } = *lease;
            OpenLease { lease: *id, subject, day, granted, used }
        });
        self.faults.answer(open.collect())
    }

    async fn recall(&self, edge: EdgeId, subject: Subject, day: Day) -> Result<(), StoreError> {
        self.faults.works().await?;
        self.recalls.fetch_add(1, Ordering::SeqCst);
        self.lock().say(Some(edge), Word::Recall { subject, day });
        self.said.notify_waiters();
        self.faults.answer(())
    }

    async fn hear(&self, edge: EdgeId) -> Word {
        loop {
            let said = self.said.notified();
            tokio::pin!(said);
            said.as_mut().enable();
            if let Some(word) = self.lock().words.entry(edge).or_default().pop_front() {
                return word;
            }
            said.await;
        }
    }

    fn hears(&self) -> bool {
        !self.unheard.load(Ordering::SeqCst)
    }

    async fn remembered(&self, _edge: EdgeId, _subject: Subject, _day: Day) -> Option<Remembered> {
        let elsewhere = *self.elsewhere.lock().unwrap();
        if elsewhere.is_some() {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        elsewhere
    }
}

async fn slow(millis: &AtomicU64) {
    let millis = millis.load(Ordering::SeqCst);
    if millis > 0 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

/// [`KeyStore`] in memory.
#[derive(Default)]
pub(crate) struct MemoryKeys {
    pub(crate) faults: Faults,
    /// Every change that was told of: of one key, or of any.
    pub(crate) told: Mutex<Vec<Option<PublicId>>>,
    pub(crate) keys: Mutex<HashMap<String, StoredKey>>,
    pub(crate) used: Mutex<HashMap<KeyId, Timestamp>>,
    /// Look-ups begun and not ended, and the most there were.
    pub(crate) in_flight: Mutex<(usize, usize)>,
    /// How long a look-up takes to reach the store.
    pub(crate) delay: Mutex<Duration>,
    /// How long what it found there takes to come back.
    pub(crate) slow_answer: Mutex<Duration>,
}

/// One look-up; over also when it is given up.
struct Flight<'store>(&'store Mutex<(usize, usize)>);

impl<'store> Flight<'store> {
    fn begin(in_flight: &'store Mutex<(usize, usize)>) -> Self {
        let mut counts = in_flight.lock().unwrap();
        counts.0 += 1;
        counts.1 = counts.1.max(counts.0);
        Self(in_flight)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().0 -= 1;
    }
}

#[async_trait]
impl KeyStore for MemoryKeys {
    async fn find(&self, public_id: &str) -> Result<Option<StoredKey>, StoreError> {
        let _flight = Flight::begin(&self.in_flight);
        let delay = *self.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        self.faults.before().await?;
        let found = self.keys.lock().unwrap().get(public_id).cloned();
        let slow = *self.slow_answer.lock().unwrap();
        tokio::time::sleep(slow).await;
        Ok(found)
    }

    async fn changes(&self, since: Option<u64>) -> Result<Changes, StoreError> {
        if self.faults.down.load(Ordering::SeqCst) {
            return Err(StoreError("down".to_owned()));
        }
        let told = self.told.lock().unwrap();
        let new = since.map(|mark| told[usize::try_from(mark).unwrap()..].iter().copied().collect::<Option<Vec<_>>>());
        let what = new.flatten().map_or(Changed::Any, Changed::Keys);
        Ok(Changes { what, mark: u64::try_from(told.len()).unwrap() })
    }

    async fn mark_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        self.used.lock().unwrap().extend(used.iter().copied());
        Ok(())
    }
}
