//! Questions to the log of the embedded store: who may ask, what else waits meanwhile, and how much is looked at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, StatementStatus};
use uuid::Uuid;

use super::tests::Disk;
use super::{migrations, pages, reports};
use crate::admission::KeyStore;
use crate::ledger::{Filter, LedgerStore, ReportStore, Row, Status, took_too_long};
use crate::storage::sqlite::reports::Reading;
use crate::storage::{conformance, conformance_of_reports};
use crate::units::{KeyId, Stage, UserId};

#[tokio::test]
async fn a_question_without_end_is_given_up_and_holds_up_no_key() {
    let disk = Disk::new();
    let store = disk.open();
    let (_, raw) = conformance::issue(&*store, &*store, "ada@example.org").await;
    let reading = Reading { questions: store.questions.clone(), user: UserId(uuid::Uuid::nil()) };
    let endless = "with recursive n (i) as (select 1 union all select i + 1 from n) select max(i) from n";
    let begun = Instant::now();
    let (asked, found) = tokio::join!(
        reading.ask(move |connection, _| connection.query_row(endless, (), |row| row.get::<_, i64>(0))),
        async {
            let found = KeyStore::find(&*store, raw.public_id().as_str()).await.unwrap();
            (found.is_some(), begun.elapsed())
        }
    );
    assert!(took_too_long(&asked.unwrap_err()));
    assert!((Duration::from_secs(2)..Duration::from_secs(5)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(found.0 && found.1 < Duration::from_secs(1), "{found:?}");
    let written = reading.ask(|connection, _| connection.execute("delete from accounts", ())).await;
    assert!(written.unwrap_err().0.contains("readonly"), "questions change nothing");
    assert_eq!(
        ReportStore::of(&*store, UserId(uuid::Uuid::nil())).rows(&Filter::default(), None, 9).await.unwrap(),
        []
    );
}

const ADA: UserId = UserId(Uuid::from_u128(1));

/// Ten thousand rows of Ada: every twentieth a failure in planning, with another model; the others answered, in one session.
fn many() -> Arc<[Row]> {
    let row = |n: i64| {
        let row = conformance_of_reports::logged(ADA, n / 2_000, n);
        let failed = Row {
            stage: Some(Stage::Plan),
            model: Some(Arc::from("claude-sonnet")),
            status: Status::Error,
            session_id: Some(format!("session-{}", n / 200)),
            error: Some("upstream_timeout".to_owned()),
            ..row.clone()
        };
        if n % 20 == 0 { failed } else { row }
    };
    (0..10_000).map(row).collect()
}

/// Every choice of filters, each by what many rows have, what few have and what none has.
fn filters() -> Vec<Filter> {
    let key = |number| Some(KeyId(Uuid::from_u128(number)));
    let text = |text: &str| Some(text.to_owned());
    let mut filters = vec![Filter::default()];
    let mut each = |ways: &[&dyn Fn(&mut Filter)]| {
        let with = |way: &&dyn Fn(&mut Filter)| {
            let mut filters = filters.clone();
            filters.iter_mut().for_each(way);
            filters
        };
        filters.extend(ways.iter().flat_map(with).collect::<Vec<_>>());
    };
    each(&[&|f| f.stage = Some(Stage::Review), &|f| f.stage = Some(Stage::Plan), &|f| f.stage = Some(Stage::Code)]);
    each(&[&|f| f.model = text("gpt-mini"), &|f| f.model = text("claude-sonnet"), &|f| f.model = text("o3")]);
    each(&[&|f| f.status = Some(Status::Success), &|f| f.status = Some(Status::Error), &|f| {
        f.status = Some(Status::Cancelled)
    }]);
    each(&[&|f| f.key = key(2), &|f| f.key = key(3)]);
    each(&[&|f| f.session_id = text("session"), &|f| f.session_id = text("session-7"), &|f| f.session_id = text("x")]);
    each(&[&|f| f.error = text("timeout"), &|f| f.error = text("full")]);
    filters
}

fn explained(connection: &Connection, statement: &str) -> Vec<String> {
    let mut explain = connection.prepare(&format!("explain query plan {statement}")).unwrap();
    explain.raw_query().mapped(|row| row.get("detail")).collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn a_page_is_found_in_the_tree_of_what_it_is_filtered_by_and_in_no_other() {
    let disk = Disk::new();
    disk.open().append(many()).await.unwrap();
    let sql = disk.sql();
    for filter in filters() {
        let tree = match filter {
            Filter { error: Some(_), .. } => {
                "INDEX request_logs_error (user_id=? AND status=? AND <expr>=? AND <expr>=?"
            }
            Filter { session_id: Some(_), .. } => {
                "INDEX request_logs_session (user_id=? AND session_id=? AND status=? AND <expr>=? AND <expr>=?"
            }
            ref filter if *filter == Filter::default() => "PRIMARY KEY (user_id=? AND request_id>? AND request_id<?)",
            _ => "INDEX request_logs_kind (user_id=? AND status=? AND <expr>=? AND <expr>=?",
        };
        let plan = explained(&sql, pages::statement_for(&filter));
        let of_the_log: Vec<_> =
            plan.iter().filter(|line| line.contains(" log ") || line.contains(" request_logs ")).collect();
        // The rows of a page that was found are fetched by their ids.
        let is_searched = |line: &&&String| {
            line.starts_with("SEARCH ")
                && (line.contains(tree) || line.ends_with("PRIMARY KEY (user_id=? AND request_id=?)"))
        };
        assert!(of_the_log.iter().any(|line| line.contains(tree)), "{filter:?}\n{plan:#?}");
        assert!(of_the_log.iter().all(|line| is_searched(&line)), "{filter:?}\n{plan:#?}");
    }
    let plan = explained(&sql, reports::PACE);
    assert_eq!(plan, ["SEARCH request_logs USING PRIMARY KEY (user_id=? AND request_id>?)"]);
}

/// SQLite counts the steps of its machine: each row that is looked at is some.
#[tokio::test]
async fn a_page_is_as_little_work_whatever_it_is_filtered_by() {
    let disk = Disk::new();
    disk.open().append(many()).await.unwrap();
    let sql = disk.sql();
    let steps = |filter: &Filter| {
        let mut statement = sql.prepare(pages::statement_for(filter)).unwrap();
        pages::bind(&mut statement, &ADA.0.to_string(), filter, None, 50).unwrap();
        let found = statement.raw_query().mapped(|_| Ok(())).count();
        (found, statement.get_status(StatementStatus::VmStep))
    };
    // Of rows with an error, those of one key or session do not lie together.
    let is_in_a_tree =
        |filter: &&Filter| filter.error.is_none() || (filter.key.is_none() && filter.session_id.is_none());
    let (mut full, mut empty) = (0, 0);
    for filter in filters().iter().filter(is_in_a_tree) {
        let (found, steps) = steps(filter);
        assert!(steps < 15_000, "{steps} steps for {found} rows by {filter:?}");
        full += i32::from(found == 50);
        empty += i32::from(found == 0);
    }
    assert!(full > 10 && empty > 100, "{full} found a page, {empty} nothing");
}

/// The file is as the cfx before these trees left it.
#[tokio::test]
async fn an_older_file_gets_its_trees_over_what_was_logged_before() {
    let (disk, old) = (Disk::new(), Disk::new());
    let rows = conformance_of_reports::two_days(ADA);
    disk.open().append(rows.clone().into()).await.unwrap();
    let before = "drop index sessions_renewed; alter table sessions drop column renewed_hash;
        alter table sessions drop column renewed_with; alter table sessions drop column renewed_until;
        drop index request_logs_kind; drop index request_logs_session; drop index request_logs_error;
        delete from schema_migrations where version >= 6";
    disk.sql().execute_batch(before).unwrap();
    for migration in migrations::ALL.iter().filter(|migration| migration.version < 6) {
        old.sql().execute_batch(migration.sql).unwrap();
    }
    let schema = |disk: &Disk| {
        let select = "select group_concat(sql, ';' order by name) from sqlite_master where name <> 'schema_migrations'";
        disk.sql().query_row(select, (), |row| row.get::<_, String>(0)).unwrap()
    };
    assert_eq!(schema(&disk), schema(&old));
    let reports = ReportStore::of(&*disk.open(), ADA);
    conformance_of_reports::rows_pass_every_filter_that_is_given(&*reports, &rows).await;
}
