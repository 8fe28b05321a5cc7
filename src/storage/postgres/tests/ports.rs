//! The ports over a real database.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use crate::admission::{Ask, Changed, KeyRegistry, KeyStore, LARGEST_LEASE, QuotaStore, RawKey, Settlement, Subject};
use crate::identity::{Account, AccountStore, Email};
use crate::ledger::{AppendError, LedgerStore, Row};
use crate::storage::conformance::{self, NOON, row};
use crate::storage::postgres::{Address, Postgres};
use crate::storage::support::postgres::Database;
use crate::storage::{conformance_of_keys, conformance_of_people, conformance_of_reports};
use crate::units::{Day, EdgeId, LeaseId, NanoUsd, RequestId, Stage, Timestamp, UserId};

const TODAY: Day = Day(20_484);

pub(super) async fn open(database: &Database) -> Arc<Postgres> {
    Address::parse(&database.url(), None).unwrap().open().await.unwrap()
}

pub(super) async fn open_for_edge(database: &Database) -> Arc<Postgres> {
    Address::parse(&database.url(), None).unwrap().open_for_edge().await.unwrap()
}

/// Waits for what follows an outside event by moments.
pub(super) async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), poll).await.expect("waited in vain");
}

pub(super) async fn listens(store: &Postgres) {
    eventually(async || store.listens()).await;
}

async fn number(database: &Database, sql: &str) -> i64 {
    database.connect().await.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn it_does_what_every_store_must() {
    let database = Database::fresh().await;
    let store = open(&database).await;
    conformance::quota_store(&*store).await;
    conformance_of_people::accounts(&*store).await;
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
async fn an_account_that_cannot_be_read_hides_no_other() {
    let database = Database::fresh().await;
    let store = open(&database).await;
    let ada = Account::new(Email::parse("ada@example.org").unwrap(), NOON);
    assert!(AccountStore::create(&*store, ada.clone(), None).await.unwrap());
    let broken = "insert into cfx.accounts (id, email) values (gen_random_uuid(), 'no address')";
    database.connect().await.batch_execute(broken).await.unwrap();
    assert_eq!(AccountStore::list(&*store).await.unwrap(), [ada]);
}

#[tokio::test]
async fn a_lease_that_nobody_comes_back_for_is_closed_as_it_was_reported() {
    let database = Database::fresh().await;
    let store = open(&database).await;
    conformance::leases_left_behind(&*store, async |store, day| store.close_leases_before(day).await).await;
}

#[tokio::test]
async fn it_does_so_too_where_sessions_keep_what_was_prepared() {
    let database = Database::fresh().await;
    let store = open(&database).await;
    let prepared = async || store.pool.session().await.unwrap().statement_cache.size();
    conformance::quota_store(&*store).await;
    assert_eq!(prepared().await, 0, "until it is known that sessions are ours, they are taken for shared");
    store.pool.sessions_are_ours(true);
    conformance::quota_store(&*store).await;
    conformance::ledger_store(&*store).await;
    conformance_of_people::accounts(&*store).await;
    assert!(prepared().await > 0);
}

#[tokio::test]
async fn two_edges_share_the_counts_and_hear_each_other() {
    let database = Database::fresh().await;
    let (one, other) = (open_for_edge(&database).await, open_for_edge(&database).await);
    conformance::two_edges(&*one, &*other).await;
}

#[tokio::test]
async fn a_supabase_project_serves_as_well() {
    let database = Database::supabase_shaped().await;
    let store = open(&database).await;
    conformance::quota_store(&*store).await;
    conformance::ledger_store(&*store).await;
    conformance::keys(store).await;
}

#[tokio::test]
async fn rows_are_written_once_and_so_are_the_days_sums() {
    let database = Database::fresh().await;
    let store = open(&database).await;
    conformance::ledger_store(&*store).await;
    assert_eq!(number(&database, "select count(*) from request_logs").await, 2_000);
    let sums =
        "select count(*) || '|' || sum(answered) || '|' || sum(input_tokens) || '|' || sum(output_tokens) || '|' ||
                       sum(cost_nano_usd) || '|' || sum(request_count) || '|' || sum(rows) || '|' || sum(failed) || '|' ||
                       sum(reached_upstream) from usage_counters";
    let sums: String = database.connect().await.query_one(sums, &[]).await.unwrap().get(0);
    assert_eq!(sums, "1|2000|200000|40000|2000|0|2000|0|2000", "what was admitted is counted elsewhere");
    let splits = "select concat_ws('|', stage, model, requests, answered, input_tokens, output_tokens, cost_nano_usd)
                    from cfx.usage_splits";
    let splits: String = database.connect().await.query_one(splits, &[]).await.unwrap().get(0);
    assert_eq!(splits, "review|gpt-mini|2000|2000|200000|40000|2000");
}

#[tokio::test]
async fn rows_that_two_send_at_once_are_written_once() {
    let database = Database::fresh().await;
    let (one, other) = (open(&database).await, open(&database).await);
    for turn in 0..20 {
        let batch: Arc<[Row]> = (turn * 50..turn * 50 + 50).map(row).collect();
        let (here, there) = tokio::join!(one.append(Arc::clone(&batch)), other.append(batch));
        here.unwrap();
        there.unwrap();
    }
    assert_eq!(number(&database, "select count(*) from request_logs").await, 1_000);
    assert_eq!(number(&database, "select sum(rows)::bigint from usage_counters").await, 1_000);
    assert_eq!(number(&database, "select sum(requests)::bigint from cfx.usage_splits").await, 1_000);
}

#[tokio::test]
async fn a_row_has_every_column_of_the_contract() {
    let database = Database::fresh().await;
    open(&database).await.append(Arc::from([row(1)])).await.unwrap();
    let text = "select user_id || '|' || api_key_id || '|' || request_id || '|' || session_id || '|' || stage || '|' ||
        stage_source || '|' || model || '|' || stream || '|' || body_bytes || '|' || input_tokens || '|' ||
        cached_input_tokens || '|' || cache_write_tokens || '|' || output_tokens || '|' || reasoning_tokens || '|' ||
        total_tokens || '|' || estimated || '|' || cost_usd || '|' || latency_ms || '|' || ttft_ms || '|' ||
        attempts || '|' || status || '|' || http_status || '|' || (created_at at time zone 'UTC') || '|' ||
        (error_message is null)
        from request_logs";
    let row: String = database.connect().await.query_one(text, &[]).await.unwrap().get(0);
    assert_eq!(
        row,
        "00000000-0000-0000-0000-000000000001|00000000-0000-0000-0000-000000000002|\
         00000000-0000-0000-0000-000000000001|session|review|inferred|gpt-mini|true|2048|100|60|10|20|5|120|false|\
         0.000000001|1234|321|2|success|200|2026-01-31 12:00:00.000001|true"
    );
}

#[tokio::test]
async fn a_row_that_no_database_takes_is_refused_and_leaves_nothing_of_its_batch() {
    let database = Database::fresh().await;
    let store = open(&database).await;
    let unstorable = Row { session_id: Some("a\0b".to_owned()), ..row(2) };
    let refusal = store.append(Arc::from([row(1), unstorable])).await.unwrap_err();
    assert!(matches!(&refusal, AppendError::Refused(error) if error.0.contains("22021")), "{refusal}");
    // Two costs that fit each for itself, and not in the day's sum.
    let dear = |number| Row { cost: NanoUsd(i64::MAX), ..row(number) };
    assert!(matches!(store.append(Arc::from([dear(3), dear(4)])).await, Err(AppendError::Refused(_))));
    assert_eq!(number(&database, "select count(*) from request_logs").await, 0);
    store.append(Arc::from([row(1)])).await.unwrap();
}

#[tokio::test]
async fn a_row_of_a_month_without_a_partition_has_one_made() {
    let database = Database::fresh().await;
    let store = open(&database).await;
    let years = |years: i64| Timestamp(NOON.0 + years * 366 * 86_400_000_000);
    let rows = [Row { created_at: years(-3), ..row(1) }, Row { created_at: years(3), ..row(2) }, row(3)];
    store.append(Arc::from(rows)).await.unwrap();
    assert_eq!(number(&database, "select count(*) from request_logs").await, 3);
    // Beside rows that are there already, before them and behind them.
    let sent_again = [row(3), Row { created_at: years(-4), ..row(4) }, row(5)];
    store.append(Arc::from(sent_again)).await.unwrap();
    let sent_again = [Row { created_at: years(4), ..row(6) }, row(5), row(7)];
    store.append(Arc::from(sent_again)).await.unwrap();
    assert_eq!(number(&database, "select count(*) from request_logs").await, 7);
    assert_eq!(number(&database, "select sum(rows)::bigint from usage_counters").await, 7);
    store.turn_months(years(3).day(), 13).await.unwrap();
    let ahead = "select count(*) from pg_class where relname in ('request_logs_2029_02', 'request_logs_2029_05')";
    assert_eq!(number(&database, ahead).await, 2, "months are made ahead of their time");
}

#[tokio::test]
async fn edges_that_settle_and_write_at_once_never_wait_in_a_circle() {
    let database = Database::fresh().await;
    let store = open(&database).await;
    let users: Vec<_> = (0..20).map(|_| UserId(Uuid::new_v4())).collect();
    let edge_work = |edge: u128, backwards: bool| {
        let (store, mut users) = (Arc::clone(&store), users.clone());
        if backwards {
            users.reverse();
        }
        async move {
            for turn in 0..20_u128 {
                let mut settlements = Vec::new();
                for user in &users {
                    let (subject, lease) = (Subject::User(*user), LeaseId(Uuid::new_v4()));
                    let edge = EdgeId(Uuid::from_u128(edge));
                    let ask =
                        Ask { edge, lease, subject, day: TODAY, limit: 100_000, most: LARGEST_LEASE, settled: vec![] };
                    let granted = store.grant(ask).await.unwrap().granted;
                    settlements.push(Settlement { lease, subject, day: TODAY, used: granted, closes: true });
                }
                let rows = users.iter().enumerate().map(|(place, user)| {
                    let id = Uuid::from_u128(edge << 64 | turn << 32 | place as u128);
                    let stage = Some(Stage::ALL[(place + usize::from(backwards)) % 4]);
                    Row { user: *user, request: RequestId(id), stage, ..row(0) }
                });
                let (settled, written) = tokio::join!(store.settle(settlements), store.append(rows.collect()));
                settled.unwrap();
                written.unwrap();
            }
        }
    };
    join_all((1..=4).map(|edge| edge_work(edge, edge % 2 == 0))).await;
    let sums = "select sum(request_count)::bigint from usage_counters where leased = 0 and answered = 80";
    assert_eq!(number(&database, sums).await, 20 * 20 * 4 * 32);
    assert_eq!(number(&database, "select sum(requests)::bigint from cfx.usage_splits").await, 20 * 80);
}

#[tokio::test]
async fn marking_keys_as_used_is_no_change_of_them() {
    let database = Database::fresh().await;
    let store = open_for_edge(&database).await;
    let (key, _) = conformance::issue(&*store, &*store, "ada@example.org").await;
    listens(&store).await;
    // Notices arrive in the order of their commits: with one of ours, all before it have arrived.
    let heard_after = async |mark| {
        let marker = RawKey::mint().unwrap().public_id();
        let notify = format!("select cfx.say('key_channel', '{}')", marker.as_str());
        database.connect().await.batch_execute(&notify).await.unwrap();
        let has_come = async || {
            let changed = store.changes(Some(mark)).await.unwrap().what;
            matches!(changed, Changed::Keys(keys) if keys.contains(&marker))
        };
        eventually(has_come).await;
        (marker, store.changes(Some(mark)).await.unwrap())
    };
    let (_, issued) = heard_after(store.changes(None).await.unwrap().mark).await;
    store.mark_used(&[(key.id, NOON)]).await.unwrap();
    let (marker, used) = heard_after(issued.mark).await;
    assert_eq!(used.what, Changed::Keys(vec![marker]));
    assert_eq!(KeyRegistry::list(&*store, None).await.unwrap()[0].last_used_at, Some(NOON));
}

#[tokio::test]
async fn only_keys_of_minutes_that_are_long_past_go() {
    let database = Database::fresh().await;
    let store = open(&database).await;
    let forget = Arc::clone(&store);
    conformance_of_keys::only_past_keys_of_minutes_go(&*store, move |which, before| {
        let store = Arc::clone(&forget);
        async move { store.forget_keys(which, before).await.unwrap() }
    })
    .await;
}
