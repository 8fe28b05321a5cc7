//! Eight edges that share the counts of a few users: what all of them admit together is the limit and not one more, what was
//! counted outlives them, and what they held unused comes back. `make scale` has a hundred, and what that costs.
#![cfg(test)]

mod fleet;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cfx::clock::{Clock, SystemClock};
use cfx::units::{Day, Timestamp};
use fleet::{Fleet, Load, OneDay, Servers};
use support::postgres::Database;
use support::redis;

const LIMIT: u32 = 200;
/// Their limit is reached over and over; the others never come near theirs.
const HEAVY: usize = 4;

async fn eight_edges(on_redis: bool) {
    let database = Database::fresh().await;
    let server = on_redis.then(redis::Server::private);
    let folder = tempfile::tempdir().expect("a folder");
    let servers = Servers {
        postgres: database.url(),
        redis: server.as_ref().map(redis::Server::url),
        data: folder.path().to_owned(),
        // No answer is late here: what a busy machine takes is no outage.
        patience: Duration::from_secs(30),
    };
    let fleet = Fleet::start(servers, 8, 64, LIMIT).await;
    let mut fleet = Arc::new(fleet);
    let (answer, requests) = (Duration::ZERO, 4_000);
    let load = Load { rate: None, requests, from: Some(0), heavy: HEAVY, heavy_share: 50, near: None, answer };
    let tally = load.drive(&fleet).await;
    let fleet = Arc::get_mut(&mut fleet).expect("every request has ended");
    assert!(tally.exhausted.load(Ordering::SeqCst) > 0, "{tally:?}");
    fleet.stop().await;
    fleet.audit().await;
    fleet.use_up_what_is_left(HEAVY).await;
    fleet.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_edges_on_postgres_admit_what_each_user_may_and_lose_nothing() {
    eight_edges(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_edges_on_redis_admit_what_each_user_may_and_lose_nothing() {
    eight_edges(true).await;
}

#[test]
fn a_run_that_midnight_falls_into_stays_in_its_day() {
    let before = SystemClock.now();
    let today = before.day();
    assert!(OneDay(today).now() >= before, "until then it is the system's own time");
    let yesterday = Day(today.0 - 1);
    assert_eq!(OneDay(yesterday).now(), Timestamp(yesterday.end().0 - 1));
}
