//! Requests as they end.

use std::time::{Duration, Instant};

use cfx::clock::Clock;
use cfx::identity::Role;
use cfx::units::Stage;
use hyper::Method;

use super::start;
use crate::tail_reader::{PATIENCE, open};

#[tokio::test]
async fn what_ends_from_now_on_is_sent_once_and_in_order() {
    let harness = start().await;
    let (ada, bob) = (harness.member().await, harness.someone("bob@example.org", Role::Member).await);
    harness.log(ada.id, 100, |_| ()).await;
    // Marks the moment from which on the tail has looked: without it "before" and "after" would be a race.
    let mut tail = open(&harness, &ada, "?from=2026-01-31T11:59:00Z", None).await;
    let mark = harness.log(ada.id, 50, |_| ()).await;
    assert_eq!(tail.next().await.unwrap().entry["request_id"], mark.0.to_string());
    harness.log(bob.id, 5, |_| ()).await;
    let (old, new) = (harness.log(ada.id, 55, |_| ()).await, harness.log(ada.id, 1, |_| ()).await);
    let first = tail.next().await.unwrap();
    assert_eq!(first.kind, "log");
    // It began before the mark and ended after it.
    let second = tail.next().await.unwrap();
    let ids = [&first.entry["request_id"], &second.entry["request_id"]];
    assert!(
        ids.iter().any(|id| **id == old.0.to_string()) && ids.iter().any(|id| **id == new.0.to_string()),
        "{ids:?}"
    );
}

#[tokio::test]
async fn a_filter_holds_and_an_old_row_is_no_news() {
    let harness = start().await;
    let ada = harness.member().await;
    harness.log(ada.id, 60, |row| row.stage = Some(Stage::Code)).await;
    let mut tail = open(&harness, &ada, "?stage=code", None).await;
    // Written until it is seen: the tail looks once before anything is news.
    let writing = async {
        loop {
            harness.log(ada.id, 1, |_| ()).await;
            harness.log(ada.id, 1, |row| row.stage = Some(Stage::Code)).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let event = tokio::select! {
        event = tail.next() => event.unwrap(),
        () = writing => unreachable!(),
    };
    assert_eq!(event.entry["stage"], "code");
    assert_eq!(event.entry["created_at"], "2026-01-31T11:59:59.000000Z");
}

#[tokio::test]
async fn a_reader_who_comes_back_is_sent_what_ended_meanwhile() {
    let harness = start().await;
    let ada = harness.member().await;
    harness.log(ada.id, 90, |_| ()).await;
    let mut tail = open(&harness, &ada, "?from=2026-01-31T11:50:00Z", None).await;
    let first = tail.next().await.unwrap();
    drop(tail);
    // It began earlier and ended later.
    let meanwhile = harness.log(ada.id, 200, |row| row.latency_ms = 190_000).await;
    let mut tail = open(&harness, &ada, "", Some(&first.id)).await;
    assert_eq!(tail.next().await.unwrap().entry["request_id"], meanwhile.0.to_string());
}

#[tokio::test]
async fn what_began_long_ago_is_not_looked_through() {
    let harness = start().await;
    let ada = harness.member().await;
    harness.log(ada.id, 36 * 60, |_| ()).await;
    let recent = harness.log(ada.id, 34 * 60, |_| ()).await;
    let mut tail = open(&harness, &ada, "?from=2026-01-01T00:00:00Z", None).await;
    assert_eq!(tail.next().await.unwrap().kind, "gap", "which is said");
    assert_eq!(tail.next().await.unwrap().entry["request_id"], recent.0.to_string());
}

#[tokio::test]
async fn who_comes_back_too_late_is_told_of_the_gap() {
    let harness = start().await;
    let ada = harness.member().await;
    let last = harness.log(ada.id, 3_600, |_| ()).await;
    harness.log(ada.id, 50 * 60, |_| ()).await;
    let recent = harness.log(ada.id, 60, |_| ()).await;
    let began = harness.clock.now().0 - 3_600_000_000;
    for (request, since) in
        [(last.0, "2026-01-31T11:00:01.000000Z"), (uuid::Uuid::nil(), "2026-01-31T11:00:00.000000Z")]
    {
        let mut tail = open(&harness, &ada, "", Some(&format!("{began}.{request}"))).await;
        let gap = tail.next().await.unwrap();
        assert_eq!((&*gap.kind, &gap.entry["from"]), ("gap", &since.into()), "its row, or else its own word");
        assert_eq!(gap.entry["until"], "2026-01-31T11:25:00.000000Z");
        assert_eq!(tail.next().await.unwrap().entry["request_id"], recent.0.to_string());
    }
}

#[tokio::test]
async fn more_at_once_than_are_looked_at_are_told_of() {
    let harness = start().await;
    let ada = harness.member().await;
    for _ in 0..201 {
        harness.log(ada.id, 60, |_| ()).await;
    }
    let mut tail = open(&harness, &ada, "?from=2026-01-31T11:50:00Z", None).await;
    let gap = tail.next().await.unwrap();
    assert_eq!((&*gap.kind, &gap.entry["until"]), ("gap", &"2026-01-31T12:00:00.000000Z".into()));
    for _ in 0..200 {
        assert_eq!(tail.next().await.unwrap().kind, "log");
    }
}

#[tokio::test]
async fn who_comes_back_before_anything_was_sent_misses_nothing() {
    let harness = start().await;
    let ada = harness.member().await;
    harness.log(ada.id, 90, |_| ()).await;
    let mut tail = open(&harness, &ada, "", None).await;
    let place = tail.place().await;
    drop(tail);
    harness.clock.advance(Duration::from_secs(10));
    let meanwhile = harness.log(ada.id, 5, |_| ()).await;
    let mut tail = open(&harness, &ada, "", Some(&place)).await;
    assert_eq!(tail.next().await.unwrap().entry["request_id"], meanwhile.0.to_string());
}

#[tokio::test]
async fn three_may_be_open_and_one_that_is_left_makes_room() {
    let harness = start().await;
    let (ada, bob) = (harness.member().await, harness.someone("bob@example.org", Role::Member).await);
    let mut tails = Vec::new();
    for _ in 0..3 {
        tails.push(open(&harness, &ada, "", None).await);
    }
    let refused = harness.get("/api/logs/tail").by(&ada).send().await;
    refused.refused(429, "too_many_streams");
    assert_eq!(refused.header("retry-after"), "10");
    let _bobs = open(&harness, &bob, "", None).await;
    tails.clear();
    let began = Instant::now();
    while harness.get("/api/logs/tail").by(&ada).open().await.status() != 200 {
        assert!(began.elapsed() < PATIENCE, "the places are given back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn it_ends_with_the_session_and_with_the_edge() {
    let harness = start().await;
    let (ada, bob) = (harness.member().await, harness.someone("bob@example.org", Role::Member).await);
    let (mut hers, mut his) = (open(&harness, &ada, "", None).await, open(&harness, &bob, "", None).await);
    harness.ask(Method::POST, "/api/logout").by(&ada).send().await.ok(204);
    assert!(hers.next().await.is_none());
    harness.edge.draining.send_replace(true);
    assert!(his.next().await.is_none());
}
