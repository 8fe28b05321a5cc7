//! The way of rows to the store: queued by requests, written in batches behind them.
//!
//! Failure stance: open. A request never waits for the store and never fails by it. While the store is away rows wait
//! in memory, up to `capacity`; beyond it they are dropped, counted and logged. What is in memory dies with the
//! process. Writing is idempotent by request id, so a batch whose answer was lost is simply sent again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::ledger::record::{Entry, Opening, Refused, Row};
use crate::ledger::refusals::Refusals;
use crate::units::{StoreError, Timestamp};

/// Between tries while the store is away: doubled from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Where rows are kept.
#[async_trait]
pub trait LedgerStore: Send + Sync {
    /// Writes all rows or none. A row whose request id is there already is passed over.
    async fn append(&self, rows: Arc<[Row]>) -> Result<(), AppendError>;
}

/// Why rows were not written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The store did not answer, or cannot write now: the same rows may be taken later.
    #[error(transparent)]
    Unavailable(StoreError),
    /// The store answered, and will never take these rows as they are.
    #[error(transparent)]
    Refused(StoreError),
}

#[derive(Debug, Clone, Copy)]
pub struct LedgerSettings {
    /// How long a row waits for others.
    pub interval: Duration,
    /// Rows in one batch; as many waiting are written at once.
    pub batch: usize,
    /// Rows kept in memory while the store is away.
    pub capacity: usize,
}

/// Figures for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rows not yet in the store.
    pub queued: usize,
    pub written: u64,
    pub dropped: u64,
    /// Batches that failed and were, or will be, sent again.
    pub failures: u64,
}

/// Rows that were still in memory when patience ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} ledger rows were not written")]
pub struct Unwritten(pub usize);

/// The ledger. Cheap to clone: all clones are one.
#[derive(Clone)]
pub struct Ledger(Arc<Shared>);

struct Shared {
    store: Arc<dyn LedgerStore>,
    clock: Arc<dyn Clock>,
    settings: LedgerSettings,
    /// A plain list behind a lock: a push wakes nobody until a batch is full, which a channel would do every time.
    queue: Mutex<VecDeque<Row>>,
    refusals: Mutex<Refusals>,
    /// The batch being written. It stays here until the store has it, also when the writing task is dropped.
    batch: tokio::sync::Mutex<Option<Arc<[Row]>>>,
    full: Notify,
    /// In the queue or in the batch.
    waiting: AtomicUsize,
    written: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self { interval: Duration::from_millis(200), batch: 500, capacity: 200_000 }
    }
}

impl Ledger {
    pub fn new(store: Arc<dyn LedgerStore>, clock: Arc<dyn Clock>, settings: LedgerSettings) -> Self {
        Self(Arc::new(Shared {
            store,
            clock,
            settings,
            queue: Mutex::default(),
            refusals: Mutex::default(),
            batch: tokio::sync::Mutex::default(),
            full: Notify::new(),
            waiting: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }))
    }

    /// Begins the record of an admitted request.
    pub fn open(&self, opening: Opening) -> Entry {
        Entry::new(self.clone(), opening)
    }

    /// Notes a refused request. Never one answered 401.
    pub fn refused(&self, refused: Refused) {
        let rows = lock(&self.0.refusals).take(refused);
        rows.for_each(|row| self.push(row));
    }

    /// Runs for the life of the process: writes what is queued, when a batch is full or `interval` has passed.
    pub async fn run(self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.0.settings.interval) => {}
                () = self.0.full.notified() => {}
            }
            let over = lock(&self.0.refusals).sweep(self.now());
            over.into_iter().for_each(|row| self.push(row));
            self.flush().await;
        }
    }

    /// Writes everything queued before this call, however often the store must be tried.
    pub async fn flush(&self) {
        let mut pause = BACKOFF.0;
        let mut batch = self.0.batch.lock().await;
        // Not more than that: under load, chasing the last row would make every batch a small one.
        let mut left = self.counts().queued;
        while left > 0 {
            let Some(rows) = batch.take().or_else(|| self.next_batch()) else { return };
            // Put back first: a future dropped while it waits must not take the rows along.
            *batch = Some(Arc::clone(&rows));
            match self.0.store.append(Arc::clone(&rows)).await {
                Ok(()) => {
                    *batch = None;
                    self.0.waiting.fetch_sub(rows.len(), Ordering::Relaxed);
                    self.0.written.fetch_add(rows.len() as u64, Ordering::Relaxed);
                    left = left.saturating_sub(rows.len());
                    pause = BACKOFF.0;
                }
                Err(error) => {
                    self.0.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, rows = self.counts().queued, "ledger rows wait for the store");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Writes everything there is, sums of refusals included. Requests must have ended.
    pub async fn shutdown(&self, patience: Duration) -> Result<(), Unwritten> {
        let sums = lock(&self.0.refusals).take_all();
        sums.into_iter().for_each(|row| self.push(row));
        let in_time = tokio::time::timeout(patience, self.flush()).await;
        in_time.map_err(|_| Unwritten(self.counts().queued))
    }

    pub fn counts(&self) -> Counts {
        Counts {
            queued: self.0.waiting.load(Ordering::Relaxed),
            written: self.0.written.load(Ordering::Relaxed),
            dropped: self.0.dropped.load(Ordering::Relaxed),
            failures: self.0.failures.load(Ordering::Relaxed),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(super) fn push(&self, row: Row) {
        let waiting = self.0.waiting.fetch_add(1, Ordering::Relaxed) + 1;
        if waiting > self.0.settings.capacity {
            self.0.waiting.fetch_sub(1, Ordering::Relaxed);
            let dropped = self.0.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            // Each power of two: loud at first, and no flood of its own.
            if dropped.is_power_of_two() {
                tracing::error!(dropped, "the ledger's queue is full; rows are lost");
            }
            return;
        }
        let mut queue = lock(&self.0.queue);
        queue.push_back(row);
        let full = queue.len() == self.0.settings.batch;
        drop(queue);
        if full {
            self.0.full.notify_one();
        }
    }

    fn next_batch(&self) -> Option<Arc<[Row]>> {
        let mut queue = lock(&self.0.queue);
        let count = queue.len().min(self.0.settings.batch);
        let rows: Arc<[Row]> = queue.drain(..count).collect();
        drop(queue);
        (!rows.is_empty()).then_some(rows)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
