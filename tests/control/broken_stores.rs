//! Stores that are away, or take too long: said to be, and nothing of them.

use std::sync::atomic::Ordering;

use crate::harness::Harness;
use crate::operations::{asked, operations};
use crate::tail_reader::open;

#[tokio::test]
async fn a_store_that_is_away_is_said_to_be_and_nothing_of_it() {
    let harness = Harness::start().await;
    let ada = harness.member().await;
    harness.stores.memory().down.store(true, Ordering::SeqCst);
    for operation in operations(&harness).await.iter().filter(|operation| !operation.public) {
        let answer = asked(&harness, operation, &uuid::Uuid::nil().to_string()).by(&ada).send().await;
        let body = answer.refused(503, "store_unavailable");
        assert!(!body.to_string().contains("SECRET"), "{}", operation.name);
        assert_eq!(answer.header("retry-after"), "2");
    }
}

#[tokio::test]
async fn an_empty_file_has_a_head_and_a_broken_one_no_end() {
    let harness = Harness::start().await;
    let ada = harness.member().await;
    let empty = harness.get("/api/logs/export").by(&ada).send().await;
    assert_eq!(empty.text().lines().count(), 1);
    assert!(empty.whole);
    harness.log_many(ada.id, 0..3_000, |_, _| ()).await;
    harness.stores.memory().pages_left.store(2, Ordering::SeqCst);
    let broken = harness.get("/api/logs/export").by(&ada).send().await;
    assert_eq!(broken.status, 200);
    assert!(!broken.whole, "it must not look like all there is");
    harness.stores.memory().down.store(false, Ordering::SeqCst);
    let whole = harness.get("/api/logs/export").by(&ada).send().await;
    assert_eq!(whole.text().lines().count(), 3_001, "its place was given back");
    let odd = harness.get("/api/logs/export?format=xls").by(&ada).send().await;
    assert_eq!(odd.refused(400, "invalid_parameter")["error"]["param"], "format");
}

#[tokio::test]
async fn a_tail_that_asks_for_too_much_says_so_and_ends() {
    let harness = Harness::start().await;
    let ada = harness.member().await;
    harness.stores.memory().pages_too_long.store(2, Ordering::SeqCst);
    let waited_for = harness.log(ada.id, 60, |_| ()).await;
    let mut tail = open(&harness, &ada, "?from=2026-01-31T11:50:00Z", None).await;
    assert_eq!(tail.next().await.unwrap().entry["request_id"], waited_for.0.to_string(), "two are waited for");
    harness.stores.memory().pages_too_long.store(3, Ordering::SeqCst);
    let event = tail.next().await.unwrap();
    assert_eq!((&*event.kind, &event.entry["error"]["code"]), ("problem", &"question_too_large".into()));
    assert!(tail.next().await.is_none());
}
