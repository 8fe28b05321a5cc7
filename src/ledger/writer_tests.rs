use std::sync::atomic::AtomicBool;

use uuid::Uuid;

use super::*;
use crate::clock::ManualClock;
use crate::config::{Fsync, OnSpoolFull};
use crate::ledger::{Closing, SpoolSettings, Status};
use crate::units::{KeyId, NanoUsd, RequestId, Stage, StageSource, Usage, UserId};

const NOON: Timestamp = Timestamp(1_769_860_800_000_000); // 2026-01-31T12:00:00Z

/// Rows in memory, as idempotent as the port asks; fails when told to.
#[derive(Default)]
struct MemoryLedger {
    down: AtomicBool,
    /// Writes the rows and then fails to say so.
    mute: AtomicBool,
    /// The session of the row that it will never take.
    refuses: Mutex<Option<String>>,
    rows: Mutex<Vec<Row>>,
    batches: Mutex<Vec<usize>>,
}

#[async_trait]
impl LedgerStore for MemoryLedger {
    async fn append(&self, new: Arc<[Row]>) -> Result<(), AppendError> {
        tokio::task::yield_now().await;
        let unavailable = |text: &str| AppendError::Unavailable(StoreError(text.to_owned()));
        if self.down.load(Ordering::SeqCst) {
            return Err(unavailable("down"));
        }
        let refuses = self.refuses.lock().unwrap().clone();
        if refuses.is_some() && new.iter().any(|row| row.session_id == refuses) {
            return Err(AppendError::Refused(StoreError("no such row here".to_owned())));
        }
        self.batches.lock().unwrap().push(new.len());
        let mut rows = self.rows.lock().unwrap();
        for row in new.iter() {
            if rows.iter().all(|known| known.request != row.request) {
                rows.push(row.clone());
            }
        }
        if self.mute.load(Ordering::SeqCst) { Err(unavailable("the answer was lost")) } else { Ok(()) }
    }
}

struct Desk {
    ledger: Ledger,
    store: Arc<MemoryLedger>,
    clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self::with(LedgerSettings::default())
    }

    fn with(settings: LedgerSettings) -> Self {
        let store = Arc::new(MemoryLedger::default());
        Self::over(store, settings, 200_000)
    }

    /// With room for `capacity` rows in memory.
    fn over(store: Arc<MemoryLedger>, settings: LedgerSettings, capacity: usize) -> Self {
        let clock = Arc::new(ManualClock::at(NOON));
        let folder = tempfile::tempdir().unwrap();
        let (fsync, on_full) = (Fsync::Off, OnSpoolFull::Refuse);
        let spool = SpoolSettings { size: 64 << 20, fsync, on_full, lanes: 2, capacity };
        let (spool, _) = Spool::open(&folder.path().join("spool"), spool, NOON).unwrap();
        Self { ledger: Ledger::new(spool, store.clone(), clock.clone(), settings), store, clock, folder }
    }

    fn open(&self) -> Entry {
        self.open_as("session")
    }

    fn open_as(&self, session: &str) -> Entry {
        let entry = self.ledger.open(Opening {
            request: RequestId::new(self.clock.now()),
            created_at: self.clock.now(),
            user: UserId(Uuid::from_u128(1)),
            key: KeyId(Uuid::from_u128(2)),
            lease: None,
            key_lease: None,
            session_id: Some(session.to_owned()),
            stage: Stage::Code,
            source: StageSource::Header,
            model: Arc::from("deepseek"),
            stream: true,
            body_bytes: 2048,
        });
        entry.unwrap()
    }

    fn serve(&self, count: usize) {
        (0..count).for_each(|_| self.open().close(success()));
    }

    fn refuse(&self, count: usize, user: u128, reason: &'static str) {
        for _ in 0..count {
            self.ledger.refused(Refused {
                request: RequestId::new(self.clock.now()),
                created_at: self.clock.now(),
                user: UserId(Uuid::from_u128(user)),
                key: KeyId(Uuid::from_u128(2)),
                session_id: None,
                stage: None,
                source: None,
                model: None,
                stream: false,
                body_bytes: 0,
                http_status: if reason == "invalid_json" { 400 } else { 429 },
                reason,
                latency: Duration::from_millis(1),
            });
        }
    }

    fn rows(&self) -> Vec<Row> {
        self.store.rows.lock().unwrap().clone()
    }

    /// Error texts of the rows, in the order written.
    fn errors(&self) -> Vec<String> {
        self.rows().into_iter().filter_map(|row| row.error).collect()
    }
}

fn success() -> Closing {
    Closing {
        status: Status::Success,
        http_status: 200,
        usage: Some(Usage { input: 10, output: 5, ..Usage::default() }),
        estimated: false,
        cost: NanoUsd(1_234),
        latency: Duration::from_millis(900),
        first_token: Some(Duration::from_millis(150)),
        attempts: 1,
        model: Arc::from("deepseek"),
        error: None,
    }
}

#[tokio::test(start_paused = true)]
async fn rows_are_written_behind_the_request_within_the_interval() {
    let desk = Desk::new();
    let writing = tokio::spawn(desk.ledger.clone().run());
    desk.serve(3);
    assert_eq!(desk.ledger.counts(), Counts { queued: 3, ..Counts::default() });
    tokio::time::sleep(Duration::from_millis(210)).await;
    assert_eq!(desk.ledger.counts(), Counts { written: 3, ..Counts::default() });
    assert_eq!(*desk.store.batches.lock().unwrap(), [3]);
    let row = desk.rows().remove(0);
    assert_eq!((row.status, row.http_status, row.cost), (Status::Success, 200, NanoUsd(1_234)));
    assert_eq!((row.stage, row.model.as_deref()), (Some(Stage::Code), Some("deepseek")));
    writing.abort();
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_wait() {
    let desk = Desk::with(LedgerSettings { batch: 50, interval: Duration::from_secs(60) });
    let writing = tokio::spawn(desk.ledger.clone().run());
    tokio::task::yield_now().await;
    desk.serve(120);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(*desk.store.batches.lock().unwrap(), [50, 50, 20]);
    writing.abort();
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_dropped_is_an_internal_error() {
    let desk = Desk::new();
    let entry = desk.open();
    desk.clock.advance(Duration::from_secs(2));
    drop(entry);
    desk.ledger.flush().await;
    let row = desk.rows().remove(0);
    assert_eq!((row.status, row.http_status, row.error.as_deref()), (Status::Error, 500, Some("internal_error")));
    assert_eq!(row.latency, Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_another_may_take_is_written_as_given_back_before() {
    let desk = Desk::new();
    let open = || crate::ledger::status(&desk.folder.path().join("spool")).unwrap().folders[0].open;
    // Often: the disk's thread would have written any single one at this very moment.
    for _ in 0..40 {
        assert!(desk.open().give_back(success()));
        assert_eq!(open(), 0, "a death now would find it opened, and so counted beside whoever has its place");
        drop(desk.open());
        assert_eq!(open(), 0, "the same of one that nobody closed");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_loses_nothing_and_is_caught_up_with() {
    let desk = Desk::new();
    let writing = tokio::spawn(desk.ledger.clone().run());
    desk.store.down.store(true, Ordering::SeqCst);
    for _ in 0..60 {
        desk.serve(20);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(desk.ledger.counts().queued, 1_200);
    desk.store.down.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let counts = desk.ledger.counts();
    assert_eq!((counts.queued, counts.written, counts.dropped), (0, 1_200, 0));
    assert!(counts.failures > 10);
    assert_eq!(desk.rows().len(), 1_200);
    writing.abort();
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_doubles_no_row() {
    let desk = Desk::new();
    desk.store.mute.store(true, Ordering::SeqCst);
    desk.serve(5);
    assert!(tokio::time::timeout(Duration::from_secs(2), desk.ledger.flush()).await.is_err());
    assert_eq!(desk.ledger.counts().queued, 5, "a flush that was given up takes no rows along");
    desk.store.mute.store(false, Ordering::SeqCst);
    desk.ledger.flush().await;
    assert_eq!((desk.rows().len(), desk.ledger.counts().queued), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn beyond_what_memory_holds_rows_wait_on_disk_and_come_in_their_order() {
    let desk = Desk::over(Arc::default(), LedgerSettings { batch: 50, ..LedgerSettings::default() }, 100);
    desk.store.down.store(true, Ordering::SeqCst);
    let writing = tokio::spawn(desk.ledger.clone().run());
    for n in 0..1_000 {
        desk.open_as(&n.to_string()).close(success());
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((desk.ledger.counts().queued, desk.ledger.counts().dropped), (1_000, 0));
    desk.store.down.store(false, Ordering::SeqCst);
    desk.ledger.flush().await;
    let sessions: Vec<_> = desk.rows().into_iter().filter_map(|row| row.session_id).collect();
    assert_eq!(sessions, (0..1_000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(desk.ledger.counts().queued, 0);
    writing.abort();
}

#[tokio::test(start_paused = true)]
async fn a_row_that_the_store_refuses_is_kept_aside_and_all_others_are_written() {
    let desk = Desk::new();
    *desk.store.refuses.lock().unwrap() = Some("poison".to_owned());
    desk.serve(333);
    desk.open_as("poison").close(success());
    desk.serve(400);
    desk.ledger.flush().await;
    assert_eq!(desk.rows().len(), 733);
    let counts = desk.ledger.counts();
    assert_eq!((counts.queued, counts.written, counts.quarantined), (0, 733, 1));
    let kept = std::fs::read_to_string(desk.folder.path().join("spool/quarantine/rows.jsonl")).unwrap();
    let kept: Vec<serde_json::Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!((&kept[0]["session_id"], &kept[0]["cost_nano_usd"]), (&"poison".into(), &1_234.into()));
    assert_eq!(kept[0]["refused_with"], "no such row here");
}

#[tokio::test(start_paused = true)]
async fn lag_is_how_long_the_oldest_row_has_waited() {
    let desk = Desk::new();
    desk.store.down.store(true, Ordering::SeqCst);
    assert_eq!(desk.ledger.lag(), Duration::ZERO);
    desk.serve(1);
    desk.clock.advance(Duration::from_secs(60));
    desk.serve(1);
    let lag = desk.ledger.lag();
    assert_eq!(lag, Duration::from_secs(60) - success().latency);
    assert!(tokio::time::timeout(Duration::from_secs(1), desk.ledger.flush()).await.is_err());
    assert_eq!(desk.ledger.lag(), lag, "also while it is being written");
    desk.store.down.store(false, Ordering::SeqCst);
    desk.ledger.flush().await;
    assert_eq!(desk.ledger.lag(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn shutdown_writes_everything_or_says_how_much_is_left() {
    let desk = Desk::new();
    desk.serve(700);
    desk.refuse(15, 1, "daily_quota_exceeded");
    assert_eq!(desk.ledger.shutdown(Duration::from_secs(5)).await, Ok(()));
    assert_eq!(desk.rows().len(), 711);
    desk.store.down.store(true, Ordering::SeqCst);
    desk.serve(3);
    assert_eq!(desk.ledger.shutdown(Duration::from_secs(5)).await, Err(Unwritten(3)));
}

#[tokio::test(start_paused = true)]
async fn ten_refusals_of_a_minute_are_rows_and_the_rest_one_row() {
    let desk = Desk::new();
    let writing = tokio::spawn(desk.ledger.clone().run());
    desk.refuse(200, 1, "daily_quota_exceeded");
    desk.refuse(3, 1, "invalid_json");
    desk.refuse(2, 2, "invalid_json");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(desk.rows().len(), 12);
    desk.clock.advance(Duration::from_secs(60));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(desk.rows().len(), 13);
    assert_eq!(desk.errors().last().unwrap(), "daily_quota_exceeded ×190, invalid_json ×3");
    assert_eq!(desk.rows().last().unwrap().http_status, 429, "of the most frequent reason, not of the last");
    let statuses: Vec<_> = desk.rows().iter().map(|row| row.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == Status::RateLimited).count(), 11);
    writing.abort();
}

#[tokio::test(start_paused = true)]
async fn a_minute_is_summed_up_by_the_next_refusal_too() {
    let desk = Desk::new();
    desk.refuse(12, 1, "rate_limit_exceeded");
    desk.clock.advance(Duration::from_secs(60));
    desk.refuse(1, 1, "rate_limit_exceeded");
    desk.ledger.flush().await;
    assert_eq!(desk.errors()[10..], ["rate_limit_exceeded ×2", "rate_limit_exceeded"]);
}

#[test]
fn threads_push_and_nothing_is_lost() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let desk = Desk::new();
    let writing = runtime.spawn(desk.ledger.clone().run());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| desk.serve(500));
        }
    });
    runtime.block_on(desk.ledger.flush());
    assert_eq!((desk.rows().len(), desk.ledger.counts().queued), (2_000, 0));
    writing.abort();
}
