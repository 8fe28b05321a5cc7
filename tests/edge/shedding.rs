//! An edge that is full says so at once, reads nothing more and asks nobody; what it has admitted goes on.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use serde_json::json;

use crate::harness::client::PATIENCE;
use crate::harness::ordinary::{bounded, http2_connection, request};
use crate::harness::scripted::Opener;
use crate::harness::{
    Answer, CHAT, Client, Harness, Reply, Request, Streaming, chat_body, gate, process, streaming, wire,
};

/// A stream that is held open until its opener is dropped, seen up to its first event.
fn open_stream(edge: &Harness) -> (Opener, Streaming) {
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, true), closed));
    let stream = edge.chat_stream_opening(&opener);
    (opener, stream)
}

fn assert_shed(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{answer}");
    let said = |name| answer.header(name).and_then(|wait| wait.parse::<u64>().ok()).unwrap_or_default();
    let (seconds, millis) = (said("retry-after"), said("retry-after-ms"));
    assert!((1_000..2_000).contains(&millis) && seconds == millis.div_ceil(1_000), "{answer}");
    assert!(answer.message().ends_with(&format!("try again in {seconds}s")), "{answer}");
}

fn shed_by(edge: &Harness, cap: &str, wanted: f64) {
    edge.assert_metric("cfx_shed_total", &[&format!("cap=\"{cap}\"")], wanted);
    edge.assert_metric("cfx_refusals_total", &["reason=\"overloaded\""], wanted);
}

/// An upload that cfx waits for: its head is in, and `sent` of the `announced` bytes of its body.
fn upload(edge: &Harness, key: &str, announced: usize, sent: &[u8]) -> TcpStream {
    let head = Request::post(CHAT, "").key(key).header("Expect", "100-continue");
    let head = head.header("Content-Length", &announced.to_string()).framed_by_hand();
    let mut socket = TcpStream::connect(edge.http).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    socket.write_all(&head.bytes()).expect("a head");
    let mut go_on = [0; 25];
    socket.read_exact(&mut go_on).expect("an answer");
    assert!(go_on.starts_with(b"HTTP/1.1 100"), "cfx waits for the body now");
    socket.write_all(sent).expect("a part of the body");
    socket
}

#[test]
fn a_full_edge_refuses_whoever_comes_and_asks_for_no_key() {
    let mut edge = Harness::builder().limit("in_flight: 1").start();
    let (opener, stream) = open_stream(&edge);
    let mut client = edge.client();
    assert_shed(&client.ask(&edge.request(CHAT, &chat_body())));
    // A key that the store alone could know, and none at all: nobody is asked.
    let unknown = edge.new_key("eve@example.org", &[]);
    assert_shed(&client.ask(&Request::post(CHAT, chat_body().to_string()).key(&unknown)));
    assert_shed(&client.ask(&Request::post(CHAT, chat_body().to_string())));
    shed_by(&edge, "in_flight", 3.0);
    edge.assert_metric("cfx_requests_in_flight", &[], 1.0);

    assert_eq!(client.ask(&Request::get("/health")).status, 200, "on the very connection that was refused");
    assert_eq!(edge.ask(&Request::get("/ready")).status, 200);
    let own = edge.admin.to_string();
    assert_eq!(Client::plain(edge.admin).ask(&Request::get("/-/healthy").instead("Host", &own)).status, 200);
    assert_eq!(edge.readiness().status, 200);

    drop(opener);
    assert!(stream.rest().1, "what was admitted ends as it would have");
    edge.assert_metric("cfx_requests_in_flight", &[], 0.0);
    edge.assert_healthy();
    let rows = edge.stop_and_read().rows();
    assert_eq!(rows.len(), 2, "a flood at the door is counted and writes no rows: {rows:?}");
}

#[test]
fn streams_leave_room_for_other_requests() {
    let edge = Harness::builder().limit("streams_in_flight: 1").start();
    let (opener, stream) = open_stream(&edge);
    let refused = edge.post(CHAT, &streaming(chat_body()));
    assert_shed(&refused);
    assert_eq!(refused.header("x-cfx-stage"), Some("plan"), "it took its body to know that it is a stream");
    edge.assert_healthy();
    shed_by(&edge, "streams_in_flight", 1.0);
    let rows = edge.rows(2);
    let shed = rows.iter().find(|row| row.text("status") == "error").expect("a row of a known user");
    assert_eq!((shed.text("error_message"), shed.number("http_status")), ("overloaded", 503));
    drop(opener);
    assert!(stream.rest().1);
}

#[test]
fn bodies_beyond_the_memory_are_refused_and_those_under_way_go_on() {
    let edge = Harness::builder().limit("body: 64KiB").limit("body_memory: 64KiB").start();
    let text = json!({"model": "plan", "messages": [{"role": "user", "content": "x".repeat(50_000)}]}).to_string();
    let (first, rest) = text.as_bytes().split_at(40_000);
    let mut socket = upload(&edge, &edge.key, text.len(), first);
    edge.assert_metric("cfx_body_memory_bytes", &[], 40_000.0);
    let mut client = edge.client();
    assert_shed(&client.ask(&Request::post(CHAT, text.as_str()).key(&edge.key)));
    shed_by(&edge, "body_memory", 1.0);
    assert_eq!(client.ask(&edge.request(CHAT, &chat_body())).status, 200, "a small one still fits");
    edge.assert_metric("cfx_body_memory_bytes", &[], 40_000.0);
    socket.write_all(rest).expect("the rest");
    let mut answer = [0; 15];
    socket.read_exact(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    edge.assert_metric("cfx_body_memory_bytes", &[], 0.0);
}

#[test]
fn who_sends_slowly_holds_no_place() {
    let edge = Harness::builder().limit("in_flight: 1").start();
    let mut nobody = edge.client();
    nobody.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: cfx.test\r\nContent-Le");
    let _slow = upload(&edge, &edge.key, 60_000, b"{");
    edge.assert_metric("cfx_body_memory_bytes", &[], 1.0);
    edge.assert_metric("cfx_requests_in_flight", &[], 0.0);
    edge.assert_healthy();
}

#[test]
fn one_users_uploads_leave_the_memory_to_others() {
    let edge = Harness::builder().limit("concurrent_requests: 2").start();
    let key = edge.new_key("eve@example.org", &[]);
    let uploads = [upload(&edge, &key, 60_000, b"{"), upload(&edge, &key, 60_000, b"{")];
    let refused = edge.ask(&Request::post(CHAT, chat_body().to_string()).key(&key));
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_concurrent_requests"), "{refused}");
    edge.assert_healthy();
    drop(uploads);
    edge.assert_metric("cfx_body_memory_bytes", &[], 0.0);
    edge.assert_metric("cfx_refusals_total", &["reason=\"overloaded\""], 0.0);
}

#[test]
fn an_upload_that_was_shed_is_not_read_to_its_end() {
    const BODY: usize = 64 << 20;
    let edge = Harness::builder().limit("body: 64MiB").limit("in_flight: 1").start();
    let (_opener, _stream) = open_stream(&edge);
    let head = Request::post(CHAT, "").key(&edge.key).header("Content-Length", &BODY.to_string()).framed_by_hand();
    let mut client = edge.client();
    client.send(&head.bytes());
    let answer = client.answer();
    assert_shed(&answer);
    assert_eq!(answer.header("connection"), Some("close"), "{answer}");
    // Who goes on sending finds that nobody listens.
    let mut socket = TcpStream::connect(edge.http).expect("a connection");
    socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
    socket.write_all(&head.bytes()).expect("a head");
    let piece = vec![b' '; 64 << 10];
    let taken = (0..BODY / piece.len()).take_while(|_| socket.write_all(&piece).is_ok()).count() * piece.len();
    // What the system's own buffers hold of it comes on top of what cfx reads.
    assert!(taken < BODY / 2, "{taken} bytes went somewhere");
}

#[test]
fn a_shed_upload_over_http_2_is_reset_and_costs_the_connection_nothing() {
    let edge = Harness::builder().limit("in_flight: 1").start();
    let (opener, stream) = open_stream(&edge);
    bounded(async {
        let mut sender = http2_connection(&edge, 64 << 10).await;
        let (response, mut upload) =
            sender.send_request(request(&edge, CHAT).body(()).expect("a request"), false).expect("a stream");
        upload.send_data(Bytes::from_static(b"{"), false).expect("a part of the body");
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(part) = body.data().await {
            text.extend(part.expect("a refusal that is whole"));
        }
        assert!(String::from_utf8_lossy(&text).contains("overloaded"));
        let reason = std::future::poll_fn(|context| upload.poll_reset(context)).await.expect("a reset");
        assert_eq!(reason, h2::Reason::NO_ERROR, "nothing is wrong with what was sent; no more of it is wanted");

        drop(opener);
        let mut sender = sender.ready().await.expect("HTTP/2");
        let health = http::Request::get("https://cfx.test/health").body(()).expect("a request");
        let (response, _) = sender.send_request(health, true).expect("a stream");
        assert_eq!(response.await.expect("an answer").status(), 200, "on the same connection");
    });
    assert!(stream.rest().1);
    shed_by(&edge, "in_flight", 1.0);
}

#[test]
fn the_caps_are_told_by_name_where_they_are_wrong() {
    let edge = Harness::start();
    let limits = edge.conf().join("limits.yaml");
    let text = std::fs::read_to_string(&limits).expect("a file");
    std::fs::write(&limits, format!("{text}streams_in_flight: 0\n")).expect("a file");
    let output = process::cfx_of(&edge.data()).args(["check", "--conf"]).arg(edge.conf()).output().expect("cfx starts");
    let printed = process::printed(&output);
    assert_eq!(output.status.code(), Some(78), "{printed}");
    assert!(printed.contains("streams_in_flight"), "{printed}");
}
