//! A stop: readiness fails first, then connections are refused, streams run out, and the process goes.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::client::PATIENCE;
use crate::harness::process::run_of;
use crate::harness::scripted::Opener;
use crate::harness::{CHAT, Harness, Next, Process, Reply, Request, Streaming, chat_body, gate, ordinary, wire};
use crate::on_postgres::eventually;

const STREAMS: usize = 500;

/// As many open files as the system lets this process and its children have.
pub fn allow_open_files() {
    let allowed = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: allowed.maximum, ..allowed }).expect("it may have what it may have");
}

/// Of an upstream whose streams wait for the last of many to be opened, on a machine with much else to do.
pub const UNHURRIED: &str = "connect: 2s, first_byte: 60s, between_chunks: 60s, total: 120s";

/// Streams that have begun and wait for their openers to be dropped.
pub fn open_streams(edge: &Harness, count: usize) -> (Vec<Opener>, Vec<Streaming>) {
    let open = |_| {
        let (opener, closed) = gate();
        edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, true), closed));
        let stream = edge.chat_stream_opening(&opener);
        (opener, stream)
    };
    (0..count).map(open).unzip()
}

/// Every stream to its end, which must be its own.
pub fn assert_whole(streams: Vec<Streaming>) {
    for (number, stream) in streams.into_iter().enumerate() {
        let (events, complete) = stream.rest();
        assert!(complete && events.last().is_some_and(|last| last == wire::DONE), "stream {number}: {events:?}");
    }
}

/// How long connections are accepted must be far longer than a loaded machine stalls.
#[test]
fn a_stop_fails_readiness_then_refuses_connections_and_lets_five_hundred_streams_end() {
    allow_open_files();
    let mut edge = Harness::builder().stopping("grace: 60s, drain_after: 2s").timeouts(UNHURRIED).start();
    let mut kept = edge.client();
    assert_eq!(kept.ask(&edge.request(CHAT, &chat_body())).status, 200);
    let (openers, streams) = open_streams(&edge, STREAMS);
    edge.process.signal("TERM");
    let (mut unready, mut reset) = (false, false);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(edge.http) {
            Ok(_) => unready |= edge.readiness().status == 503,
            // One begun in the very moment in which the socket closed.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && !reset => reset = true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                break;
            }
        }
        assert!(Instant::now() < deadline, "connections are refused in the end");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(unready, "readiness failed while connections were still accepted");
    assert_eq!(edge.readiness().text(), "stopping\n");
    let last = kept.ask(&edge.request(CHAT, &chat_body()));
    assert_eq!((last.status, last.header("connection")), (200, Some("close")), "who is connected is served: {last}");
    drop(openers);
    assert_whole(streams);
    assert!(edge.process.wait_for_exit().success());
    let rows = edge.stop_and_read().rows();
    assert_eq!(rows.iter().filter(|row| row.text("status") == "success").count(), STREAMS + 2);
}

#[test]
fn between_the_signal_and_the_refusals_everybody_is_served_once_more() {
    let mut edge = Harness::builder().stopping("grace: 60s, drain_after: 60s").start();
    let mut kept = edge.client();
    assert_eq!(kept.ask(&edge.request(CHAT, &chat_body())).header("connection"), Some("keep-alive"));
    let (opener, closed) = gate();
    edge.upstream.then(Reply::after(closed));
    kept.send(&edge.request(CHAT, &chat_body()).bytes());
    edge.upstream.wait_for(2);
    edge.process.signal("TERM");
    eventually("readiness fails", || edge.readiness().status == 503);
    drop(opener);
    assert_eq!(kept.answer().header("connection"), Some("close"), "the request was there before, its head was not");
    for mut client in [edge.client(), edge.tls_client()] {
        let answer = client.ask(&edge.request(CHAT, &chat_body()));
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{answer}");
    }
    let page = edge.ask(&Request::get("/"));
    assert_eq!((page.status, page.header("connection")), (404, Some("close")), "the web upstream's: {page}");
    let ready = edge.ask(&Request::get("/ready"));
    assert_eq!((ready.status, ready.text().as_str()), (503, r#"{"status":"stopping"}"#));
    let begun = Instant::now();
    edge.process.signal("TERM");
    assert!(edge.process.wait_for_exit().success());
    assert!(begun.elapsed() < Duration::from_secs(30), "a second signal does not wait: {:?}", begun.elapsed());
}

#[test]
fn a_second_signal_ends_streams_at_once_and_tells_them() {
    let mut edge = Harness::builder().stopping("grace: 60s, drain_after: off").start();
    let (_openers, mut streams) = open_streams(&edge, 1);
    edge.process.signal("TERM");
    edge.process.wait_for_line("no connection is accepted").expect("it says what it does");
    let begun = Instant::now();
    edge.process.signal("TERM");
    let mut stream = streams.remove(0);
    assert!(stream.event().contains("shutting_down"));
    assert_eq!(stream.next(), Next::Cut);
    assert!(edge.process.wait_for_exit().success());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn what_is_left_after_the_grace_is_told() {
    let mut edge = Harness::builder().stopping("grace: 300ms, drain_after: off").start();
    let (_openers, mut streams) = open_streams(&edge, 1);
    edge.process.signal("TERM");
    let mut stream = streams.remove(0);
    assert!(stream.event().contains("shutting_down"));
    assert_eq!(stream.next(), Next::Cut);
    assert!(edge.process.wait_for_exit().success());
}

#[test]
fn a_process_that_nobody_asks_whether_it_is_ready_does_not_wait_for_them() {
    let mut edge = Harness::builder().stopping("grace: 60s, drain_after: 60s").start();
    edge.process.kill(); // the harness has asked this one
    let mut unasked = Process::spawn(run_of(&edge.conf(), &edge.data()));
    unasked.wait_for_line("cfx is ready").expect("a start");
    assert_eq!(edge.chat().status, 200);
    let begun = Instant::now();
    assert!(unasked.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn an_http2_connection_is_told_to_go_and_its_stream_ends_whole() {
    let mut edge = Harness::builder().stopping("grace: 60s, drain_after: off").start();
    let (opener, closed) = gate();
    edge.upstream.then(Reply::after(closed));
    let process = &edge.process;
    let upstream = &edge.upstream;
    let between = || {
        upstream.wait_for(1);
        process.signal("TERM");
        process.wait_for_line("no connection is accepted").expect("it says what it does");
        drop(opener);
    };
    let answer = ordinary::http2_until_told_to_go(&edge, CHAT, &chat_body().to_string(), between);
    assert!(answer.status == 200 && answer.complete, "{answer}");
    assert!(edge.process.wait_for_exit().success());
}
