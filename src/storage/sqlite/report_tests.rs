//! Questions to the log of the embedded store: who may ask, and what else waits meanwhile.

use std::time::{Duration, Instant};

use super::tests::Disk;
use crate::admission::KeyStore;
use crate::ledger::{Filter, ReportStore, took_too_long};
use crate::storage::conformance;
use crate::storage::sqlite::reports::Reading;
use crate::units::UserId;

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
