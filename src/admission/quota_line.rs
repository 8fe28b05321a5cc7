//! What stands between one process and what it shares with the others: its way to the store, and its clock.

use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use tokio::sync::watch;

use super::*;
use crate::admission::quota_store::{Ask, Grant, OpenLease, Posting, Settlement, Word};
use crate::admission::testing::MemoryQuota;
use crate::clock::ManualClock;

/// One process's way to the store: it ends with the process, in the midst of whatever was being said.
pub(super) struct Line {
    pub(super) store: Arc<MemoryQuota>,
    pub(super) cut: watch::Sender<bool>,
    pub(super) deaf: AtomicBool,
}

impl Line {
    async fn through<T>(&self, call: impl Future<Output = T>) -> T {
        let mut cut = self.cut.subscribe();
        let is_cut = async { cut.wait_for(|cut| *cut).await.is_ok() };
        tokio::select! {
            biased;
            _ = is_cut => std::future::pending().await,
            answer = call => answer,
        }
    }
}

#[async_trait]
impl QuotaStore for Line {
    async fn grant(&self, ask: Ask) -> Result<Grant, StoreError> {
        self.through(self.store.grant(ask)).await
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), StoreError> {
        self.through(self.store.settle(settlements)).await
    }

    async fn release(&self, posting: Posting) -> Result<(), StoreError> {
        self.through(self.store.release(posting)).await
    }

    async fn post(&self, posting: Posting) -> Result<(), StoreError> {
        self.through(self.store.post(posting)).await
    }

    async fn used(&self, subject: Subject, day: Day) -> Result<u32, StoreError> {
        self.through(self.store.used(subject, day)).await
    }

    async fn beat(&self, edge: EdgeId) -> Result<u32, StoreError> {
        self.through(self.store.beat(edge)).await
    }

    async fn depart(&self, edge: EdgeId) -> Result<(), StoreError> {
        self.through(self.store.depart(edge)).await
    }

    async fn open_leases(&self, edge: EdgeId) -> Result<Vec<OpenLease>, StoreError> {
        self.through(self.store.open_leases(edge)).await
    }

    async fn recall(&self, edge: EdgeId, subject: Subject, day: Day) -> Result<(), StoreError> {
        self.through(self.store.recall(edge, subject, day)).await
    }

    async fn hear(&self, edge: EdgeId) -> Word {
        loop {
            let word = self.through(self.store.hear(edge)).await;
            if !self.deaf.load(Ordering::SeqCst) {
                return word;
            }
        }
    }

    fn hears(&self) -> bool {
        self.store.hears()
    }
}

/// The wall clock as one edge has it.
pub(super) struct Skewed {
    pub(super) base: Arc<ManualClock>,
    pub(super) skew: i64,
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        Timestamp(self.base.now().0 + self.skew)
    }
}
