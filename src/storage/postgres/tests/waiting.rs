//! The queue for a connection: who stands in it, and for how long.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::runtime::Handle;

use super::ports::{eventually, open};
use crate::admission::KeyStore;
use crate::identity::SessionStore;
use crate::storage::conformance::NOON;
use crate::storage::postgres::PEOPLE_CONNECTIONS;
use crate::storage::support::postgres::Database;

#[tokio::test]
async fn who_gave_up_waiting_for_a_connection_stands_in_nobodys_way() {
    let database = Database::fresh().await;
    let store = open(&database).await;
    // All of them are at work on something long.
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(store.pool.session().await.unwrap());
    }
    let alive = || Handle::current().metrics().num_alive_tasks();
    let before = alive();
    for _ in 0..200 {
        let asked = KeyStore::find(&*store, "000000000000");
        assert!(tokio::time::timeout(Duration::from_millis(1), asked).await.is_err(), "there is no connection");
    }
    let begun = Instant::now();
    eventually(async || alive() <= before).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "they went when nobody waited any more: {:?}", begun.elapsed());

    let honest = KeyStore::find(&*store, "000000000000");
    let freed = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(held.pop());
    };
    let (found, ()) = tokio::time::timeout(Duration::from_secs(2), async { tokio::join!(honest, freed) })
        .await
        .expect("it is the only one that waits");
    assert!(found.unwrap().is_none());
}

#[tokio::test]
async fn a_flood_of_made_up_sessions_holds_up_no_key() {
    let database = Database::fresh().await;
    let store = open(&database).await;
    let mut held = Vec::new();
    for _ in 0..PEOPLE_CONNECTIONS {
        held.push(store.people.session().await.unwrap());
    }
    let begun = Instant::now();
    let flood = join_all((0..200).map(|_| store.signed([7; 32], NOON)));
    let (refused, found) = tokio::join!(flood, KeyStore::find(&*store, "000000000000"));
    assert!(found.unwrap().is_none(), "it was looked up");
    assert!(refused.iter().all(Result::is_err), "there is no connection for them");
    assert!(begun.elapsed() < Duration::from_secs(3), "and they are told so soon: {:?}", begun.elapsed());
    drop(held);
    assert!(store.signed([7; 32], NOON).await.unwrap().is_none());
}
