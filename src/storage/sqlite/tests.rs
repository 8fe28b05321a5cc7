use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use futures_util::future::join_all;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::admission::{
    Changed, KeyRegistry, KeyStore, Keys, Pepper, QuotaRefusal, QuotaSettings, QuotaStore, RateLimiter, Subject,
};
use crate::clock::SystemClock;
use crate::identity::AccountStore;
use crate::ledger::{AppendError, LedgerStore, Row};
use crate::storage::conformance::{self, NOON, row};
use crate::storage::{conformance_of_keys, conformance_of_people, conformance_of_reports};
use crate::units::{Day, EdgeId, KeyId, Timestamp, UserId};

const TODAY: Day = Day(20_484);
/// Set in the process that a test starts in order to kill it.
const VICTIM: &str = "CFX_TEST_VICTIM";
const ADDRESS: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const VICTIMS_EDGE: EdgeId = EdgeId(Uuid::from_u128(13));

/// A folder of its own for one database.
pub(super) struct Disk(TempDir);

impl Disk {
    pub(super) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("cfx.db")
    }

    pub(super) fn open(&self) -> Arc<Sqlite> {
        Sqlite::open(&self.path()).unwrap()
    }

    /// A connection of somebody else's, as `sqlite3` on the command line would have.
    pub(super) fn sql(&self) -> Connection {
        connect(&self.path()).unwrap()
    }
}

fn limiter(store: Arc<Sqlite>) -> Arc<RateLimiter> {
    limiter_of(store, EdgeId(Uuid::new_v4()))
}

fn limiter_of(store: Arc<Sqlite>, edge: EdgeId) -> Arc<RateLimiter> {
    Arc::new(RateLimiter::new(store, edge, Arc::new(SystemClock), QuotaSettings::default()))
}

#[tokio::test]
async fn it_does_what_every_store_must() {
    let disk = Disk::new();
    let store = disk.open();
    conformance::quota_store(&*store).await;
    conformance_of_people::accounts(&*store).await;
    conformance::ledger_store(&*store).await;
    let rows: u32 = disk.sql().query_row("select count(*) from request_logs", (), |row| row.get(0)).unwrap();
    assert_eq!(rows, 2_000);
    conformance::keys(Arc::clone(&store)).await;
    conformance_of_keys::rotation(&*store).await;
    conformance_of_keys::room(&*store).await;
    conformance_of_keys::changes(&*store).await;
    conformance_of_keys::room_for_ends(&*store).await;
    conformance_of_people::sessions(&*store).await;
    conformance_of_people::links(&*store).await;
    conformance_of_reports::reports(&*store).await;
    conformance_of_keys::pepper(&*store).await;
}

#[tokio::test]
async fn everything_is_there_again_after_reopening() {
    let disk = Disk::new();
    let (key, raw) = {
        let store = disk.open();
        store.append(Arc::from([row(1)])).await.unwrap();
        conformance::issue(&*store, &*store, "ada@example.org").await
    };
    let store = disk.open();
    assert_eq!(KeyStore::find(&*store, raw.public_id().as_str()).await.unwrap().unwrap().hash, key.hash);
    assert_eq!(AccountStore::list(&*store).await.unwrap().len(), 1);
    let rows: u32 = disk.sql().query_row("select count(*) from request_logs", (), |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn a_row_has_every_column_of_the_contract() {
    let disk = Disk::new();
    disk.open().append(Arc::from([row(1)])).await.unwrap();
    let sql = disk.sql();
    let text = "select user_id || '|' || api_key_id || '|' || request_id || '|' || session_id || '|' || stage || '|' ||
        stage_source || '|' || model || '|' || stream || '|' || body_bytes || '|' || input_tokens || '|' ||
        cached_input_tokens || '|' || cache_write_tokens || '|' || output_tokens || '|' || reasoning_tokens || '|' ||
        total_tokens || '|' || estimated || '|' || cost_nano_usd || '|' || latency_ms || '|' || ttft_ms || '|' ||
        attempts || '|' || status || '|' || http_status || '|' || created_at || '|' || (error_message is null)
        from request_logs";
    let row: String = sql.query_row(text, (), |row| row.get(0)).unwrap();
    assert_eq!(
        row,
        "00000000-0000-0000-0000-000000000001|00000000-0000-0000-0000-000000000002|\
         00000000-0000-0000-0000-000000000001|session|review|inferred|gpt-mini|1|2048|100|60|10|20|5|120|0|1|1234|321|\
         2|success|200|2026-01-31T12:00:00.000001Z|1"
    );
    let cost: f64 = sql.query_row("select cost_usd from request_logs", (), |row| row.get(0)).unwrap();
    assert!((cost - 1e-9).abs() < 1e-18);
}

#[tokio::test]
async fn rows_are_written_once_and_their_sums_are_exact() {
    let disk = Disk::new();
    let store = disk.open();
    let rows: Arc<[Row]> = (0..1_000).map(row).collect();
    store.append(Arc::clone(&rows)).await.unwrap();
    store.append(rows).await.unwrap();
    let sums = "select count(*), sum(cost_nano_usd), sum(total_tokens) from request_logs";
    let sums: (u32, i64, i64) =
        disk.sql().query_row(sums, (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!(sums, (1_000, 1_000, 120_000));
    let day = "select day, request_count, answered, input_tokens, output_tokens, cost_nano_usd from usage_counters";
    let day = disk.sql().query_row(day, (), |row| {
        Ok((row.get::<_, String>(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?]))
    });
    assert_eq!(day.unwrap(), ("2026-01-31".to_owned(), [0, 1_000, 100_000, 20_000, 1_000_i64]));
}

#[tokio::test]
async fn a_row_that_breaks_a_rule_is_refused_and_takes_no_other_with_it() {
    let disk = Disk::new();
    let store = disk.open();
    let rule = "create trigger rule before insert on request_logs when new.request_id like '%7'
        begin select raise(abort, 'not this one'); end";
    disk.sql().execute_batch(rule).unwrap();
    let refused = store.append((0..10).map(row).collect()).await;
    assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
    let count = || disk.sql().query_row("select count(*) from request_logs", (), |row| row.get::<_, u32>(0)).unwrap();
    assert_eq!(count(), 0, "all or none");
    store.append((0..7).map(row).collect()).await.unwrap();
    assert_eq!(count(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_get_exactly_the_limit_and_the_file_says_so() {
    let disk = Disk::new();
    let limiter = limiter(disk.open());
    let user = Subject::User(UserId(Uuid::from_u128(1)));
    let client = |limiter: Arc<RateLimiter>| async move {
        let mut admitted = 0;
        for _ in 0..24 {
            match limiter.check_and_increment(user, TODAY, 1_000).await {
                Ok(hold) => {
                    hold.spend();
                    admitted += 1;
                }
                Err(refusal) => assert!(matches!(refusal, QuotaRefusal::Exhausted { limit: 1_000, .. }), "{refusal}"),
            }
        }
        admitted
    };
    let clients: Vec<_> = (0..50).map(|_| tokio::spawn(client(Arc::clone(&limiter)))).collect();
    let admitted: u32 = join_all(clients).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(admitted, 1_000);
    assert_eq!(limiter.used(user, TODAY).await.unwrap(), 1_000);
    assert!(limiter.shutdown(Duration::from_secs(10)).await);
    let counter = "select request_count, leased from usage_counters";
    let counter: (u32, u32) = disk.sql().query_row(counter, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(counter, (1_000, 0));
}

#[tokio::test]
async fn a_change_by_another_process_is_told_of_and_our_own_writing_is_not() {
    let disk = Disk::new();
    let (edge, command) = (disk.open(), disk.open());
    let (key, raw) = conformance::issue(&*command, &*command, "ada@example.org").await;
    let before = edge.changes(None).await.unwrap().mark;
    edge.append(Arc::from([row(1)])).await.unwrap();
    assert_eq!(edge.changes(Some(before)).await.unwrap().what, Changed::Keys(vec![]));
    assert!(command.revoke(key.id, NOON).await.unwrap());
    assert_eq!(edge.changes(Some(before)).await.unwrap().what, Changed::Any);
    assert!(!KeyStore::find(&*edge, raw.public_id().as_str()).await.unwrap().unwrap().active);
}

#[tokio::test]
async fn a_revocation_by_another_process_reaches_a_cached_key() {
    let disk = Disk::new();
    let (edge, command) = (disk.open(), disk.open());
    let (key, raw) = conformance::issue(&*command, &*command, "ada@example.org").await;
    let clock = crate::clock::ManualClock::at(Timestamp(NOON.0 - 1));
    let keys = Arc::new(Keys::new(edge, b"pepper", Arc::new(clock), crate::admission::KeySettings::default()));
    let watching = tokio::spawn(Arc::clone(&keys).watch());
    assert_eq!(keys.authenticate(raw.expose(), ADDRESS).await.unwrap().principal.key, key.id);
    command.revoke(key.id, NOON).await.unwrap();
    let refused = async {
        while keys.authenticate(raw.expose(), ADDRESS).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("the revocation was never noticed");
    watching.abort();
}

#[tokio::test]
async fn two_processes_write_at_once_without_losing_anything() {
    let disk = Disk::new();
    let (one, other) = (disk.open(), disk.open());
    let write = |store: Arc<Sqlite>, from: u128| async move {
        for number in from..from + 100 {
            store.append(Arc::from([row(number)])).await.unwrap();
            store.mark_used(&[(KeyId(Uuid::from_u128(2)), NOON)]).await.unwrap();
        }
    };
    tokio::join!(write(one, 0), write(other, 1_000));
    let rows: u32 = disk.sql().query_row("select count(*) from request_logs", (), |row| row.get(0)).unwrap();
    assert_eq!(rows, 200);
}

/// The part of the next test that is killed: it has written, holds a lease, and ends without a word.
#[tokio::test]
async fn victim() {
    let Ok(path) = std::env::var(VICTIM) else { return };
    let store = Sqlite::open(Path::new(&path)).unwrap();
    let limiter = limiter_of(Arc::clone(&store), VICTIMS_EDGE);
    store.append((0..50).map(row).collect()).await.unwrap();
    let user = Subject::User(UserId(Uuid::from_u128(1)));
    for _ in 0..3 {
        limiter.check_and_increment(user, TODAY, 100).await.unwrap().spend();
    }
    std::process::abort();
}

#[tokio::test]
async fn a_killed_process_loses_no_row_and_accounts_for_its_lease_when_it_is_back() {
    let disk = Disk::new();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "storage::sqlite::tests::victim"]).env(VICTIM, disk.path());
    assert!(!child.output().unwrap().status.success());
    let store = disk.open();
    let user = Subject::User(UserId(Uuid::from_u128(1)));
    let open = store.open_leases(VICTIMS_EDGE).await.unwrap();
    assert_eq!((store.used(user, TODAY).await.unwrap(), open[0].granted), (0, 8), "opening the file changes nothing");

    let another = EdgeId(Uuid::new_v4());
    let settled = limiter_of(disk.open(), another).recover(another, &HashMap::new()).await.unwrap();
    assert_eq!(settled, 0, "each edge settles only its own");
    let again = limiter_of(disk.open(), VICTIMS_EDGE);
    assert_eq!(again.recover(VICTIMS_EDGE, &HashMap::from([(open[0].lease, 3)])).await.unwrap(), 1);
    assert_eq!(store.used(user, TODAY).await.unwrap(), 3, "as many as a record was found of");
    assert_eq!(store.open_leases(VICTIMS_EDGE).await.unwrap(), []);
    let rows: u32 = disk.sql().query_row("select count(*) from request_logs", (), |row| row.get(0)).unwrap();
    assert_eq!(rows, 50);
}

#[tokio::test]
async fn a_lease_that_nobody_comes_back_for_is_closed_as_it_was_reported() {
    conformance::leases_left_behind(&*Disk::new().open(), async |store, day| store.close_leases_before(day).await)
        .await;
}

#[tokio::test]
async fn two_edges_on_one_file_know_of_each_other_and_never_pass_the_limit() {
    let disk = Disk::new();
    let (one, other) = (disk.open(), disk.open());
    let (first, second) = (EdgeId(Uuid::from_u128(1)), EdgeId(Uuid::from_u128(2)));
    assert_eq!((one.beat(first).await.unwrap(), one.hears()), (1, true));
    assert_eq!((other.beat(second).await.unwrap(), other.hears()), (2, false));
    assert_eq!(
        (one.beat(first).await.unwrap(), one.hears()),
        (2, false),
        "no longer alone: it holds what it needs now"
    );

    let edges = [limiter_of(Arc::clone(&one), first), limiter_of(other, second)];
    let user = Subject::User(UserId(Uuid::from_u128(1)));
    let taken = join_all((0..120).map(|number| edges[number % 2].check_and_increment(user, TODAY, 100))).await;
    let admitted: Vec<_> = taken.into_iter().filter_map(Result::ok).collect();
    assert_eq!(admitted.len(), 100, "nothing lay unused on either side");
    admitted.into_iter().for_each(crate::admission::Hold::spend);
    assert!(edges[1].shutdown(Duration::from_secs(10)).await);
    assert_eq!((one.beat(first).await.unwrap(), one.hears()), (1, true), "who takes leave is gone");
    assert!(edges[0].shutdown(Duration::from_secs(10)).await);
    assert_eq!(one.used(user, TODAY).await.unwrap(), 100);
}

#[test]
fn migrations_are_applied_once_whoever_comes_first() {
    let disk = Disk::new();
    assert_eq!(Sqlite::pending(&disk.path()).unwrap().len(), migrations::ALL.len());
    assert!(!disk.path().exists(), "a dry run leaves nothing behind");
    std::thread::scope(|scope| {
        let opening: Vec<_> = (0..4).map(|_| scope.spawn(|| disk.open())).collect();
        opening.into_iter().for_each(|opening| drop(opening.join().unwrap()));
    });
    assert_eq!(Sqlite::pending(&disk.path()).unwrap(), []);
    let applied: u32 = disk.sql().query_row("select count(*) from schema_migrations", (), |row| row.get(0)).unwrap();
    assert_eq!(usize::try_from(applied).unwrap(), migrations::ALL.len());
}

#[test]
fn migrations_are_numbered_as_their_files_and_in_order() {
    for migration in migrations::ALL {
        assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
    }
    assert!(migrations::ALL.is_sorted_by(|one, next| one.version < next.version));
    let files = std::fs::read_dir("migrations/sqlite").unwrap().count();
    assert_eq!(files, migrations::ALL.len(), "every file is applied");
}

#[test]
fn a_database_newer_than_the_program_is_refused() {
    let disk = Disk::new();
    drop(disk.open());
    disk.sql().execute("insert into schema_migrations values (999, '0999_later', '')", ()).unwrap();
    let refusals = [Sqlite::open(&disk.path()).err(), Sqlite::pending(&disk.path()).err()];
    for refusal in refusals.into_iter().map(Option::unwrap) {
        assert!(refusal.0.contains("schema version 999, this cfx knows versions up to "), "{refusal}");
    }
}

#[test]
fn what_is_no_database_is_named_and_left_alone() {
    let disk = Disk::new();
    std::fs::write(disk.path(), "not a database, but a text that someone needs".repeat(50)).unwrap();
    let refusal = Sqlite::open(&disk.path()).err().unwrap();
    assert!(refusal.0.contains("cfx.db") && refusal.0.contains("not a database"), "{refusal}");
    assert!(std::fs::read_to_string(disk.path()).unwrap().starts_with("not a database, but"));
    assert!(Sqlite::open(Path::new("/nonexistent/cfx.db")).err().unwrap().0.contains("/nonexistent/cfx.db"));
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let disk = Disk::new();
    let store = disk.open();
    store.append(Arc::from([row(1)])).await.unwrap();
    for file in std::fs::read_dir(disk.0.path()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn the_keys_of_a_disabled_account_are_not_active() {
    let disk = Disk::new();
    let store = disk.open();
    let (_, raw) = conformance::issue(&*store, &*store, "ada@example.org").await;
    disk.sql().execute("update accounts set disabled_at = created_at", ()).unwrap();
    assert!(!KeyStore::find(&*store, raw.public_id().as_str()).await.unwrap().unwrap().active);
}

#[tokio::test]
async fn no_key_is_stored_in_a_form_that_opens_anything() {
    let disk = Disk::new();
    let store = disk.open();
    let (key, raw) = conformance::issue(&*store, &*store, "ada@example.org").await;
    assert_eq!(key.hash, Pepper::new(b"pepper").hash(&raw));
    drop(disk.sql().execute_batch("pragma wal_checkpoint(truncate)"));
    let secret = &raw.expose()[21..53];
    for file in std::fs::read_dir(disk.0.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_is_not_asked() {
    let disk = Disk::new();
    let store = disk.open();
    let (begun, is_begun) = std::sync::mpsc::channel();
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    let long = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            let wait = move |_: &mut rusqlite::Connection| {
                begun.send(()).unwrap();
                is_over.recv().unwrap();
                Ok(())
            };
            store.reader.run(wait).await
        }
    });
    tokio::task::spawn_blocking(move || is_begun.recv().unwrap()).await.unwrap();
    let asked = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let question = store.reader.ask({
        let asked = Arc::clone(&asked);
        move |_| {
            asked.store(true, std::sync::atomic::Ordering::SeqCst);
            Ok(())
        }
    });
    assert!(tokio::time::timeout(std::time::Duration::from_millis(5), question).await.is_err());
    over.send(()).unwrap();
    long.await.unwrap().unwrap();
    assert!(KeyStore::find(&*store, "000000000000").await.unwrap().is_none());
    assert!(!asked.load(std::sync::atomic::Ordering::SeqCst));
}
