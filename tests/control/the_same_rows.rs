//! Whoever somebody signs in with, row-level security lets them read the same rows: through the control API, through the
//! dashboard's own login, and as Supabase's own role with the claims of the very token.

use std::sync::Arc;
use std::time::Duration;

use cfx::clock::{Clock, SystemClock};
use cfx::ledger::{Filter, LogRow, Reports, Status};
use cfx::storage::postgres::{DashboardAddress, DashboardDatabase};
use cfx::units::{Day, Timestamp, UserId};
use serde_json::Value;
use tokio_postgres::Client;

use crate::harness::{Harness, PASSWORD, Someone};
use crate::stores::{Place, Way};

const ADA: &str = "ada@example.org";
const PATHS: [&str; 7] = [
    "/api/logs?limit=50",
    "/api/logs/export?format=csv",
    "/api/keys",
    "/api/usage/today",
    "/api/usage/days",
    "/api/usage/stages",
    "/api/usage/models",
];

/// Everything that a page reads, as one text.
async fn everything(reports: &dyn Reports) -> String {
    let (first, last) = (Day(i32::MIN), Day(i32::MAX));
    let rows = reports.rows(&Filter::default(), None, 50).await.unwrap();
    let one = reports.row(rows[0].request).await.unwrap();
    let (days, split) = (reports.days(first, last).await.unwrap(), reports.split(first, last).await.unwrap());
    format!(
        "{rows:?} {one:?} {days:?} {split:?} {:?}",
        reports.overview(Day(0), Day(i32::MAX), Timestamp(0), Timestamp(i64::MAX)).await.unwrap()
    )
}

/// A harness whose clock is the world's: the database looks at its own for whether a session is over.
async fn today(way: Way) -> Harness {
    let harness = Harness::of(way, Place::Postgres).await;
    harness.clock.advance(harness.clock.now().until(SystemClock.now()));
    harness
        .stores
        .database()
        .connect()
        .await
        .batch_execute("select cfx.ensure_partitions(now()::date, 1)")
        .await
        .unwrap();
    harness
}

async fn write(harness: &Harness, user: UserId) {
    harness.log(user, 60, |_| ()).await;
    let failed = |row: &mut LogRow| {
        row.status = Status::Error;
        row.error = Some("upstream_error".to_owned());
    };
    harness.log(user, 120, failed).await;
    harness.log(user, 180, |row| row.model = Some("deepseek".to_owned())).await;
}

#[tokio::test]
async fn a_session_by_supabase_and_one_of_ours_read_the_same_rows() {
    for way in [Way::Secret, Way::Keys] {
        let harness = today(way).await;
        let gotrue = harness.gotrue();
        gotrue.add_user(ADA, PASSWORD);
        let token = gotrue.issue(ADA);
        let by_token = harness.exchange(&token).await.session(200);
        let body = serde_json::json!({ "email": ADA, "password": PASSWORD });
        let by_password = harness.post("/api/login", &body).send().await.session(200);
        // As a link of an operator's opens one.
        let ours = Someone { id: by_token.id, token: harness.session(by_token.id).await };
        harness.post("/api/keys", &serde_json::json!({ "label": "laptop" })).by(&by_token).send().await.ok(201);
        let bob = harness.someone("bob@example.org", cfx::identity::Role::Member).await;
        write(&harness, by_token.id).await;
        write(&harness, bob.id).await;
        harness.log(bob.id, 240, |_| ()).await;

        let dashboard = DashboardAddress::parse(&harness.stores.database().url_as("cfx_dashboard")).unwrap();
        let dashboard: Arc<DashboardDatabase> = dashboard.open().await.unwrap();
        let read =
            async |who: &Someone| everything(&*dashboard.of(who.token.expose(), who.id).await.unwrap().unwrap()).await;
        use cfx::ledger::SessionReports;
        let own = read(&ours).await;
        assert!(own.contains("deepseek") && own.contains("upstream_error"), "{own}");
        assert_eq!(read(&by_token).await, own);
        assert_eq!(read(&by_password).await, own);
        assert_ne!(read(&bob).await, own);
        assert!(dashboard.of(&token, ours.id).await.unwrap().is_none(), "Supabase's own token is no session there");
        for path in PATHS {
            let answer = async |who: &Someone| {
                let answer = harness.get(path).by(who).send().await;
                (answer.status, answer.text())
            };
            let own = answer(&ours).await;
            assert_eq!(own.0, 200, "{path}: {}", own.1);
            assert_eq!(answer(&by_token).await, own, "{path}");
            assert_eq!(answer(&by_password).await, own, "{path}");
            assert_ne!(answer(&bob).await, own, "{path}");
        }
    }
}

/// As PostgREST asks for whoever shows it the token: the role in it, and its claims.
#[tokio::test]
async fn supabases_own_role_reads_by_the_tokens_claims_what_the_session_reads() {
    let harness = today(Way::Keys).await;
    let gotrue = harness.gotrue();
    let bob = harness.someone("bob@example.org", cfx::identity::Role::Member).await;
    gotrue.add_user(ADA, PASSWORD);
    let claims = gotrue.claims(ADA);
    let ada = harness.exchange(&gotrue.sign(&claims)).await.session(200);
    harness.post("/api/keys", &serde_json::json!({ "label": "laptop" })).by(&ada).send().await.ok(201);
    for user in [ada.id, bob.id] {
        write(&harness, user).await;
    }
    let database = harness.stores.database();
    let (dashboard, owner) = (database.connect_as("cfx_dashboard").await, database.connect().await);
    let session = format!("set cfx.session = '{}'", ada.token.expose());
    dashboard.batch_execute(&session).await.unwrap();
    let by_claims = |claims: &Value| format!("set request.jwt.claims = '{claims}'; set role authenticated");
    for (table, columns, rows) in [
        ("public.request_logs", "*", 3),
        ("public.usage_counters", "*", 1),
        ("public.api_keys", "id, user_id, prefix, label, status, created_at", 1),
    ] {
        let all = format!(
            "select coalesce(jsonb_agg(to_jsonb(seen) order by to_jsonb(seen)::text)::text, '') from (select {columns} from {table}) as seen"
        );
        let by_session = one(&dashboard, &all).await;
        owner.batch_execute(&by_claims(&claims)).await.unwrap();
        assert_eq!(one(&owner, &all).await, by_session, "{table}");
        let seen: Vec<Value> = serde_json::from_str(&by_session).unwrap();
        assert_eq!(seen.len(), rows, "{table}");
        assert!(seen.iter().all(|row| row["user_id"] == ada.id.0.to_string()), "{table}");
        // Nobody's claims are nobody's rows; and what is read cannot be written.
        owner.batch_execute("reset request.jwt.claims").await.unwrap();
        assert_eq!(one(&owner, &all).await, "", "{table}");
        owner.batch_execute(&by_claims(&claims)).await.unwrap();
        assert!(owner.batch_execute(&format!("delete from {table}")).await.is_err());
        owner.batch_execute("reset role").await.unwrap();
    }
}

async fn one(client: &Client, question: &str) -> String {
    client.query_one(question, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn it_is_over_for_the_database_when_it_is_over() {
    let harness = today(Way::Keys).await;
    let ada = harness.someone(ADA, cfx::identity::Role::Member).await;
    write(&harness, ada.id).await;
    let dashboard = harness.stores.database().connect_as("cfx_dashboard").await;
    dashboard.batch_execute(&format!("set cfx.session = '{}'", ada.token.expose())).await.unwrap();
    let rows = "select count(*)::text from public.request_logs";
    assert_eq!(one(&dashboard, rows).await, "3");
    harness.clock.advance(Duration::from_secs(1));
    harness.ask(hyper::Method::POST, "/api/logout").by(&ada).send().await.ok(204);
    assert_eq!(one(&dashboard, rows).await, "0");
}
