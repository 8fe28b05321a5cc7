//! A minute without Postgres, and Postgres at half a second an answer, under a steady load of whole answers and streams.
//! Both are long: `make soak`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::{CHAT, Client, Harness, Request, chat_body, streaming};
use crate::on_postgres::Store;
use crate::support::postgres::Server;

const USERS: usize = 8;
/// Clients that ask in turn, so that a slow answer delays no other request.
const CLIENTS: u32 = 40;
/// Each client's pace: 200 requests a second together.
const PACE: Duration = Duration::from_millis(200);

/// One request: when it was due, and how long from then, and from when it was sent, until the last byte.
#[derive(Clone, Copy)]
struct Sample {
    due: Instant,
    took: Duration,
    answered_in: Duration,
}

struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Sample>>>,
}

impl Load {
    fn start(edge: &Harness) -> Self {
        let keys: Vec<_> = (0..USERS).map(|user| edge.new_key(&format!("user{user}@example.org"), &[])).collect();
        let over = Arc::new(AtomicBool::new(false));
        let begin = Instant::now();
        let client = |number: u32| {
            let key = &keys[number as usize % USERS];
            let body = if number.is_multiple_of(2) { chat_body() } else { streaming(chat_body()) };
            let request = Request::post(CHAT, body.to_string()).key(key);
            let (over, first, http) = (Arc::clone(&over), begin + PACE * number / CLIENTS, edge.http);
            std::thread::spawn(move || ask_at_a_pace(http, &request, first, &over))
        };
        Self { clients: (0..CLIENTS).map(client).collect(), over }
    }

    fn end(self) -> Vec<Sample> {
        self.over.store(true, Ordering::SeqCst);
        self.clients.into_iter().flat_map(|client| client.join().expect("every request is answered")).collect()
    }
}

/// Any answer but a whole 200 fails.
fn ask_at_a_pace(edge: SocketAddr, request: &Request, first: Instant, over: &AtomicBool) -> Vec<Sample> {
    let mut client = Client::plain(edge);
    let (mut samples, mut due) = (Vec::new(), first);
    while !over.load(Ordering::SeqCst) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        let answer = client.ask(request);
        assert!(answer.status == 200 && answer.complete, "{answer}");
        samples.push(Sample { due, took: due.elapsed(), answered_in: sent.elapsed() });
        due += PACE;
    }
    samples
}

/// What the requests of a span took, in milliseconds.
struct Times {
    median: f64,
    p99: f64,
    most: f64,
}

fn times(what: &str, samples: &[Sample], span: std::ops::Range<Instant>) -> Times {
    let mut took: Vec<_> = samples
        .iter()
        .filter(|sample| span.contains(&sample.due))
        .map(|sample| sample.took.as_secs_f64() * 1e3)
        .collect();
    took.sort_by(f64::total_cmp);
    assert!(!took.is_empty(), "no request in {what}");
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    let times = Times { median: at(50), p99: at(99), most: at(100) };
    println!(
        "{what}: {} requests, median {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        took.len(),
        times.median,
        times.p99,
        times.most
    );
    times
}

fn listens(edge: &Harness) {
    edge.assert_metric("cfx_store_listening", &[], 1.0);
}

fn micros(moment: SystemTime) -> u128 {
    moment.duration_since(UNIX_EPOCH).expect("after 1970").as_micros()
}

#[test]
#[ignore = "long: `make soak`"]
fn a_minute_without_the_database_costs_no_request_no_time_and_no_row() {
    let server = Server::private();
    let store = Store::on(&server);
    let mut edge = store.edge().start();
    listens(&edge);
    let load = Load::start(&edge);
    let second = Duration::from_secs(1);
    std::thread::sleep(3 * second); // not measured: every key is asked for once
    let begun = Instant::now();
    std::thread::sleep(20 * second);
    let halted = Instant::now();
    server.halt();
    std::thread::sleep((halted + 60 * second).saturating_duration_since(Instant::now()));
    let resumed = Instant::now();
    server.resume();
    let (back, wall) = (Instant::now(), SystemTime::now());
    // What was asked for before its return, by the edge's own clock, which is this one.
    let before = format!("select count(*) from request_logs where created_at < to_timestamp({} / 1e6)", micros(wall));
    let mut rows = store.number(&before);
    let mut grown = Instant::now();
    while grown.elapsed() < 3 * second {
        let now = store.number(&before);
        if now > rows {
            (rows, grown) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let caught_up = grown - back;
    let samples = load.end();
    let ended = Instant::now();

    let usual = times("before", &samples, begun..halted);
    times("first second of the outage", &samples, halted..halted + second);
    times("second to fifth second", &samples, halted + second..halted + 5 * second);
    let without = times("the whole outage", &samples, halted..resumed);
    times("while it starts again, and a second more", &samples, resumed..back + second);
    times("afterwards", &samples, back + second..ended);
    println!("every row of what came before its return is there {:.1} s after it", caught_up.as_secs_f64());
    assert!(caught_up < 10 * second, "{caught_up:?}");
    assert!(without.p99 < 2.0 * usual.p99.max(10.0), "{} ms before, {} ms during", usual.p99, without.p99);
    assert!(edge.process.stop().success());
    let served = i64::try_from(samples.len()).expect("a small number");
    let written = store.number("select count(*) from request_logs where status = 'success'");
    assert_eq!(written, served, "every answer has its row");
    assert_eq!(store.number(&before), rows, "nothing of before the return came later");
    let counted = store.number("select sum(request_count)::bigint from usage_counters");
    assert_eq!(counted, served, "the day's count is the rows'");
    assert!(usual.median < 50.0, "the machine was too busy to measure on: {} ms", usual.median);
}

#[test]
#[ignore = "long: `make soak`"]
fn half_a_second_an_answer_of_the_database_is_waited_for_by_nobody() {
    let store = Store::fresh();
    let (proxy, url) = store.proxied();
    let edge = Harness::builder().environment("DATABASE_URL", &url).quota(2_000).start();
    listens(&edge);
    let load = Load::start(&edge);
    let second = Duration::from_secs(1);
    std::thread::sleep(3 * second); // not measured: every key is asked for once
    let begun = Instant::now();
    std::thread::sleep(5 * second);
    let slowed = Instant::now();
    proxy.delay(Duration::from_millis(500));
    // Each change has every key asked for again, and most leases end in a span this long.
    for _ in 0..10 {
        std::thread::sleep(2 * second);
        store.execute("select cfx.say('key_channel', '')");
    }
    let ended = Instant::now();
    let samples = load.end();
    times("before", &samples, begun..slowed);
    times("at half a second an answer", &samples, slowed..ended);
    let longest = samples.iter().map(|sample| sample.answered_in).max().expect("requests");
    println!("the longest from sending to the last byte: {longest:.1?}");
    // The edge's own work, and a busy machine's delays, come on top.
    assert!(longest < Duration::from_millis(250 + 100), "{longest:?}");
}
