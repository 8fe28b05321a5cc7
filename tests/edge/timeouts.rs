//! Each limit on waiting says which it was, how long it was, and under which name it stands in the configuration.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::client::PATIENCE;
use crate::harness::ordinary;
use crate::harness::scripted::Exchange;
use crate::harness::{Answer, CHAT, Client, Harness, Reply, Request, chat_body, streaming, wire};

fn word(text: &str) -> String {
    wire::chat_event("m", json!({"content": text}), None)
}

/// The message of the error event that a stream ended with.
fn last_words(events: &[String]) -> (String, String) {
    let last = events.last().and_then(|event| event.strip_prefix("data: ")).expect("an event");
    let error = &serde_json::from_str::<Value>(last).expect("JSON")["error"];
    (error["code"].as_str().unwrap_or_default().to_owned(), error["message"].as_str().unwrap_or_default().to_owned())
}

fn row_says(edge: &Harness, status: i64, reason: &str) {
    let row = edge.row();
    assert_eq!((row.text("status"), row.number("http_status"), row.text("error_message")), ("error", status, reason));
    edge.assert_metric("cfx_refusals_total", &[&format!("reason=\"{reason}\"")], 1.0);
}

fn says(answer: &Answer, status: u16, code: &str, limit: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer}");
    assert!(answer.message().contains(limit), "{limit} in {}", answer.message());
}

#[test]
fn no_connection() {
    let mute = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = format!("https://{}", mute.local_addr().expect("an address"));
    let timeouts = "connect: 300ms, first_byte: 20s, between_chunks: 20s, total: 60s";
    let edge = Harness::builder().upstream_target(&target).timeouts(timeouts).start();
    says(&edge.chat(), 503, "upstream_unavailable", "within 300ms (timeouts.connect)");
    row_says(&edge, 503, "upstream_unavailable");
}

#[test]
fn no_first_byte_of_a_stream() {
    let edge = Harness::builder().timeouts("connect: 2s, first_byte: 200ms, between_chunks: 20s, total: 60s").start();
    edge.upstream.then(Reply::never());
    let answer = edge.post(CHAT, &streaming(chat_body()));
    says(&answer, 504, "upstream_timeout", "within 200ms (timeouts.first_byte)");
    row_says(&edge, 504, "upstream_timeout");
}

#[test]
fn no_answer_in_one_piece() {
    let edge =
        Harness::builder().timeouts("connect: 2s, first_byte: 100ms, between_chunks: 100ms, total: 500ms").start();
    edge.upstream.then(Reply::never());
    says(&edge.chat(), 504, "upstream_timeout", "within 500ms (timeouts.total)");
    row_says(&edge, 504, "upstream_timeout");
}

#[test]
fn silence_between_chunks() {
    let edge = Harness::builder().timeouts("connect: 2s, first_byte: 20s, between_chunks: 300ms, total: 60s").start();
    edge.upstream.then(Reply::script(|exchange| {
        exchange.begin_events();
        exchange.event(&word("Half a "));
        exchange.wait_for_close();
    }));
    let (events, whole) = edge.chat_stream().rest();
    let (code, message) = last_words(&events);
    assert!(!whole && code == "upstream_timeout", "{events:?}");
    assert!(message.contains("nothing for 300ms (timeouts.between_chunks)"), "{message}");
    row_says(&edge, 200, "upstream_timeout");
}

#[test]
fn a_stream_without_end() {
    let edge = Harness::builder().timeouts("connect: 2s, first_byte: 20s, between_chunks: 20s, total: 2s").start();
    edge.upstream.then(Reply::script(|exchange| {
        exchange.begin_events();
        chatter(exchange);
    }));
    let (events, whole) = edge.chat_stream().rest();
    let (code, message) = last_words(&events);
    assert!(!whole && code == "upstream_timeout", "no end, code {code}");
    assert!(message.contains("after 2s (timeouts.total)"), "{message}");
    row_says(&edge, 200, "upstream_timeout");
}

/// Words until cfx hangs up.
fn chatter(exchange: &mut Exchange) {
    while !exchange.closed_within(Duration::from_millis(20)) {
        exchange.event(&word("on and "));
    }
}

#[test]
fn a_stage_has_its_own() {
    let plan = "  plan: { model: smart, system: \"PLAN\", timeouts: { first_byte: 150ms } }";
    let edge = Harness::builder().models_line("plan:", plan).start();
    edge.upstream.then(Reply::never());
    let answer = edge.post(CHAT, &streaming(chat_body()));
    says(&answer, 504, "upstream_timeout", "within 150ms (timeouts.first_byte)");
}

/// A request's head and the first half of its body.
fn half_an_upload(edge: &Harness) -> (Vec<u8>, Vec<u8>) {
    let mut body = chat_body();
    body["messages"][0]["content"] = json!("word ".repeat(2_000));
    let mut bytes = edge.request(CHAT, &body).bytes();
    let rest = bytes.split_off(bytes.len() / 2);
    (bytes, rest)
}

#[test]
fn an_upload_that_stops() {
    let edge = Harness::builder().limit("upload_stall: 300ms").start();
    for mut client in [edge.client(), edge.tls_client()] {
        client.send(&half_an_upload(&edge).0);
        says(&client.answer(), 408, "body_timeout", "nothing more of the body came within 300ms (upload_stall)");
    }
    for row in edge.rows(2) {
        let said = (row.text("status"), row.number("http_status"), row.text("error_message"));
        assert_eq!(said, ("error", 408, "body_timeout"));
    }
    edge.assert_metric("cfx_refusals_total", &["reason=\"body_timeout\""], 2.0);
    assert_eq!(edge.upstream.count(), 0);
    edge.assert_healthy();
}

#[test]
fn an_upload_that_drips() {
    let edge = Harness::builder().limit("upload_stall: 1s").start();
    let (begun, rest) = half_an_upload(&edge);
    let mut socket = TcpStream::connect(edge.http).expect("a connection");
    socket.set_nodelay(true).expect("a socket");
    socket.write_all(&begun).expect("half a request");
    // Waiting for an answer is what lies between two bytes.
    socket.set_read_timeout(Some(Duration::from_millis(40))).expect("a socket");
    let (asked, mut drops, mut answer) = (Instant::now(), rest.iter(), Vec::new());
    let mut buffer = [0; 4096];
    while answer.is_empty() && asked.elapsed() < PATIENCE {
        let drop = drops.next().expect("it takes longer than this");
        socket.write_all(&[*drop]).expect("a byte");
        let read = socket.read(&mut buffer).unwrap_or(0);
        answer.extend_from_slice(&buffer[..read]);
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("the body arrives too slowly"), "{answer}");
    drop(socket);
    assert_eq!(edge.row().text("error_message"), "body_timeout");
    assert_eq!(edge.upstream.count(), 0);
}

#[test]
fn an_upload_that_stops_over_http_2() {
    let edge = Harness::builder().limit("upload_stall: 300ms").start();
    let status = ordinary::bounded(async {
        let mut sender = ordinary::http2_connection(&edge, 1 << 20).await;
        let request = ordinary::request(&edge, CHAT).body(()).expect("a request");
        let (answer, mut upload) = sender.send_request(request, false).expect("a stream");
        upload.send_data("{\"model\"".into(), false).expect("half a body");
        answer.await.expect("an answer").status()
    });
    assert_eq!(status, 408);
    assert_eq!(edge.row().text("error_message"), "body_timeout");
}

#[test]
fn an_upload_may_take_longer_than_a_stall() {
    let edge = Harness::builder().limit("upload_stall: 1s").limit("body: 10MiB").start();
    let mut body = chat_body();
    body["messages"][0]["content"] = json!("word ".repeat(200_000));
    let bytes = edge.request(CHAT, &body).bytes();
    let (mut client, begun) = (Client::plain(edge.http), Instant::now());
    for piece in bytes.chunks(bytes.len() / 30) {
        client.send(piece);
        std::thread::sleep(Duration::from_millis(50)); // the client's own pace, 30 pieces of some 30 KiB
    }
    assert!(begun.elapsed() > Duration::from_secs(1));
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.ask(&Request::get("/v1/models").key(&edge.key)).status, 200, "on the same connection");
}
