//! Bytes that are no request, or two: each row of `docs/guards.md` over real sockets, with what stands behind asked what
//! it has seen. `make soak` asks nginx and uvicorn, which read HTTP in ways of their own.

mod cases;
mod connections;
mod drips;
pub mod health;
mod http2;
pub mod origins;
mod table;

use std::time::{Duration, Instant};

use crate::harness::client::PATIENCE;
use crate::harness::{Client, Harness};
use cases::{BEGUN, Case, bodies, heads};
use health::Health;
use origins::{Nginx, Origin, Raw, Uvicorn};
use table::{Row, rows};

/// `header_timeout` and `upload_stall` of these tests: long enough for a busy machine to read a whole head, short enough
/// to be waited for.
const DEADLINE: Duration = Duration::from_secs(2);

/// An edge before `origin`.
fn edge(origin: &dyn Origin) -> Harness {
    let guards = "guards: { header_timeout: 2s }";
    let edge = Harness::builder().web_target(&origin.target()).edge(guards).limit("upload_stall: 2s").start();
    seen_since(&edge, origin, 0);
    edge
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Listener {
    Plain,
    Tls,
}

impl Listener {
    fn client(self, edge: &Harness) -> Client {
        match self {
            Listener::Plain => edge.client(),
            Listener::Tls => edge.tls_client(),
        }
    }
}

/// Asks honestly, and hands back what came through since: the honest request is the last of it.
fn seen_since(edge: &Harness, origin: &dyn Origin, had: usize) -> Vec<String> {
    let mut client = edge.client();
    client.send(b"GET /honest HTTP/1.1\r\nHost: cfx.test\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().status, 200, "an honest request is served");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut seen = origin.seen().split_off(had);
        if seen.last().is_some_and(|last| last == "GET /honest") {
            seen.pop();
            seen.retain(|line| line != BEGUN);
            return seen;
        }
        assert!(Instant::now() < deadline, "the honest request is not in what the origin has seen: {seen:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn play(edge: &Harness, origin: &dyn Origin, case: &Case, row: &Row, listener: Listener) {
    let (name, had, counted) = (case.name, origin.seen().len(), guarded(edge, row));
    let mut client = listener.client(edge);
    client.send(&case.bytes);
    let answer = client.answer();
    match row.status {
        Some(status) => {
            assert_eq!(answer.status, status, "{name}: {answer}");
            assert_eq!(answer.header("connection"), Some("close"), "{name}: {answer}");
            assert!(answer.header("x-request-id").is_some() && answer.header("server").is_none(), "{name}: {answer}");
            assert_eq!(answer.json()["request_id"], answer.header("x-request-id").unwrap_or_default(), "{name}");
            assert!(client.answer_if_any().is_none(), "{name}: nothing more is answered");
        }
        None => assert_eq!(answer.status, 200, "{name}: {answer}"),
    }
    assert_eq!(seen_since(edge, origin, had), case.seen, "{name}: what the origin saw");
    if let Some(reason) = &row.reason {
        edge.assert_metric("cfx_guard_total", &[reason], counted + 1.0);
    }
}

fn guarded(edge: &Harness, row: &Row) -> f64 {
    row.reason.as_ref().map_or(0.0, |reason| edge.metric("cfx_guard_total", &[reason]))
}

fn play_all(heading: &str, cases: &[Case], origin: &dyn Origin) {
    let edge = edge(origin);
    let (rows, before) = (rows(heading), Health::of(&edge));
    for listener in [Listener::Plain, Listener::Tls] {
        for case in cases {
            let row = rows.get(case.name).unwrap_or_else(|| panic!("{}: no row of docs/guards.md", case.name));
            play(&edge, origin, case, row, listener);
        }
    }
    assert_eq!(cases.len(), rows.len(), "every row is a case");
    let begun = origin.seen().iter().filter(|line| *line == BEGUN).count();
    let broken = cases.iter().filter(|case| case.bytes.starts_with(BEGUN.as_bytes())).count();
    assert!(begun <= 2 * broken, "{begun} of {broken} broken bodies, twice");
    before.assert_unchanged(&edge);
}

#[test]
fn each_head_is_answered_as_the_table_says_and_nothing_behind_sees_two_of_it() {
    play_all("HTTP/1.1", &heads(), &Raw::start());
}

#[test]
fn each_body_is_answered_as_the_table_says_and_nothing_behind_sees_two_of_it() {
    play_all("Bodies over HTTP/1.1", &bodies(), &Raw::start());
}

#[test]
fn a_body_in_pieces_of_a_byte_is_whole_behind() {
    let origin = Raw::start();
    let edge = edge(&origin);
    for listener in [Listener::Plain, Listener::Tls] {
        let mut client = listener.client(&edge);
        client.send(cases::post("Transfer-Encoding: chunked\r\n", "").as_bytes());
        for byte in b"05\r\nhello\r\n0\r\nX-Trailer: a\r\n\r\n" {
            client.send(&[*byte]);
            std::thread::sleep(Duration::from_millis(3)); // so that most are read by themselves
        }
        assert_eq!(client.answer().status, 200);
        assert_eq!(origin.0.last().body, b"hello");
    }
}

#[test]
fn who_drips_is_told_so_in_time() {
    drips::play_all(&Raw::start());
}

#[test]
fn connections_that_come_to_nothing_are_closed_in_time() {
    connections::play_all(&Raw::start());
}

#[test]
fn frames_that_no_honest_client_sends_are_reset_or_end_their_connection() {
    http2::play_all(&Raw::start());
}

#[test]
#[ignore = "wants nginx: `make soak`"]
fn nginx_behind_sees_no_two_of_one_either() {
    behind(Nginx::start);
}

#[test]
#[ignore = "wants uvicorn: `make soak`"]
fn uvicorn_behind_sees_no_two_of_one_either() {
    behind(Uvicorn::start);
}

fn behind<O: Origin>(start: impl Fn() -> O) {
    play_all("HTTP/1.1", &heads(), &start());
    play_all("Bodies over HTTP/1.1", &bodies(), &start());
    drips::play_all(&start());
    connections::play_all(&start());
    http2::play_all(&start());
}
