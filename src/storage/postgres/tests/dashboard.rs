//! The dashboard's own way into the database, over real logins.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::ports::open;
use crate::clock::{Clock, SystemClock};
use crate::identity::{Account, AccountStore, Change, Email, Renewal, Session, SessionStore, SessionToken};
use crate::ledger::{Filter, LedgerStore, ReportStore, Reports, SessionReports, TOO_LONG, is_of_nobody, took_too_long};
use crate::storage::conformance_of_reports::two_days;
use crate::storage::postgres::pool::Statement;
use crate::storage::postgres::questions::Questions;
use crate::storage::postgres::{DashboardAddress, DashboardDatabase, Postgres};
use crate::storage::support::postgres::{Database, Server};
use crate::units::{Day, RequestId, Timestamp, UserId};

const HOUR: i64 = 3_600_000_000;

async fn dashboard(database: &Database) -> Arc<DashboardDatabase> {
    DashboardAddress::parse(&database.url_as("cfx_dashboard")).unwrap().open().await.unwrap()
}

/// Somebody who is signed in, with two days in the log.
async fn somebody(store: &Postgres, email: &str) -> (UserId, SessionToken) {
    let now = SystemClock.now();
    let account = Account::new(Email::parse(email).unwrap(), now);
    assert!(store.create(account.clone(), None).await.unwrap());
    store.append(two_days(account.id).into()).await.unwrap();
    let token = SessionToken::mint().unwrap();
    open_session(store, account.id, &token, Timestamp(now.0 + HOUR)).await;
    (account.id, token)
}

async fn open_session(store: &Postgres, user: UserId, token: &SessionToken, expires_at: Timestamp) {
    let now = SystemClock.now();
    let session = Session { token_hash: token.hash(), user, created_at: now, began_at: now, expires_at };
    SessionStore::open(store, session).await.unwrap();
}

/// Every answer, as one text.
async fn everything(reports: &dyn Reports) -> String {
    let (first, last) = (Day(i32::MIN), Day(i32::MAX));
    let by_error = Filter { error: Some("upstream".to_owned()), ..Filter::default() };
    let request = ids(reports).await[0];
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        reports.days(first, last).await.unwrap(),
        reports.split(first, last).await.unwrap(),
        reports.rows(&Filter::default(), None, 50).await.unwrap(),
        reports.rows(&by_error, None, 50).await.unwrap(),
        reports.row(request).await.unwrap(),
        reports.overview(first, last, Timestamp(0), Timestamp(i64::MAX)).await.unwrap(),
    )
}

async fn ids(reports: &dyn Reports) -> Vec<RequestId> {
    let rows = reports.rows(&Filter::default(), None, 50).await.unwrap();
    assert_eq!(rows.len(), 5);
    rows.into_iter().map(|row| row.request).collect()
}

#[tokio::test]
async fn it_reads_what_the_edge_reads_of_whoever_is_signed_in() {
    for database in [Database::fresh().await, Database::supabase_shaped().await] {
        let store = open(&database).await;
        let dashboard = dashboard(&database).await;
        let (ada, token) = somebody(&store, "ada@example.org").await;
        let (bob, bobs) = somebody(&store, "bob@example.org").await;
        for (user, token) in [(ada, &token), (bob, &bobs)] {
            let seen = dashboard.of(token.expose(), user).await.unwrap().unwrap();
            let edges = everything(&*ReportStore::of(&*store, user)).await;
            assert!(edges.contains("deepseek") && edges.contains("Upstream 100%"), "{edges}");
            assert_eq!(everything(&*seen).await, edges);
        }
        // The function that answers an overview has no rights of its own: asked for another, it finds nothing.
        let login = database.connect_as("cfx_dashboard").await;
        login.batch_execute(&format!("set cfx.session = '{}'", token.expose())).await.unwrap();
        let found = "select count(*) from cfx.overview($1, '2000-01-01', '2100-01-01', '2000-01-01', '2100-01-01')
                      where part <> 'pace' or requests > 0";
        for (user, found_of) in [(ada, true), (bob, false)] {
            let count: i64 = login.query_one(found, &[&user.0]).await.unwrap().get(0);
            assert_eq!(count > 0, found_of);
        }
        // Each on whichever of a few connections comes: what one presents is gone before the next.
        let theirs = [ids(&*ReportStore::of(&*store, ada)).await, ids(&*ReportStore::of(&*store, bob)).await];
        let asked = (0..60).map(|n| {
            let (dashboard, (token, user)) = (&dashboard, [(&token, ada), (&bobs, bob)][n % 2]);
            async move { ids(&*dashboard.of(token.expose(), user).await.unwrap().unwrap()).await }
        });
        for (n, seen) in join_all(asked).await.into_iter().enumerate() {
            assert_eq!(seen, theirs[n % 2]);
        }
    }
}

#[tokio::test]
async fn the_token_before_a_sessions_present_one_reads_the_same_for_as_long_as_it_holds() {
    let database = Database::fresh().await;
    let (store, dashboard) = (open(&database).await, dashboard(&database).await);
    let (ada, old) = somebody(&store, "ada@example.org").await;
    let (now, new) = (SystemClock.now(), old.renewed(&[1; 32]));
    let expires_at = Timestamp(now.0 + HOUR);
    let session = Session { token_hash: new.hash(), user: ada, created_at: now, began_at: now, expires_at };
    assert!(store.replace(old.hash(), Renewal { session, salt: [1; 32] }).await.unwrap());
    for token in [&old, &new] {
        assert_eq!(ids(&*dashboard.of(token.expose(), ada).await.unwrap().unwrap()).await.len(), 5);
    }
    store.arrived(new.hash(), now).await.unwrap();
    let reads_on = async |token: &SessionToken| match dashboard.of(token.expose(), ada).await.unwrap() {
        Some(reports) => reports.rows(&Filter::default(), None, 50).await.is_ok_and(|rows| rows.len() == 5),
        None => false,
    };
    assert!(!reads_on(&old).await && reads_on(&new).await);
    assert!(store.end(old.hash()).await.unwrap());
    assert!(!reads_on(&new).await, "both have gone");
}

#[tokio::test]
async fn who_is_not_signed_in_any_more_is_nobody() {
    let database = Database::fresh().await;
    let (store, dashboard) = (open(&database).await, dashboard(&database).await);
    let (ada, token) = somebody(&store, "ada@example.org").await;
    let (bob, _) = somebody(&store, "bob@example.org").await;
    let made_up = SessionToken::mint().unwrap();
    for token in ["", "token of ada", "cfx_session_'; select 1; --", &"x".repeat(1 << 20)] {
        assert!(dashboard.of(token, ada).await.unwrap().is_none(), "{token:.40}");
    }
    let over = SessionToken::mint().unwrap();
    open_session(&store, ada, &over, Timestamp(SystemClock.now().0 - 1)).await;
    for (token, user) in [(&made_up, ada), (&over, ada), (&token, bob)] {
        refuses_all(&*dashboard.of(token.expose(), user).await.unwrap().unwrap()).await;
    }

    let held = dashboard.of(token.expose(), ada).await.unwrap().unwrap();
    assert_eq!(held.rows(&Filter::default(), None, 50).await.unwrap().len(), 5);
    let disabled = Change { disabled_at: Some(Some(SystemClock.now())), ..Change::default() };
    assert!(AccountStore::change(&*store, ada, disabled).await.unwrap());
    refuses_all(&*held).await;
}

/// Each question is asked anew whose it is.
async fn refuses_all(held: &dyn Reports) {
    let (first, last) = (Day(0), Day(i32::MAX));
    let errors = [
        held.rows(&Filter::default(), None, 50).await.err(),
        held.row(RequestId(uuid::Uuid::nil())).await.err(),
        held.days(first, last).await.err(),
        held.split(first, last).await.err(),
        held.overview(first, last, Timestamp(0), Timestamp(i64::MAX)).await.err(),
    ];
    assert!(errors.iter().all(|error| error.as_ref().is_some_and(is_of_nobody)), "{errors:?}");
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_given_up_and_says_so() {
    const LONG: Statement = Statement { sql: "select pg_sleep(30)", types: &[] };
    const WRITE: Statement = Statement { sql: "delete from cfx.sessions", types: &[] };
    const NEXT: Statement =
        Statement { sql: "select coalesce(current_setting('cfx.session', true), '') = ''", types: &[] };
    let database = Database::fresh().await;
    let store = open(&database).await;
    let (ada, token) = somebody(&store, "ada@example.org").await;
    let questions = Questions::of_session(store.log.clone(), token, ada);
    let begun = Instant::now();
    let error = questions.ask(&LONG, vec![]).await.unwrap_err();
    assert!(took_too_long(&error) && error.0 == TOO_LONG, "{error}");
    assert!((Duration::from_secs(2)..Duration::from_secs(5)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let error = questions.ask(&WRITE, vec![]).await.unwrap_err();
    assert!(!took_too_long(&error) && error.0.contains("read-only"), "{error}");
    for _ in 0..8 {
        let rows = Questions::of_any(store.log.clone()).ask(&NEXT, vec![]).await.unwrap();
        assert!(rows[0].get::<_, bool>(0), "what was presented is forgotten");
    }
    let session = store.log.session().await.unwrap();
    let left = session.query_one("select current_setting('statement_timeout')", &[]).await.unwrap();
    assert_eq!(left.get::<_, String>(0), "10s", "the limit was the transaction's");
}

#[tokio::test]
async fn who_has_much_to_look_through_leaves_a_connection_to_others() {
    const LONG: Statement = Statement { sql: "select pg_sleep(30)", types: &[] };
    const QUICK: Statement = Statement { sql: "select 1", types: &[] };
    const AT_WORK: &str = "select from pg_stat_activity where query like '%pg_sleep(30)%' and state = 'active' and pid <> pg_backend_pid() \
        and datname = current_database()";
    let database = Database::fresh().await;
    let store = open(&database).await;
    let [ada, bob] = [1, 2].map(|id| UserId(uuid::Uuid::from_u128(id)));
    let of = |user| Questions::of_any(store.log.clone()).for_user(&store.askers, user);
    let ask_long = |questions: Questions| tokio::spawn(async move { questions.ask(&LONG, vec![]).await });
    let hers: Vec<_> = (0..6).map(|_| ask_long(of(ada))).collect();
    let looker = database.connect().await;
    while looker.query(AT_WORK, &[]).await.unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    of(bob).ask(&QUICK, vec![]).await.unwrap();
    assert!(hers.iter().all(|question| !question.is_finished()), "he waited for none of hers");
    for question in hers {
        question.abort();
    }
}

#[tokio::test]
async fn a_login_that_row_security_does_not_hold_is_refused() {
    let problem = async |url: &str| DashboardAddress::parse(url).unwrap().open().await.err().unwrap();
    let says = |problem: crate::storage::postgres::ConnectProblem, lasting: bool, what: &str| {
        let text = problem.to_string();
        assert!(text.starts_with("DASHBOARD_DATABASE_URL names ") && text.contains(what), "{text}");
        assert_eq!(problem.lasting, lasting, "{text}");
    };
    let server = Server::private();
    let database = server.database().await;
    let superuser = database.connect().await;
    let roles = "create role plain login createrole; create role bypassing login bypassrls;
                 create role heir login; create role cfx_dashboard login; create role anon; create role authenticated;
                 create role service_role bypassrls; create role writer login; create role reader login;
                 grant plain to heir;
                 do $$ begin execute format('alter database %I owner to plain', current_database()); end $$;
                 grant all on schema public to plain";
    superuser.batch_execute(roles).await.unwrap();
    says(problem(&database.url_as("cfx_dashboard")).await, false, "there are no tables of this cfx yet");
    crate::storage::postgres::migrations::apply(&mut database.connect_as("plain").await).await.unwrap();
    superuser.batch_execute("grant update on public.request_logs to writer").await.unwrap();

    says(problem(&database.url()).await, true, "is a superuser");
    says(problem(&database.url_as("bypassing")).await, true, "bypasses row-level security");
    says(problem(&database.url_as("plain")).await, true, "owns tables of cfx");
    says(problem(&database.url_as("heir")).await, true, "or can become their owner");
    says(problem(&database.url_as("writer")).await, true, "may write to tables");
    says(problem(&database.url_as("reader")).await, true, "may not read the tables");
    says(problem(&database.url_as("unknown")).await, true, "");
    assert!(DashboardAddress::parse(&database.url_as("cfx_dashboard")).unwrap().open().await.is_ok());
    let text = DashboardAddress::parse("mysql://x").err().unwrap().to_string();
    assert!(text.starts_with("DASHBOARD_DATABASE_URL does not begin with postgres://"), "{text}");
}
