//! Two edges that share one limit of 1,000: what a `kill -9` of one of them costs, and who gives up what lies unused.
//! On Postgres alone, and counting in Redis before it: each promise is one, whatever counts.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::client::PATIENCE;
use crate::harness::{CHAT, Harness, Process, Request, chat_body};
use crate::on_postgres::{Store, eventually};
use crate::support::redis;

const LIMIT: usize = 1_000;
/// The most that an edge which knows of another holds unused: one lease.
const ONE_LEASE: usize = 32;
const CLIENTS: u32 = 64;

/// Dropped in this order: the edges before what they count in.
struct Pair {
    edges: [Harness; 2],
    store: Store,
    redis: Option<redis::Server>,
}

impl Pair {
    fn on_postgres(limit: u32) -> Self {
        Self::start(limit, None)
    }

    fn on_redis(limit: u32) -> Self {
        Self::start(limit, Some(redis::Server::private()))
    }

    fn start(limit: u32, redis: Option<redis::Server>) -> Self {
        let store = Store::fresh();
        let edge = || {
            let builder = store.edge().quota(limit);
            match &redis {
                Some(redis) => builder.environment("REDIS_URL", &redis.url()).start(),
                None => builder.start(),
            }
        };
        let edges = [edge(), edge()];
        edges.iter().for_each(|edge| edge.assert_metric("cfx_store_listening", &[], 1.0));
        Self { edges, store, redis }
    }

    /// Ids of the requests that either upstream has seen.
    fn reached(&self) -> HashSet<String> {
        let requests = self.edges.iter().flat_map(|edge| edge.upstream.requests());
        requests.map(|request| request.header("x-request-id").expect("an id").to_owned()).collect()
    }

    fn start_again(&mut self, edge: usize) {
        let edge = &mut self.edges[edge];
        edge.process = Process::run(&edge.conf(), &edge.data(), edge.admin).expect("cfx starts again");
    }

    /// Waits until `count` requests are at the upstreams together.
    fn until_reached(&self, count: usize) {
        eventually("requests come", || self.edges.iter().map(|edge| edge.upstream.count()).sum::<usize>() >= count);
    }

    /// Stops both, so that all is written, and hands back the ids of admitted requests that have a row.
    fn stop_and_read(&mut self) -> Vec<String> {
        self.edges.iter_mut().for_each(|edge| assert!(edge.process.stop().success()));
        self.store.texts("select request_id::text from request_logs where http_status <> 429")
    }

    fn counted(&self) -> i64 {
        self.store.number("select coalesce(sum(request_count), 0)::bigint from usage_counters")
    }

    /// What either edge has been granted and has not reported as used.
    fn unused(&self) -> i64 {
        match &self.redis {
            None => self.store.number("select coalesce(sum(granted - used), 0)::bigint from cfx.quota_leases"),
            Some(redis) => leased_in(redis),
        }
    }
}

/// The same of the one day that a Redis counts.
fn leased_in(server: &redis::Server) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = ::redis::Client::open(server.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
        let days: Vec<String> = ::redis::cmd("KEYS").arg("*:quota").query_async(&mut connection).await.expect("keys");
        assert_eq!(days.len(), 1, "one user, one day: {days:?}");
        ::redis::cmd("HGET").arg(&days[0]).arg("leased").query_async(&mut connection).await.expect("a number")
    })
}

/// Clients of one key that ask either edge at random, over and over, and go on when one of them is gone.
struct Crowd {
    may_end: Arc<AtomicBool>,
    asking: Vec<JoinHandle<usize>>,
}

impl Crowd {
    fn start(edges: &[Harness; 2]) -> Self {
        let may_end = Arc::new(AtomicBool::new(false));
        let bytes =
            Request::post(CHAT, chat_body().to_string()).key(&edges[0].key).header("Connection", "close").bytes();
        let addresses = edges.each_ref().map(|edge| edge.http);
        let client = |number: u32| {
            let (bytes, may_end) = (bytes.clone(), Arc::clone(&may_end));
            std::thread::spawn(move || ask_until_all_refuse(addresses, &bytes, number, &may_end))
        };
        Self { asking: (0..CLIENTS).map(client).collect(), may_end }
    }

    /// Lets each client go once it has found that both edges admit nothing more; how many requests were answered.
    fn end(self) -> usize {
        self.may_end.store(true, Ordering::SeqCst);
        self.asking.into_iter().map(|client| client.join().expect("a client")).sum()
    }
}

fn ask_until_all_refuse(edges: [SocketAddr; 2], request: &[u8], seed: u32, may_end: &AtomicBool) -> usize {
    let deadline = Instant::now() + PATIENCE;
    let (mut answered, mut random, mut closed) = (0, 0x9E37_79B9 ^ seed, [false; 2]);
    while closed != [true; 2] {
        assert!(Instant::now() < deadline, "the edges neither refuse nor run dry");
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223_u32);
        let edge = usize::from(random >> 31 == 1);
        let ending = may_end.load(Ordering::SeqCst);
        let status = ask(edges[edge], request);
        answered += usize::from(status == Some(200));
        // A refusal counts where it was asked for after all was at rest.
        closed[edge] = ending && status != Some(200);
        match status {
            Some(200) => closed = [false; 2],
            Some(429) | None => std::thread::sleep(Duration::from_millis(10)),
            other => panic!("neither admitted nor refused: {other:?}"),
        }
    }
    answered
}

/// The status of a whole answer; None where the edge is not there or dies over it.
fn ask(edge: SocketAddr, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(edge).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let whole = answer.trim_end().ends_with('}');
    answer.split(' ').nth(1).filter(|_| whole)?.parse().ok()
}

/// Somewhere between the first requests and the last.
fn some_way_through() -> usize {
    let mut random = [0; 2];
    getrandom::fill(&mut random).expect("randomness");
    50 + usize::from(u16::from_le_bytes(random)) % 850
}

/// Every request that an upstream saw has its one row, and no row is there beside them but those of requests that were
/// written down and died on their way. Those are handed back.
fn died_on_their_way(reached: &HashSet<String>, rows: &[String]) -> usize {
    let written: HashSet<_> = rows.iter().cloned().collect();
    assert_eq!(written.len(), rows.len(), "no request has two rows");
    let missing: Vec<_> = reached.difference(&written).collect();
    assert!(missing.is_empty(), "requests without a row: {missing:?}");
    written.len() - reached.len()
}

/// One edge is killed and started again on its data while the clients go on.
fn killed_and_started_again(mut pair: Pair) {
    let moment = some_way_through();
    let crowd = Crowd::start(&pair.edges);
    pair.until_reached(moment);
    pair.edges[1].process.kill();
    pair.start_again(1);
    let answered = crowd.end();
    let rows = pair.stop_and_read();
    let reached = pair.reached();
    let lost = died_on_their_way(&reached, &rows);
    eprintln!("killed at {moment}: {answered} answered, {} reached, {lost} died on their way", reached.len());
    assert!(answered <= reached.len() && reached.len() <= LIMIT, "killed at {moment}: {}", reached.len());
    assert_eq!(reached.len() + lost, LIMIT, "killed at {moment}: {lost} of these died on their way");
    assert_eq!(pair.counted(), 1_000, "killed at {moment}");
}

/// One edge is killed and stays away. What it held unused is lost to the day; a start afterwards tells how much.
fn killed_for_good(mut pair: Pair) {
    let moment = some_way_through();
    let crowd = Crowd::start(&pair.edges);
    pair.until_reached(moment);
    pair.edges[1].process.kill();
    crowd.end();
    let reached = pair.reached();
    pair.start_again(1);
    let rows = pair.stop_and_read();
    let lost = died_on_their_way(&reached, &rows);
    let unused = LIMIT.checked_sub(reached.len() + lost).expect("never a request too many");
    eprintln!("killed at {moment}: {} reached, {lost} died on their way, {unused} lay unused", reached.len());
    assert!(unused <= ONE_LEASE, "killed at {moment}: {unused} lay unused with the dead edge");
    assert_eq!(usize::try_from(pair.counted()).ok(), Some(reached.len() + lost), "its spool told what was used");
}

/// One edge is asked now and then, and keeps what it has in between; the other until it refuses.
fn a_slow_user_keeps_nothing_from_a_busy_one(pair: &Pair) {
    let [slow, busy] = &pair.edges;
    let served = |edge: &Harness| usize::from(edge.chat().status == 200);
    let mut admitted = served(slow);
    let unused = pair.unused();
    assert!(unused >= 5, "the slow edge holds {unused} unused: there is something to give up");
    let mut asked = 0;
    while busy.chat().status == 200 {
        (admitted, asked) = (admitted + 1, asked + 1);
        if asked % 8 == 0 && admitted < 100 {
            admitted += served(slow);
        }
    }
    assert_eq!(admitted, 120, "when the busy edge refuses, nothing is left anywhere");
    assert_eq!(served(slow), 0);
}

#[test]
fn an_edge_killed_and_started_again_leaves_the_limit_exact_on_postgres() {
    killed_and_started_again(Pair::on_postgres(1_000));
}

#[test]
fn an_edge_killed_and_started_again_leaves_the_limit_exact_on_redis() {
    killed_and_started_again(Pair::on_redis(1_000));
}

#[test]
fn an_edge_killed_for_good_takes_one_lease_along_at_most_on_postgres() {
    killed_for_good(Pair::on_postgres(1_000));
}

#[test]
fn an_edge_killed_for_good_takes_one_lease_along_at_most_on_redis() {
    killed_for_good(Pair::on_redis(1_000));
}

#[test]
fn what_a_slow_edge_holds_unused_is_given_up_before_the_other_refuses_on_postgres() {
    a_slow_user_keeps_nothing_from_a_busy_one(&Pair::on_postgres(120));
}

#[test]
fn what_a_slow_edge_holds_unused_is_given_up_before_the_other_refuses_on_redis() {
    a_slow_user_keeps_nothing_from_a_busy_one(&Pair::on_redis(120));
}
