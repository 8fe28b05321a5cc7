//! Two edges that count in one Redis, over one Postgres: a limit is one limit, whichever edge is asked, and whatever
//! becomes of Redis or of an edge.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::client::PATIENCE;
use crate::harness::{CHAT, Client, Harness, Process, Reply, Request, cfx, chat_body, gate, streaming, wire};
use crate::support::postgres::Database;
use crate::support::redis::Server;

/// Dropped in this order: the edges before what they count in.
struct Fleet {
    edges: [Harness; 2],
    redis: Server,
    database: Database,
    runtime: tokio::runtime::Runtime,
}

impl Fleet {
    fn start(limit: u32, streams: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (redis, database) = (Server::private(), runtime.block_on(Database::fresh()));
        let installation = || {
            let builder = Harness::builder().quota(limit).streams(streams);
            builder.environment("DATABASE_URL", &database.url()).environment("REDIS_URL", &redis.url())
        };
        let edges = [installation().start(), installation().start()];
        Self { edges, redis, database, runtime }
    }

    /// A number that Postgres answers.
    fn number(&self, sql: &str) -> i64 {
        self.runtime.block_on(async {
            let row = self.database.connect().await.query_one(sql, &[]).await.expect("the database answers");
            row.get(0)
        })
    }

    /// Waits until Postgres counts this many requests.
    fn until_counted(&self, count: i64, within: Duration) {
        let (begun, sql) = (Instant::now(), "select coalesce(sum(request_count), 0)::bigint from usage_counters");
        while self.number(sql) != count {
            assert!(begun.elapsed() < within, "Postgres counts {} after {within:?}, not {count}", self.number(sql));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn redis(&self, command: &[&str]) -> String {
        self.runtime.block_on(async {
            let client = redis::Client::open(self.redis.url()).expect("a URL");
            let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
            let mut wire = redis::cmd(command[0]);
            wire.arg(&command[1..]);
            let value: redis::Value = wire.query_async(&mut connection).await.expect("Redis takes it");
            redis::from_redis_value(value).unwrap_or_default()
        })
    }

    /// Scripts run so far, by the server's own count.
    fn scripts_run(&self) -> u32 {
        let text = self.redis(&["INFO", "commandstats"]);
        let line = text.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().expect("a number"))
    }

    /// Every client asks one edge or the other, `each` times; how many were admitted, and how many refused.
    fn hammer(&self, clients: usize, each: usize) -> (usize, usize) {
        let asking: Vec<_> = (0..clients)
            .map(|client| {
                let edges: Vec<_> = self.edges.iter().map(|edge| edge.http).collect();
                let request = Arc::new(Request::post(CHAT, chat_body().to_string()).key(&self.edges[0].key));
                std::thread::spawn(move || {
                    let mut connections = edges.into_iter().map(Client::plain).collect::<Vec<_>>();
                    let status = |turn: usize| connections[(client + turn * 7 / 3) % 2].ask(&request).status;
                    (0..each).map(status).collect::<Vec<_>>()
                })
            })
            .collect();
        let statuses: Vec<u16> = asking.into_iter().flat_map(|thread| thread.join().expect("a client")).collect();
        let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
        assert_eq!(count(200) + count(429), statuses.len(), "{statuses:?}");
        (count(200), count(429))
    }
}

#[test]
fn sixty_four_clients_at_two_edges_get_exactly_a_thousand_requests() {
    let fleet = Fleet::start(1_000, 2);
    let before = fleet.scripts_run();
    let (admitted, refused) = fleet.hammer(64, 20);
    assert_eq!((admitted, refused), (1_000, 280));
    let scripts = fleet.scripts_run() - before;
    assert!(scripts <= 120, "{scripts} scripts for 1,000 requests");
    assert_eq!(fleet.edges[0].upstream.count() + fleet.edges[1].upstream.count(), 1_000);
    fleet.until_counted(1_000, Duration::from_secs(4));
}

#[test]
fn redis_emptied_in_the_midst_of_it_admits_not_one_more() {
    let fleet = Fleet::start(600, 2);
    let (first, _) = fleet.hammer(16, 20);
    assert_eq!(first, 320);
    fleet.redis(&["FLUSHALL"]);
    let (second, refused) = fleet.hammer(16, 20);
    assert_eq!((second, refused), (280, 40));
    fleet.until_counted(600, Duration::from_secs(4));
}

#[test]
fn an_edge_that_goes_leaves_nothing_uncounted() {
    let mut fleet = Fleet::start(40, 2);
    assert_eq!((0..10).filter(|_| fleet.edges[0].chat().status == 200).count(), 10);
    assert!(fleet.edges[0].process.stop().success());
    fleet.until_counted(10, Duration::from_secs(1));
    assert_eq!((0..40).filter(|_| fleet.edges[1].chat().status == 200).count(), 30);
}

#[test]
fn a_users_streams_are_capped_on_both_edges_together() {
    let fleet = Fleet::start(1_000, 2);
    let [one, other] = &fleet.edges;
    let open = |edge: &Harness| {
        let (opener, closed) = gate();
        edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, false), closed));
        (edge.chat_stream_opening(&opener), opener)
    };
    let (first, first_opener) = open(one);
    let (_second, _second_opener) = open(other);
    for edge in [one, other] {
        let refused = edge.post(CHAT, &streaming(chat_body()));
        assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_concurrent_requests"));
        assert_eq!(edge.chat().status, 200, "what is no stream is not affected");
    }
    drop(first_opener);
    assert!(first.rest().1, "the first ends properly");
    until("the place is free on the other edge", || {
        let stream = other.chat_stream();
        let status = stream.status;
        stream.rest();
        status == 200
    });
}

#[test]
fn the_streams_of_a_killed_edge_are_free_within_fifteen_seconds() {
    let fleet = Fleet::start(1_000, 1);
    let [one, other] = &fleet.edges;
    let (opener, closed) = gate();
    one.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, false), closed));
    let stream = one.chat_stream_opening(&opener);
    assert_eq!(other.post(CHAT, &streaming(chat_body())).status, 429);
    one.process.signal("KILL");
    let killed = Instant::now();
    until("the dead edge's place is free", || other.post(CHAT, &streaming(chat_body())).status == 200);
    assert!(killed.elapsed() <= Duration::from_secs(15), "{:?}", killed.elapsed());
    drop(stream);
}

#[test]
fn without_redis_each_edge_goes_on_by_itself_and_says_so() {
    let mut fleet = Fleet::start(1_000, 1);
    let [one, _] = &fleet.edges;
    assert_eq!(one.chat().status, 200);
    fleet.redis.kill();
    let edge = &fleet.edges[0];
    for _ in 0..40 {
        let begun = Instant::now();
        assert_eq!(edge.chat().status, 200);
        assert_eq!(edge.post(CHAT, &streaming(chat_body())).status, 200);
        // Two waits of a quarter of a second at the most, and the time of two answers on a busy machine.
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    let ready = |edge: &Harness| {
        Client::plain(edge.admin).ask(&Request::get("/-/ready").instead("Host", &edge.admin.to_string()))
    };
    until("the operator is told", || ready(edge).text().contains("ready, but REDIS_URL (127.0.0.1:"));
    assert_eq!(ready(edge).status, 200);
    assert!(edge.metric("cfx_streams_unshared_total", &[]) >= 1.0);
    fleet.redis.restart();
    let edge = &fleet.edges[0];
    until("Redis is used again", || ready(edge).text() == "ready\n");
    fleet.until_counted(81, Duration::from_secs(10));
}

#[test]
fn a_redis_url_that_cannot_work_is_refused_and_one_that_may_yet_is_not() {
    let gone = {
        let mut server = Server::private();
        server.kill();
        server.url()
    };
    let edge = Harness::builder().environment("REDIS_URL", &gone).start();
    assert_eq!(edge.chat().status, 200);
    assert!(edge.process.log().contains("starting without Redis"), "{}", edge.process.log());

    for (url, part) in [
        ("cache:6379", "REDIS_URL is no address of a Redis (it has no scheme)"),
        ("http://:secret@127.0.0.1", "it begins with http://"),
        ("redis://:secret@127.0.0.1/one", "Invalid database number"),
    ] {
        let mut command = cfx();
        command.arg("run").arg("--conf").arg(edge.conf()).arg("--data").arg(edge.data()).env("REDIS_URL", url);
        let mut process = Process::spawn(command);
        assert_eq!(process.wait_for_exit().code(), Some(78), "{}", process.log());
        let log = process.log();
        assert!(log.contains(part) && !log.contains("secret"), "{url}: {log}");
    }
}

/// Waits for what no client can see otherwise, asking again and again.
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not yet: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
