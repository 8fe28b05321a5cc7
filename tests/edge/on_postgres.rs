//! The edge on a real Postgres: one by itself, two that share it, and one whose database goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::harness::client::PATIENCE;
use crate::harness::{Builder, CHAT, Client, Harness, Request, chat_body};
use crate::support::postgres::{Database, Server};
use crate::support::proxy::Proxy;

/// A database and a way to ask it from a test that is not asynchronous.
pub struct Store {
    runtime: Runtime,
    pub database: Database,
}

impl Store {
    pub fn fresh() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let database = runtime.block_on(Database::fresh());
        Self { runtime, database }
    }

    pub fn on(server: &Server) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let database = runtime.block_on(server.database());
        Self { runtime, database }
    }

    pub fn edge(&self) -> Builder {
        Harness::builder().environment("DATABASE_URL", &self.database.url())
    }

    pub fn number(&self, sql: &str) -> i64 {
        self.runtime
            .block_on(async { self.database.connect().await.query_one(sql, &[]).await.expect("a number").get(0) })
    }

    /// The first column of every row, as text.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        self.runtime.block_on(async {
            let rows = self.database.connect().await.query(sql, &[]).await.expect("rows");
            rows.iter().map(|row| row.get(0)).collect()
        })
    }

    pub fn execute(&self, sql: &str) {
        self.runtime
            .block_on(async { self.database.connect().await.batch_execute(sql).await.expect("it can be done") });
    }

    fn rows(&self) -> i64 {
        self.number("select count(*) from request_logs")
    }

    fn counted(&self) -> i64 {
        self.number("select coalesce(sum(request_count), 0)::bigint from usage_counters")
    }

    /// A proxy before the server, and the URL by way of it.
    pub fn proxied(&self) -> (Proxy, String) {
        let url = self.database.url();
        let (user, rest) = url.split_once('@').expect("a user");
        let (server, name) = rest.split_once('/').expect("a database");
        let proxy = Proxy::before(server.parse().expect("an address"));
        let url = format!("{user}@{}/{name}", proxy.address());
        (proxy, url)
    }
}

/// Waits for what follows by moments.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn listens(edge: &Harness) {
    edge.assert_metric("cfx_store_listening", &[], 1.0);
}

#[test]
fn a_request_is_admitted_counted_and_written() {
    let store = Store::fresh();
    let mut edge = store.edge().quota(5).start();
    for _ in 0..3 {
        assert_eq!(edge.chat().status, 200);
    }
    eventually("three rows", || store.rows() == 3);
    let written = "select count(*) from request_logs where status = 'success' and stage = 'plan' and total_tokens > 0";
    assert_eq!(store.number(written), 3);
    edge.restart();
    let served = (0..4).filter(|_| edge.chat().status == 200).count();
    assert_eq!(served, 2, "three of five were used before");
    assert!(edge.process.stop().success());
    assert_eq!(store.counted(), 5);
    assert_eq!(store.number("select sum(answered)::bigint from usage_counters"), 5);
    assert_eq!(store.number("select count(*) from cfx.quota_leases"), 0, "every lease was given back");
    assert!(!edge.data().join("cfx.db").exists(), "there is one store, and it is elsewhere");
}

#[test]
fn two_edges_admit_together_exactly_what_the_limit_says() {
    let store = Store::fresh();
    store.execute("create extension pg_stat_statements");
    let mut edges = [store.edge().quota(1_000).start(), store.edge().quota(1_000).start()];
    edges.iter().for_each(listens);
    let asking: Vec<_> = (0..64)
        .map(|client| {
            let ways: Vec<_> = edges.iter().map(|edge| (edge.http, edge.request(CHAT, &chat_body()))).collect();
            std::thread::spawn(move || {
                let mut clients: Vec<_> = ways.iter().map(|(http, _)| Client::plain(*http)).collect();
                let mut random = 0x9E37_79B9_u32 ^ client;
                let asked = (0..20).map(|_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let edge = usize::from(random >> 31 == 1);
                    clients[edge].ask(&ways[edge].1).status
                });
                asked.collect::<Vec<_>>()
            })
        })
        .collect();
    let statuses: Vec<_> = asking.into_iter().flat_map(|thread| thread.join().expect("a client")).collect();
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(200), count(429)), (1_000, 280));
    let touches = "select sum(calls)::bigint from pg_stat_statements join pg_database on oid = dbid
                    where datname = current_database()
                      and (query like '%cfx.grant_lease($1%' or query like '%cfx.settle_leases($1%')";
    let touches = store.number(touches);
    assert!((1..=120).contains(&touches), "{touches} calls of the store for 1,000 requests");
    edges.iter_mut().for_each(|edge| assert!(edge.process.stop().success()));
    assert_eq!(store.counted(), 1_000);
    let rows = store.number("select count(*) from request_logs where status = 'success'");
    assert_eq!(rows, 1_000);
}

#[test]
fn a_key_revoked_by_way_of_one_edge_is_refused_by_the_other_within_a_second() {
    let store = Store::fresh();
    let (one, other) = (store.edge().start(), store.edge().start());
    listens(&other);
    let key = one.new_key("grace@example.org", &[]);
    let request = Request::post(CHAT, chat_body().to_string()).key(&key);
    assert_eq!(other.ask(&request).status, 200);
    one.revoke(&key);
    let revoked = Instant::now();
    eventually("a revocation", || other.ask(&request).status == 401);
    assert!(revoked.elapsed() < Duration::from_secs(1), "{:?}", revoked.elapsed());
}

#[test]
fn a_listener_that_is_cut_off_shows_in_the_metrics() {
    let store = Store::fresh();
    let (proxy, direct_url) = store.proxied();
    let edge = store.edge().environment("DIRECT_DATABASE_URL", &direct_url).start();
    listens(&edge);
    proxy.cut();
    edge.assert_metric("cfx_store_listening", &[], 0.0);
    edge.assert_healthy();
    proxy.mend();
    listens(&edge);
}

#[test]
fn a_database_that_stops_under_load_costs_no_request_and_no_row() {
    let server = Server::private();
    let store = Store::on(&server);
    let mut edge = store.edge().start();
    listens(&edge);
    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (over, served) = (Arc::clone(&over), Arc::clone(&served));
            let (http, request) = (edge.http, edge.request(CHAT, &chat_body()));
            std::thread::spawn(move || {
                let mut client = Client::plain(http);
                while !over.load(Ordering::SeqCst) {
                    let answer = client.ask(&request);
                    assert_eq!(answer.status, 200, "{answer}");
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let more = |many: usize| {
        let enough = served.load(Ordering::SeqCst) + many;
        eventually("requests are served", || served.load(Ordering::SeqCst) >= enough);
    };
    more(200);
    server.halt();
    more(1_000);
    server.resume();
    more(200);
    over.store(true, Ordering::SeqCst);
    asking.into_iter().for_each(|thread| thread.join().expect("every request was served"));
    let served = i64::try_from(served.load(Ordering::SeqCst)).expect("a small number");
    eventually("every row is there", || store.rows() == served);
    assert!(edge.process.stop().success());
    assert_eq!(store.counted(), served, "what was counted without the store has reached it");
}

#[test]
fn no_request_waits_for_a_slow_database_longer_than_a_quarter_of_a_second() {
    let store = Store::fresh();
    let (proxy, url) = store.proxied();
    let edge = Harness::builder().environment("DATABASE_URL", &url).quota(60).start();
    listens(&edge);
    let fresh = edge.new_key("grace@example.org", &[]);
    assert_eq!(edge.chat().status, 200);
    proxy.delay(Duration::from_millis(500));
    // The edge's own work, and a busy machine's delays, come on top.
    let patience = Duration::from_millis(250 + 150);
    for _ in 0..50 {
        let begun = Instant::now();
        assert_eq!(edge.chat().status, 200);
        assert!(begun.elapsed() < patience, "{:?}", begun.elapsed());
    }
    let begun = Instant::now();
    let answer = edge.ask(&Request::post(CHAT, chat_body().to_string()).key(&fresh));
    assert_eq!(answer.code(), "store_unavailable", "a key never seen: {answer}");
    assert!(begun.elapsed() < patience, "{:?}", begun.elapsed());
}
