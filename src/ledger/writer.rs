//! The way of rows to the store: written to the spool by requests, taken from it in batches behind them.
//!
//! Failure stance: open towards the store, closed towards the disk. A request never waits for the store and never
//! fails by it: while it is away rows wait in memory up to a bound and beyond it on disk, and are caught up with when
//! it is back. Only a request whose OPEN finds no room on disk is refused (`on_full: refuse`). Writing is idempotent
//! by request id, so a batch whose answer was lost is simply sent again. A row that the store refuses for what it says
//! is kept aside, so that it does not stand in the way of all others.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, OwnedMutexGuard};

use crate::clock::Clock;
use crate::failpoint;
use crate::ledger::record::{Entry, Leases, Opening, Refused, Row};
use crate::ledger::refusals::Refusals;
use crate::ledger::spool::{Spool, SpoolFull, Taken, Ticket};
use crate::units::{StoreError, Timestamp};

/// Between tries while the store is away: doubled from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Where rows are kept.
#[async_trait]
pub trait LedgerStore: Send + Sync {
    /// Writes all rows or none. A row whose request id is there already is passed over.
    async fn append(&self, rows: Arc<[Row]>) -> Result<(), AppendError>;
}

/// Why rows were not written. None of them was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The store is away or busy: the same rows may be taken later.
    #[error("the store does not answer: {0}")]
    Unavailable(StoreError),
    /// It will never take at least one of these rows.
    #[error("the store refuses a row: {0}")]
    Refused(StoreError),
}

#[derive(Debug, Clone, Copy)]
pub struct LedgerSettings {
    /// How long a row waits for others.
    pub interval: Duration,
    /// Rows in one batch; as many waiting are written at once.
    pub batch: usize,
}

/// Figures for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rows not yet in the store.
    pub queued: usize,
    pub written: u64,
    /// Rows that found room neither on disk nor in memory.
    pub dropped: u64,
    /// Rows that the store refused.
    pub quarantined: u64,
    /// Batches that failed and were, or will be, sent again.
    pub failures: u64,
}

/// Rows that the store did not have when patience ran out. The next start finds them in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} ledger rows wait in the spool for the next start")]
pub struct Unwritten(pub usize);

/// The ledger. Cheap to clone: all clones are one.
#[derive(Clone)]
pub struct Ledger(Arc<Shared>);

struct Shared {
    store: Arc<dyn LedgerStore>,
    spool: Spool,
    clock: Arc<dyn Clock>,
    settings: LedgerSettings,
    refusals: Mutex<Refusals>,
    /// The batch being written. It stays here until the store has it, also when the writing task is dropped.
    batch: Arc<tokio::sync::Mutex<Option<Batch>>>,
    full: Notify,
    written: AtomicU64,
    dropped: AtomicU64,
    quarantined: AtomicU64,
    failures: AtomicU64,
    /// When the oldest row of the batch being written ended, in microseconds since the epoch; 0: there is none.
    batch_oldest: AtomicI64,
}

/// Rows on their way to the store.
struct Batch {
    /// What is still to be written, the next part last. More than one once the store has refused a row.
    parts: Vec<Arc<[Row]>>,
    rows: usize,
    taken: Taken,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self { interval: Duration::from_millis(200), batch: 500 }
    }
}

impl Ledger {
    pub fn new(spool: Spool, store: Arc<dyn LedgerStore>, clock: Arc<dyn Clock>, settings: LedgerSettings) -> Self {
        Self(Arc::new(Shared {
            store,
            spool,
            clock,
            settings,
            refusals: Mutex::default(),
            batch: Arc::default(),
            full: Notify::new(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            quarantined: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            batch_oldest: AtomicI64::new(0),
        }))
    }

    /// Begins the record of an admitted request: it is written to the spool when this returns. Nothing of the request
    /// may go upstream before it is also [on the disk](Entry::on_disk).
    ///
    /// The write is made at once. To gather those of several requests would save a system call each, and leave a time
    /// between a place taken and its record, in which a death counts a request that never was.
    pub fn open(&self, opening: Opening) -> Result<Entry, SpoolFull> {
        let ticket = self.0.spool.open_request(&opening)?;
        Ok(Entry::new(self.clone(), opening, ticket))
    }

    /// Notes a refused request. Never one answered 401.
    pub fn refused(&self, refused: Refused) {
        let rows = lock(&self.0.refusals).take(refused);
        rows.for_each(|row| self.push(None, row));
    }

    /// Runs for the life of the process: writes what waits, when a batch is full or `interval` has passed.
    pub async fn run(self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.0.settings.interval) => {}
                () = self.0.full.notified() => {}
            }
            let over = lock(&self.0.refusals).sweep(self.now());
            over.into_iter().for_each(|row| self.push(None, row));
            self.flush().await;
        }
    }

    /// Writes everything that waited before this call, however often the store must be tried.
    pub async fn flush(&self) {
        let mut pause = BACKOFF.0;
        let mut batch = Arc::clone(&self.0.batch).lock_owned().await;
        // Not more than that: under load, chasing the last row would make every batch a small one.
        let mut left = self.counts().queued;
        while left > 0 || self.0.spool.reads_files() {
            batch = self.fill(batch).await;
            let Some(current) = batch.as_mut() else { return };
            match self.write(current).await {
                Ok(()) => {
                    left = left.saturating_sub(current.rows);
                    if let Some(whole) = batch.take() {
                        self.0.spool.stored(whole.taken);
                    }
                    self.0.batch_oldest.store(0, Ordering::Relaxed);
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
        sums.into_iter().for_each(|row| self.push(None, row));
        self.0.spool.flush();
        let in_time = tokio::time::timeout(patience, self.flush()).await;
        self.0.spool.flush(); // the word that they are stored
        in_time.map_err(|_| Unwritten(self.counts().queued))
    }

    pub fn counts(&self) -> Counts {
        Counts {
            queued: self.0.spool.waiting(),
            written: self.0.written.load(Ordering::Relaxed),
            dropped: self.0.dropped.load(Ordering::Relaxed),
            quarantined: self.0.quarantined.load(Ordering::Relaxed),
            failures: self.0.failures.load(Ordering::Relaxed),
        }
    }

    /// What the spool takes of the disk, in bytes.
    pub fn spool_bytes(&self) -> u64 {
        self.0.spool.bytes()
    }

    /// How many segments were found damaged at the start.
    pub fn spool_cuts(&self) -> u64 {
        self.0.spool.cuts()
    }

    /// For how long the oldest row has waited for the store.
    pub fn lag(&self) -> Duration {
        let writing = Some(self.0.batch_oldest.load(Ordering::Relaxed)).filter(|micros| *micros != 0).map(Timestamp);
        let oldest = writing.into_iter().chain(self.0.spool.oldest()).min();
        oldest.map_or(Duration::ZERO, |oldest| oldest.until(self.now()))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.0.spool
    }

    /// As [`push`](Self::push), for a request that did not happen. True: others may have its places, `places`.
    pub(super) fn give_back(&self, ticket: &Ticket, row: Row, places: &Leases) -> bool {
        let given_back = self.0.spool.give_back(ticket, row, places, self.0.settings.batch);
        self.note_pushed(given_back.full);
        given_back.written
    }

    pub(super) fn push(&self, ticket: Option<&Ticket>, row: Row) {
        self.note_pushed(self.0.spool.end(ticket, row, self.0.settings.batch));
    }

    fn note_pushed(&self, pushed: Result<bool, SpoolFull>) {
        match pushed {
            Ok(true) => self.0.full.notify_one(),
            Ok(false) => {}
            Err(SpoolFull) => {
                let dropped = self.0.dropped.fetch_add(1, Ordering::Relaxed) + 1;
                // Each power of two: loud at first, and no flood of its own.
                if dropped.is_power_of_two() {
                    tracing::error!(dropped, "the ledger has no room on disk nor in memory; rows are lost");
                }
            }
        }
    }

    /// Takes the next rows, where none are being written. Files are read on a thread that may wait for them; what it
    /// reads is in the slot also when nobody waits for it any more.
    async fn fill(&self, mut slot: OwnedMutexGuard<Option<Batch>>) -> OwnedMutexGuard<Option<Batch>> {
        if slot.is_some() {
            return slot;
        }
        if !self.0.spool.reads_files() {
            *slot = self.next_batch();
            return slot;
        }
        let ledger = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            *slot = ledger.next_batch();
            slot
        });
        match read.await {
            Ok(slot) => slot,
            Err(error) => {
                // Cancelled with the process, or a fault of ours: the rows stay in the spool.
                if error.is_panic() {
                    self.0.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "ledger rows could not be read from the spool");
                }
                Arc::clone(&self.0.batch).lock_owned().await
            }
        }
    }

    fn next_batch(&self) -> Option<Batch> {
        let mut taken = self.0.spool.take(self.0.settings.batch);
        if taken.is_empty() {
            return None;
        }
        let rows: Arc<[Row]> = std::mem::take(&mut taken.rows).into();
        let oldest = rows.iter().map(Row::ended).min();
        self.0.batch_oldest.store(oldest.map_or(0, |oldest| oldest.0), Ordering::Relaxed);
        let count = rows.len();
        Some(Batch { parts: if count > 0 { vec![rows] } else { Vec::new() }, rows: count, taken })
    }

    /// Writes what is left of a batch. A part with a row that the store refuses is halved until the row stands alone.
    async fn write(&self, batch: &mut Batch) -> Result<(), StoreError> {
        while let Some(rows) = batch.parts.last().map(Arc::clone) {
            match self.0.store.append(Arc::clone(&rows)).await {
                Ok(()) => {
                    failpoint::reached(failpoint::AFTER_COMMIT);
                    self.0.written.fetch_add(rows.len() as u64, Ordering::Relaxed);
                    batch.parts.pop();
                }
                Err(AppendError::Unavailable(error)) => return Err(error),
                Err(AppendError::Refused(error)) => match &*rows {
                    [row] => {
                        let kept = self.set_aside(row, &error)?;
                        tracing::error!(request = %row.request.0, %error, kept = %kept.display(),
                            "the store refuses a ledger row");
                        batch.parts.pop();
                    }
                    rows => {
                        let (first, second) = rows.split_at(rows.len() / 2);
                        batch.parts.pop();
                        batch.parts.extend([second.into(), first.into()]);
                    }
                },
            }
        }
        Ok(())
    }

    /// Fails, to be tried again, where the row cannot be kept: it must not vanish.
    fn set_aside(&self, row: &Row, refusal: &StoreError) -> Result<PathBuf, StoreError> {
        let kept = self.0.spool.quarantine(row, refusal, self.now());
        let kept = kept.map_err(|error| StoreError(format!("{refusal}; and the row cannot be kept aside: {error}")))?;
        self.0.quarantined.fetch_add(1, Ordering::Relaxed);
        Ok(kept)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
