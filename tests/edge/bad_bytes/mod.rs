//! Bytes that are no request, or two: each row of `docs/guards.md` over real sockets, with what stands behind asked what
//! it has seen. `make soak` asks nginx and uvicorn, which read HTTP in ways of their own.

mod cases;
mod http2;
mod origins;
mod table;

use std::time::{Duration, Instant};

use crate::harness::client::PATIENCE;
use crate::harness::{Client, Harness};
use cases::{Case, cases};
use origins::{Nginx, Origin, Uvicorn};
use table::{Row, rows};

/// `header_timeout` of these tests: long enough for a busy machine to read a whole head, short enough to be waited for.
const DEADLINE: Duration = Duration::from_secs(2);

/// An edge before `origin`.
fn edge(origin: &dyn Origin) -> Harness {
    Harness::builder().web_target(&origin.target()).edge("guards: { header_timeout: 2s }").start()
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

fn play_all(origin: &dyn Origin) {
    let edge = edge(origin);
    let (rows, cases) = (rows("HTTP/1.1"), cases());
    edge.assert_healthy();
    let sockets = open_files(&edge);
    for listener in [Listener::Plain, Listener::Tls] {
        for case in &cases {
            let row = rows.get(case.name).unwrap_or_else(|| panic!("{}: no row of docs/guards.md", case.name));
            play(&edge, origin, case, row, listener);
        }
        drip(&edge, origin, &rows["a byte now and then"], listener);
    }
    assert_eq!(cases.len() + 1, rows.len(), "every row is a case");
    edge.assert_healthy();
    // Kept connections to what stands behind come and go: a few, and not one a case.
    assert!(open_files(&edge) <= sockets + 8, "{} descriptors before, {} now", sockets, open_files(&edge));
}

/// A good head, a byte at a time.
fn drip(edge: &Harness, origin: &dyn Origin, row: &Row, listener: Listener) {
    let (had, counted, begun) = (origin.seen().len(), guarded(edge, row), Instant::now());
    let mut client = listener.client(edge);
    for byte in b"GET /one HTTP/1.1\r\nHost: cfx.test\r\nX-Slow: yes\r\n".iter().cycle() {
        client.send(&[*byte]);
        if begun.elapsed() > DEADLINE {
            break;
        }
        std::thread::sleep(DEADLINE / 30);
    }
    let answer = client.answer();
    assert_eq!(Some(answer.status), row.status, "{answer}");
    assert_eq!(answer.code(), "header_timeout");
    assert_eq!(seen_since(edge, origin, had), [""; 0]);
    edge.assert_metric("cfx_guard_total", &["header_timeout"], counted + 1.0);
}

fn open_files(edge: &Harness) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", edge.process.id())).map_or(0, Iterator::count)
}

#[test]
fn each_is_answered_as_the_table_says_and_nothing_behind_sees_two_of_it() {
    play_all(&origins::Raw::start());
}

#[test]
#[ignore = "wants nginx: `make soak`"]
fn nginx_behind_sees_no_two_of_one_either() {
    play_all(&Nginx::start());
}

#[test]
#[ignore = "wants uvicorn: `make soak`"]
fn uvicorn_behind_sees_no_two_of_one_either() {
    play_all(&Uvicorn::start());
}

#[test]
fn connections_that_come_to_nothing_are_closed_in_time() {
    let origin = origins::Raw::start();
    let edge = edge(&origin);
    let rows = rows("Connections");
    let hello = b"\x16\x03\x01\x00\xee\x01\x00\x00\xea\x03\x03".to_vec();
    for (name, listener, bytes) in [
        ("nothing at all", edge.http, Vec::new()),
        ("HTTP where TLS is spoken", edge.https, b"GET /one HTTP/1.1\r\nHost: cfx.test\r\n\r\n".to_vec()),
        ("half a ClientHello", edge.https, hello),
    ] {
        let counted = guarded(&edge, &rows[name]);
        let begun = Instant::now();
        let mut client = Client::plain(listener);
        client.send(&bytes);
        client.read_to_close();
        assert!(begun.elapsed() < DEADLINE + PATIENCE / 3, "{name}: {:?}", begun.elapsed());
        edge.assert_metric("cfx_guard_total", &[rows[name].reason.as_deref().expect("a reason")], counted + 1.0);
    }
    assert_eq!(origin.seen(), [""; 0]);
    edge.assert_healthy();
}

#[test]
fn nobody_renegotiates() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let origin = origins::Raw::start();
    let edge = edge(&origin);
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-quiet", "-no_ign_eof", "-connect", &edge.https.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl, which scripts/setup brings");
    let mut commands = openssl.stdin.take().expect("a pipe");
    // `R` on a line of its own is the command; what follows is a request, had it been granted.
    let _ = commands.write_all(b"R\n");
    let deadline = Instant::now() + PATIENCE;
    while openssl.try_wait().expect("a child").is_none() {
        assert!(Instant::now() < deadline, "the connection stays");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(origin.seen(), [""; 0]);
    edge.assert_healthy();
}
