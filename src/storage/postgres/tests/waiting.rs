//! The queue for a connection: who stands in it, and for how long.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::ports::{eventually, open};
use crate::admission::KeyStore;
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
