//! The dashboard's questions are answered from an index, and the user they are for is looked up once a statement.
//! What they take at ten million rows stands in `docs/database.md`.

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{ADA, migrated};
use crate::ledger::{Filter, Status};
use crate::storage::postgres::reports::{filter_values, statement_for};
use crate::storage::support::postgres::Database;
use crate::units::{KeyId, Stage, UserId};

/// 60,000 rows of 60 users over this month, Ada's among them, and what the planner should know of them.
const MONTH: &str = "
    insert into cfx.accounts (id, email)
    select ('00000000-0000-0000-0000-0000000000' || to_hex(n))::uuid, n || '@example.org'
    from generate_series(16, 75) as n;
    insert into cfx.accounts (id, email) values ('00000000-0000-0000-0000-00000000000a', 'ada@example.org');
    insert into cfx.sessions (token_hash, user_id, expires_at)
    values (sha256('token of ada'), '00000000-0000-0000-0000-00000000000a', 'infinity');
    insert into public.usage_counters (user_id, day)
    select id, date '2030-01-01' + n from cfx.accounts, generate_series(0, 364) as n;
    insert into public.request_logs (
        user_id, api_key_id, request_id, created_at, cost_nano_usd, body_bytes, latency_ms, http_status, attempts,
        stream, estimated, status, stage, model, session_id, error_message, input_tokens, output_tokens)
    select account.id, account.id, gen_random_uuid(), timestamptz '2030-01-02Z' + n * interval '40 minutes', 1, 2, 3, 200,
           1, true, false, case when n % 50 = 0 then 'error' else 'success' end,
           (array['plan', 'code', 'review'])[1 + n % 3], (array['claude-sonnet', 'deepseek'])[1 + n % 2],
           'session-' || n / 20, case when n % 50 = 0 then 'upstream_timeout' end, 100, 10
    from cfx.accounts as account, generate_series(1, 1000) as n;";

/// Each question of the dashboard, and the scan that should answer it.
const QUESTIONS: &[(&str, &str)] = &[
    (
        "select * from public.request_logs where created_at < '2030-01-25Z' and created_at >= '2030-01-01Z'
         order by created_at desc, request_id desc limit 50",
        "Index Scan Backward",
    ),
    (
        "select sum(answered), sum(cost_nano_usd) from public.usage_counters where day >= '2030-06-01' and day < '2030-07-01'",
        "usage_counters_user_id_day_key",
    ),
    ("select id, prefix from public.api_keys order by created_at desc", "api_keys_user"),
];

async fn plan(client: &Client, question: &str) -> String {
    let rows = client.query(&format!("explain (costs off) {question}"), &[]).await.unwrap();
    rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
}

#[tokio::test]
async fn questions_about_a_user_are_answered_from_an_index_and_ask_who_once() {
    let database = Database::fresh().await;
    let owner = migrated(&database).await;
    // Other months stand empty: they are not to be looked at.
    owner.batch_execute("select cfx.ensure_partitions('2030-01-01', 1)").await.unwrap();
    owner.batch_execute(MONTH).await.unwrap();
    owner
        .batch_execute(
            "insert into public.api_keys (user_id, public_id, prefix, key_hash, label)
             select id, email || n, 'cfx_live_', 'hash', '' from cfx.accounts, generate_series(1, 50) as n",
        )
        .await
        .unwrap();
    owner.batch_execute("vacuum analyze").await.unwrap();

    let dashboard = database.connect_as("cfx_dashboard").await;
    dashboard.batch_execute("set cfx.session = 'token of ada'").await.unwrap();
    let supabase = database.connect().await;
    let claims = format!("set request.jwt.claims = '{{\"sub\": \"{ADA}\"}}'; set role authenticated");
    supabase.batch_execute(&claims).await.unwrap();
    for client in [&dashboard, &supabase] {
        let seen: i64 = client.query_one("select count(*) from public.request_logs", &[]).await.unwrap().get(0);
        assert_eq!(seen, 1_000, "the questions are about somebody");
        for (question, scan) in QUESTIONS {
            let plan = plan(client, question).await;
            assert!(plan.contains(scan) && !plan.contains("Seq Scan"), "{question}\n{plan}");
            assert_eq!(plan.matches("InitPlan").count(), 1, "who it is, is asked once\n{question}\n{plan}");
            assert!(!plan.contains("session_user_id()") || !plan.contains("Filter: (user_id = cfx"), "{plan}");
        }
    }
}

/// Each filter alone and some together, and the tree that its page is found in.
fn filters() -> Vec<(Filter, &'static str)> {
    let all = Filter::default();
    let key = Some(KeyId(Uuid::from_u128(10)));
    let session_id = Some("session-7".to_owned());
    let model = Some("deepseek".to_owned());
    vec![
        (all.clone(), "user_id_created_at_idx"),
        (Filter { stage: Some(Stage::Code), ..all.clone() }, "user_id_status_"),
        (Filter { stage: Some(Stage::Direct), ..all.clone() }, "user_id_status_"),
        (Filter { model: model.clone(), ..all.clone() }, "user_id_status_"),
        (Filter { status: Some(Status::Success), ..all.clone() }, "user_id_status_"),
        (Filter { status: Some(Status::Cancelled), ..all.clone() }, "user_id_status_"),
        (Filter { stage: Some(Stage::Code), model, status: Some(Status::Error), ..all.clone() }, "user_id_status_"),
        (Filter { key, ..all.clone() }, "user_id_api_key_id_created_at_idx"),
        (Filter { session_id: session_id.clone(), ..all.clone() }, "user_id_session_id_created_at_idx"),
        (Filter { session_id, stage: Some(Stage::Code), ..all.clone() }, "user_id_session_id_created_at_idx"),
        (Filter { error: Some("timeout".to_owned()), ..all }, "user_id_created_at_request_id_error_me"),
    ]
}

/// As the dashboard and as the edge.
#[tokio::test]
async fn a_page_is_found_in_the_tree_of_what_it_is_filtered_by_and_in_no_other() {
    let database = Database::fresh().await;
    let owner = migrated(&database).await;
    owner.batch_execute("select cfx.ensure_partitions('2030-01-01', 1)").await.unwrap();
    owner.batch_execute(MONTH).await.unwrap();
    let learn = "insert into cfx.usage_splits
        select user_id, (created_at at time zone 'UTC')::date, stage, model, count(*), count(*), 0, 0, 0
        from public.request_logs group by 1, 2, 3, 4; vacuum analyze";
    for statement in learn.split(';') {
        owner.batch_execute(statement).await.unwrap();
    }
    let dashboard = database.connect_as("cfx_dashboard").await;
    dashboard.batch_execute("set cfx.session = 'token of ada'").await.unwrap();
    let ada = UserId(ADA.parse().unwrap());
    for client in [&dashboard, &owner] {
        for (filter, tree) in filters() {
            let statement = statement_for(&filter);
            let values = filter_values(ada, &filter, None, 50);
            let typed: Vec<(&(dyn ToSql + Sync), Type)> =
                values.iter().zip(statement.types).map(|(value, kind)| (&**value as _, kind.clone())).collect();
            let explain = format!("explain (costs off) {}", statement.sql);
            let lines = client.query_typed(&explain, &typed).await.unwrap();
            let plan: String = lines.iter().map(|row| row.get::<_, String>(0) + "\n").collect();
            // Of the month that has rows; the rows of a page that was found are fetched by their ids.
            let scans: Vec<_> = plan.lines().filter(|line| line.contains(" request_logs_2030_01_")).collect();
            let found_in = scans.first().unwrap_or_else(|| panic!("{filter:?}\n{plan}"));
            assert!(found_in.contains(tree), "{filter:?}\n{plan}");
            let by_id = |scan: &&str| scan.contains("_pkey") || scan.contains("user_id_created_at_idx");
            assert!(scans.iter().skip(1).all(by_id), "{filter:?}\n{plan}");
        }
    }
}
