//! The dashboard's questions are answered from an index, and the user they are for is looked up once a statement.
//! What they take at ten million rows stands in `docs/database.md`.

use tokio_postgres::Client;

use super::{ADA, migrated};
use crate::storage::support::postgres::Database;

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
        stream, estimated, status, stage, model, input_tokens, output_tokens)
    select account.id, account.id, gen_random_uuid(), timestamptz '2030-01-02Z' + n * interval '40 minutes', 1, 2, 3, 200,
           1, true, false, case when n % 50 = 0 then 'error' else 'success' end,
           (array['plan', 'code', 'review'])[1 + n % 3], (array['claude-sonnet', 'deepseek'])[1 + n % 2], 100, 10
    from cfx.accounts as account, generate_series(1, 1000) as n;";

/// Each question of the dashboard, and the scan that should answer it.
const QUESTIONS: &[(&str, &str)] = &[
    (
        "select * from public.request_logs where created_at < '2030-01-25Z' and created_at >= '2030-01-01Z'
         order by created_at desc, request_id desc limit 50",
        "Index Scan Backward",
    ),
    (
        "select * from public.request_logs
         where created_at < '2030-01-25Z' and created_at >= '2030-01-01Z' and stage = 'code' and status = 'error'
         order by created_at desc, request_id desc limit 50",
        "Index Scan Backward",
    ),
    (
        "select stage, model, count(*), sum(input_tokens), sum(output_tokens), sum(cost_nano_usd)
         from public.request_logs where created_at >= '2030-01-01Z' and created_at < '2030-02-01Z' group by 1, 2",
        "Index Only Scan",
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
