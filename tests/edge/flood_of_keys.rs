//! Ten thousand well-formed keys that nobody was given, as fast as one address can send them. Long: `make soak`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Client, Request};
use crate::nothing_leaks::resident;
use crate::on_postgres::Store;

const KEYS: usize = 20_000;
const FLOODING: usize = 16;
/// Of an address in a minute; the minute may turn once or twice while this runs.
const CAP: i64 = 30;

#[test]
#[ignore = "long: `make soak`"]
fn a_flood_of_invented_keys_costs_the_store_nothing_and_honest_clients_nothing() {
    let store = Store::fresh();
    store.execute("create extension pg_stat_statements");
    let edge = store.edge().start();
    edge.assert_metric("cfx_store_listening", &[], 1.0);
    edge.assert_healthy();
    let invented: Vec<_> = (0..KEYS)
        .map(|_| Request::get("/v1/models").key(cfx::admission::RawKey::mint().expect("randomness").expose()))
        .collect();
    let look_ups = || {
        let calls = "select coalesce(sum(calls), 0)::bigint from pg_stat_statements join pg_database on oid = dbid
                      where datname = current_database() and query like '%where key.public_id = $1%'
                        and query like '%account.disabled_at%'";
        store.number(calls)
    };
    let (asked_before, memory_before) = (look_ups(), resident(&edge));
    assert!(asked_before >= 1, "the honest key was looked up, and is found in the statistics");

    let over = Arc::new(AtomicBool::new(false));
    let honest = {
        let (over, http, request) = (Arc::clone(&over), edge.http, Request::get("/v1/models").key(&edge.key));
        std::thread::spawn(move || {
            let mut client = Client::plain(http);
            let mut times = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let begun = Instant::now();
                let answer = client.ask(&request);
                assert_eq!(answer.status, 200, "{answer}");
                times.push(begun.elapsed());
            }
            times
        })
    };
    let begun = Instant::now();
    let flooding: Vec<_> = invented
        .chunks(KEYS / FLOODING)
        .map(|keys| {
            let (http, keys) = (edge.http, keys.to_vec());
            std::thread::spawn(move || {
                let mut client = Client::plain(http);
                keys.iter().map(|key| client.ask(key).status).collect::<Vec<_>>()
            })
        })
        .collect();
    let statuses: Vec<_> = flooding.into_iter().flat_map(|thread| thread.join().expect("a client")).collect();
    let took = begun.elapsed();
    over.store(true, Ordering::SeqCst);
    let mut times = honest.join().expect("the honest client was always served");

    let (asked, memory) = (look_ups() - asked_before, resident(&edge));
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    times.sort();
    println!(
        "{KEYS} keys in {took:.2?}, {:.0} a second: {} answered 401, {} answered 429; {asked} look-ups; \
         honest meanwhile: {} answers, p99 {:.1?}; resident memory {memory_before} KiB before, {memory} KiB after",
        KEYS as f64 / took.as_secs_f64(),
        count(401),
        count(429),
        times.len(),
        times[times.len() * 99 / 100],
    );
    assert_eq!(count(401) + count(429), KEYS);
    let minutes = i64::try_from(took.as_secs() / 60).expect("a small number") + 2;
    // The honest key may be asked for again once in half a minute.
    assert!(asked <= CAP * minutes + 2 * minutes, "{asked} look-ups");
    assert!(memory < memory_before + 32 * 1024, "from {memory_before} to {memory} KiB");
    assert!(times.len() > 100 && times[times.len() * 99 / 100] < Duration::from_millis(250), "{times:?}");
}
