//! Stores in memory for the tests of this room. They pass the same conformance suite as the real ones
//! (`storage/conformance.rs`), and can be told to fail.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;

use crate::admission::{
    Ask, Grant, KeyStore, OpenLease, Posting, PostingId, QuotaStore, Settlement, StoredKey, Subject, Word, lease_size,
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
    async fn before(&self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
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

/// [`QuotaStore`] in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryQuota {
    pub(crate) faults: Faults,
    pub(crate) live_edges: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    days: HashMap<(Subject, Day), Count>,
    leases: HashMap<LeaseId, Lease>,
    postings: HashSet<PostingId>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    used: u32,
    leased: u32,
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
            self.leases.remove(&settlement.lease);
        }
    }
}

#[async_trait]
impl QuotaStore for MemoryQuota {
    async fn grant(&self, ask: Ask) -> Result<Grant, StoreError> {
        self.faults.before().await?;
        let live_edges = self.live_edges.max(1);
        let mut counts = self.lock();
        ask.settled.iter().for_each(|settlement| counts.settle(settlement));
        let earlier = counts.leases.get(&ask.lease).map(|lease| lease.granted);
        let count = counts.days.entry((ask.subject, ask.day)).or_default();
        let granted = earlier.unwrap_or_else(|| {
            let granted = lease_size(ask.limit.saturating_sub(count.used + count.leased), live_edges, ask.most);
            count.leased += granted;
            granted
        });
        let counted = count.used + count.leased;
        if granted > 0 && earlier.is_none() {
            let Ask { edge, subject, day, .. } = ask;
            counts.leases.insert(ask.lease, Lease { edge, subject, day, granted, used: 0 });
        }
        let others = counts.leases.values().filter(|lease| lease.edge != ask.edge);
        let others = others.filter(|lease| (lease.subject, lease.day) == (ask.subject, ask.day));
        let elsewhere = others.map(|lease| lease.granted - lease.used).sum();
        self.faults.answer(Grant { granted, counted, live_edges, elsewhere })
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), StoreError> {
        self.faults.before().await?;
        let mut counts = self.lock();
        settlements.iter().for_each(|settlement| counts.settle(settlement));
        self.faults.answer(())
    }

    async fn release(&self, posting: Posting) -> Result<(), StoreError> {
        self.faults.before().await?;
        let mut counts = self.lock();
        if counts.postings.insert(posting.id) {
            let day = counts.days.entry((posting.subject, posting.day)).or_default();
            // An underflow here is a release that overtook its settlement: the tests must hear of it.
            day.used -= posting.count;
        }
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

    async fn beat(&self, _edge: EdgeId) -> Result<u32, StoreError> {
        self.faults.answer(self.live_edges.max(1))
    }

    async fn depart(&self, _edge: EdgeId) -> Result<(), StoreError> {
        self.faults.answer(())
    }

    async fn open_leases(&self, edge: EdgeId) -> Result<Vec<OpenLease>, StoreError> {
        self.faults.before().await?;
        let counts = self.lock();
        let own = counts.leases.iter().filter(|(_, lease)| lease.edge == edge);
        let open = own.map(|(id, lease)| {
            let Lease { subject, day, granted, used, .. } = *lease;
            OpenLease { lease: *id, subject, day, granted, used }
        });
        self.faults.answer(open.collect())
    }

    async fn recall(&self, _edge: EdgeId, _subject: Subject, _day: Day) -> Result<(), StoreError> {
        self.faults.answer(())
    }

    async fn hear(&self, _edge: EdgeId) -> Word {
        std::future::pending().await
    }

    fn hears(&self) -> bool {
        true
    }
}

/// [`KeyStore`] in memory.
#[derive(Default)]
pub(crate) struct MemoryKeys {
    pub(crate) faults: Faults,
    pub(crate) generation: AtomicU64,
    pub(crate) keys: Mutex<HashMap<String, StoredKey>>,
    pub(crate) used: Mutex<HashMap<KeyId, Timestamp>>,
    /// Look-ups begun and not ended, and the most there were.
    pub(crate) in_flight: Mutex<(usize, usize)>,
    /// How long a look-up takes.
    pub(crate) delay: Mutex<Duration>,
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
        Ok(self.keys.lock().unwrap().get(public_id).cloned())
    }

    async fn generation(&self) -> Result<u64, StoreError> {
        if self.faults.down.load(Ordering::SeqCst) {
            return Err(StoreError("down".to_owned()));
        }
        Ok(self.generation.load(Ordering::SeqCst))
    }

    async fn mark_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        self.used.lock().unwrap().extend(used.iter().copied());
        Ok(())
    }
}
