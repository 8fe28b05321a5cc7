//! The record of a request: opened in the spool when it is admitted, closed when its answer has ended.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use cfx::clock::ManualClock;
use cfx::config::{Fsync, OnSpoolFull};
use cfx::ledger::{Closing, Ledger, LedgerSettings, Opening, Spool, SpoolSettings, Status};
use cfx::storage::sqlite::Sqlite;
use cfx::units::{KeyId, LeaseId, NanoUsd, RequestId, Stage, StageSource, Timestamp, Usage, UserId};
use tempfile::TempDir;
use uuid::Uuid;

const NOON: Timestamp = Timestamp(1_769_860_800_000_000); // 2026-01-31T12:00:00Z
/// One lane, whose segment holds more than all that is recorded here; nothing is synced but by the spool's own thread.
const SPOOL: SpoolSettings =
    SpoolSettings { size: 128 << 20, fsync: Fsync::Off, on_full: OnSpoolFull::Refuse, lanes: 1, capacity: 80_000 };

/// A ledger whose rows stay in the spool.
pub struct Book {
    ledger: Ledger,
    model: Arc<str>,
    recorded: u64,
    _folder: TempDir,
}

impl Book {
    pub fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("cfx.db")).unwrap();
        let (spool, _) = Spool::open(&folder.path().join("spool"), SPOOL, NOON).unwrap();
        let ledger = Ledger::new(spool, store, Arc::new(ManualClock::at(NOON)), LedgerSettings::default());
        let mut book = Self { ledger, model: "deepseek".into(), recorded: 0, _folder: folder };
        (0..200).for_each(|_| book.record());
        assert_eq!(book.ledger.counts().queued, 200);
        book
    }

    /// One request is opened and closed.
    pub fn record(&mut self) {
        let entry = self.ledger.open(black_box(self.opening())).unwrap();
        entry.close(black_box(self.closing()));
        self.recorded += 1;
    }

    fn opening(&self) -> Opening {
        Opening {
            request: RequestId(Uuid::from_u128(u128::from(self.recorded))),
            created_at: NOON,
            user: UserId(Uuid::from_u128(1)),
            key: KeyId(Uuid::from_u128(2)),
            lease: Some(LeaseId(Uuid::from_u128(3))),
            key_lease: None,
            session_id: Some("0b9f2c54-77aa-4b7e-9d39-5c1f4f6f8a10".to_owned()),
            stage: Stage::Code,
            source: StageSource::Header,
            model: Arc::clone(&self.model),
            stream: true,
            body_bytes: 2_048,
        }
    }

    fn closing(&self) -> Closing {
        Closing {
            status: Status::Success,
            http_status: 200,
            usage: Some(Usage { input: 1_200, cached_input: 1_024, output: 200, ..Usage::default() }),
            estimated: false,
            cost: NanoUsd(1_234_567),
            latency: Duration::from_millis(4_321),
            first_token: Some(Duration::from_millis(321)),
            attempts: 1,
            model: Arc::clone(&self.model),
            error: None,
        }
    }
}
