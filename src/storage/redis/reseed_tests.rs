//! Redis emptied, stopped, or back with older data, while edges count on it.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::testing::{Proxy, run, until};
use super::tests::{ask, durable, dying_edge, edge, settlement, user};
use crate::admission::{ConcurrencyStore, PlaceId, Posting, PostingId, QuotaStore};
use crate::storage::support::redis::Server;
use crate::units::{Day, UserId};

const TODAY: Day = Day(20_484);

#[tokio::test]
async fn emptied_under_one_edge_it_counts_on_exactly() {
    let (server, durable) = (Server::private(), durable());
    let redis = edge(&server.url(), 1, &durable).await;
    let subject = user();
    let asked = ask(&redis, subject, 100);
    assert_eq!(redis.grant(asked.clone()).await.unwrap().granted, 25);
    redis.settle(settlement(subject, asked.lease, 10, false)).await.unwrap();
    run(&server, &["FLUSHALL"]).await;
    // 10 of 25 are used and perhaps not stored yet; the other 15 are still this edge's.
    let next = redis.grant(ask(&redis, subject, 100)).await.unwrap();
    assert_eq!((next.granted, next.counted), (18, 43), "25 of 100 were taken");
    redis.settle(settlement(subject, asked.lease, 25, true)).await.unwrap();
    redis.settle(settlement(subject, asked.lease, 25, true)).await.unwrap();
    assert_eq!(redis.used(subject, TODAY).await.unwrap(), 25);
    redis.depart(redis.edge).await.unwrap();
    assert_eq!(durable.count(subject, TODAY).0, 25);
}

#[tokio::test]
async fn emptied_again_and_again_under_two_edges_it_never_grants_more_than_the_limit() {
    let (server, durable) = (Server::private(), durable());
    let edges = [edge(&server.url(), 1, &durable).await, edge(&server.url(), 2, &durable).await];
    assert_eq!(edges[0].beat(edges[0].edge).await.unwrap(), 2);
    let subject = user();
    let (mut granted, mut open) = (0, Vec::new());
    for round in 0..12 {
        for edge in &edges {
            let asked = ask(edge, subject, 300);
            let grant = edge.grant(asked.clone()).await.unwrap();
            granted += grant.granted;
            open.push((edge, asked.lease, grant.granted));
        }
        // Each reports half of its older leases as used, and closes some.
        for (edge, lease, size) in open.iter().filter(|(_, _, size)| *size > 0).step_by(2) {
            edge.settle(settlement(subject, *lease, size / 2, false)).await.unwrap();
        }
        if round % 3 == 2 {
            run(&server, &["FLUSHALL"]).await;
            for edge in &edges {
                edge.beat(edge.edge).await.unwrap();
            }
        }
    }
    assert!(granted <= 300, "{granted} were granted of 300");
    for (edge, lease, size) in &open {
        edge.settle(settlement(subject, *lease, *size, true)).await.unwrap();
    }
    let rest = edges[0].grant(ask(&edges[0], subject, 300)).await.unwrap();
    assert_eq!(rest.counted - rest.granted, granted, "every lease is counted once, through four losses");
    for edge in &edges {
        edge.depart(edge.edge).await.unwrap();
    }
    assert_eq!(durable.count(subject, TODAY).0, granted);
}

#[tokio::test]
async fn killed_and_started_again_empty_it_goes_on_from_the_durable_store() {
    let (mut server, durable) = (Server::private(), durable());
    let redis = edge(&server.url(), 1, &durable).await;
    let subject = user();
    let asked = ask(&redis, subject, 100);
    redis.grant(asked.clone()).await.unwrap();
    redis.settle(settlement(subject, asked.lease, 20, false)).await.unwrap();
    server.kill();
    until("the loss is noticed", async || {
        redis.grant(ask(&redis, subject, 100)).await.is_err() && redis.problem().is_some()
    })
    .await;
    server.restart();
    until("it is used again", || ready(redis.problem().is_none())).await;
    let next = redis.grant(ask(&redis, subject, 26)).await.unwrap();
    assert_eq!((next.granted, next.counted), (1, 26), "25 are leased or used");
    redis.settle(settlement(subject, asked.lease, 21, true)).await.unwrap();
    assert_eq!(redis.used(subject, TODAY).await.unwrap(), 21);
}

#[tokio::test]
async fn back_with_older_data_it_is_not_believed() {
    let (mut server, durable) = (Server::private(), durable());
    let redis = edge(&server.url(), 1, &durable).await;
    let subject = user();
    let asked = ask(&redis, subject, 100);
    redis.grant(asked.clone()).await.unwrap();
    redis.settle(settlement(subject, asked.lease, 5, false)).await.unwrap();
    run(&server, &["SAVE"]).await;
    redis.settle(settlement(subject, asked.lease, 24, true)).await.unwrap();
    let post = Posting { id: PostingId(Uuid::new_v4()), subject, day: TODAY, count: 30 };
    redis.post(post).await.unwrap();
    until("all is stored", || ready(durable.count(subject, TODAY).0 == 54)).await;
    server.restart();
    until("it is used again", async || redis.grant(ask(&redis, subject, 54)).await.is_ok()).await;
    assert_eq!(redis.used(subject, TODAY).await.unwrap(), 54, "the snapshot said 5");
    assert_eq!(redis.grant(ask(&redis, subject, 54)).await.unwrap().granted, 0);
}

#[tokio::test]
async fn an_edge_that_hears_late_of_a_loss_still_tells_what_it_counted() {
    let (server, durable) = (Server::private(), durable());
    let proxy = Proxy::before(&server).await;
    let (near, far) = (edge(&server.url(), 1, &durable).await, edge(&proxy.url(), 2, &durable).await);
    near.beat(near.edge).await.unwrap();
    let subject = user();
    let asked = ask(&far, subject, 100);
    far.grant(asked.clone()).await.unwrap();
    far.settle(settlement(subject, asked.lease, 4, false)).await.unwrap();
    until("4 are stored", || ready(durable.count(subject, TODAY).0 == 4)).await;
    proxy.cut(true);
    run(&server, &["FLUSHALL"]).await;
    near.beat(near.edge).await.unwrap();
    near.grant(ask(&near, subject, 100)).await.unwrap();
    proxy.cut(false);
    until("its lease is known again", async || far.settle(settlement(subject, asked.lease, 9, true)).await.is_ok())
        .await;
    assert_eq!(near.used(subject, TODAY).await.unwrap(), 9);
    until("it is stored", || ready(durable.count(subject, TODAY).0 == 9)).await;
}

#[tokio::test]
async fn streams_are_capped_across_edges_and_those_of_a_dead_edge_run_out() {
    let (server, durable) = (Server::private(), durable());
    let (one, other) = (edge(&server.url(), 1, &durable).await, edge(&server.url(), 2, &durable).await);
    let user = UserId(Uuid::new_v4());
    let place = || PlaceId(Uuid::new_v4());
    let (first, second) = (place(), place());
    assert!(one.enter(user, first, 2).await.unwrap());
    assert!(other.enter(user, second, 2).await.unwrap());
    assert!(one.enter(user, first, 2).await.unwrap(), "to enter again is to be there");
    assert!(!one.enter(user, place(), 2).await.unwrap());
    assert!(one.enter(UserId(Uuid::new_v4()), place(), 2).await.unwrap(), "another user is not affected");
    one.leave(&[(user, first)]).await.unwrap();
    let third = place();
    assert!(other.enter(user, third, 2).await.unwrap());

    // The first edge dies with nothing said; the other goes on renewing its two, and gives one of them up.
    run(&server, &["FLUSHALL"]).await;
    assert!(one.enter(user, first, 3).await.unwrap());
    other.renew(&[(user, second), (user, third)]).await.unwrap();
    assert!(!other.enter(user, place(), 3).await.unwrap(), "what was lost is known again");
    let begun = std::time::Instant::now();
    until("the dead edge's place is free", async || {
        other.renew(&[(user, second), (user, third)]).await.unwrap();
        other.enter(user, place(), 3).await.unwrap()
    })
    .await;
    assert!(begun.elapsed() <= Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// As `edge`, on a server that can be made to load what it last saved without a connection noticing.
fn going_back() -> Server {
    Server::with(&["--enable-debug-command", "yes"])
}

#[tokio::test]
async fn older_data_behind_an_unbroken_connection_is_not_believed() {
    let (server, durable) = (going_back(), durable());
    let redis = edge(&server.url(), 1, &durable).await;
    let subject = user();
    let asked = ask(&redis, subject, 100);
    redis.grant(asked.clone()).await.unwrap();
    redis.settle(settlement(subject, asked.lease, 5, false)).await.unwrap();
    run(&server, &["SAVE"]).await;
    redis.settle(settlement(subject, asked.lease, 24, true)).await.unwrap();
    redis.post(Posting { id: PostingId(Uuid::new_v4()), subject, day: TODAY, count: 30 }).await.unwrap();
    run(&server, &["DEBUG", "RELOAD", "NOSAVE"]).await;
    let next = redis.grant(ask(&redis, subject, 55)).await.unwrap();
    assert_eq!((next.granted, next.counted), (1, 55), "54 are used; the snapshot said 5");
    redis.depart(redis.edge).await.unwrap();
    assert_eq!(durable.count(subject, TODAY).0, 54);
}

#[tokio::test]
async fn older_data_are_found_out_by_a_heartbeat_too() {
    let (server, durable) = (going_back(), durable());
    let (one, other) = (edge(&server.url(), 1, &durable).await, edge(&server.url(), 2, &durable).await);
    let subject = user();
    let before = ask(&other, subject, 100);
    other.grant(before.clone()).await.unwrap();
    run(&server, &["SAVE"]).await;
    let asked = ask(&one, subject, 100);
    let granted = one.grant(asked.clone()).await.unwrap().granted;
    one.settle(settlement(subject, asked.lease, granted, true)).await.unwrap();
    until("all is stored", || ready(durable.count(subject, TODAY).0 == granted)).await;
    for edge in [&one, &other] {
        tokio::time::sleep(Duration::from_millis(2)).await;
        edge.beat(edge.edge).await.unwrap();
    }
    let epoch = one.link.epoch();
    run(&server, &["DEBUG", "RELOAD", "NOSAVE"]).await;
    one.beat(one.edge).await.unwrap();
    assert_ne!(one.link.epoch(), epoch, "it knows of an earlier heartbeat than it has told of");
    let epoch = one.link.epoch();
    other.beat(other.edge).await.unwrap();
    assert_eq!((other.link.epoch(), one.link.refresh_epoch().await.unwrap().name), (epoch.clone(), epoch), "once");
    other.settle(settlement(subject, before.lease, 2, true)).await.unwrap();
    assert_eq!(other.used(subject, TODAY).await.unwrap(), granted + 2);
}

#[tokio::test]
async fn a_day_is_listed_however_often_that_fails_and_again_where_the_list_is_lost() {
    let (server, durable) = (Server::private(), durable());
    let redis = edge(&server.url(), 1, &durable).await;
    let subject = user();
    let list = format!("cfx:{{edge:{}}}:days", redis.edge.0);
    run(&server, &["SET", &list, "in the way"]).await;
    redis.grant(ask(&redis, subject, 100)).await.unwrap_err();
    run(&server, &["DEL", &list]).await;
    let asked = ask(&redis, subject, 100);
    redis.grant(asked.clone()).await.unwrap();
    assert_eq!(run(&server, &["SCARD", &list]).await, redis::Value::Int(1));
    redis.settle(settlement(subject, asked.lease, 3, true)).await.unwrap();
    run(&server, &["FLUSHALL"]).await;
    redis.grant(ask(&redis, subject, 100)).await.unwrap();
    assert_eq!(run(&server, &["SCARD", &list]).await, redis::Value::Int(1));
    assert_eq!(redis.open_leases(redis.edge).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_dead_edge_had_counted_and_not_stored_is_stored_by_its_heir() {
    let (server, durable) = (Server::private(), durable());
    let asked = dying_edge(server.url(), Arc::clone(&durable)).await;
    let heir = edge(&server.url(), 2, &durable).await;
    for _ in 0..2 {
        let open = heir.open_leases(asked.edge).await.unwrap();
        assert_eq!(open.iter().map(|open| (open.lease, open.used)).collect::<Vec<_>>(), [(asked.lease, 9)]);
        assert_eq!(durable.count(asked.subject, TODAY).0, 9, "once, however often it is asked for");
    }
    heir.settle(settlement(asked.subject, asked.lease, 11, true)).await.unwrap();
    until("all is stored", || ready(durable.count(asked.subject, TODAY).0 == 11)).await;
}
