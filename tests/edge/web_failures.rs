//! What log and metrics say of web requests that fail: why, and nothing of what either side sent.

use std::time::Duration;

use serde_json::Value;

use crate::harness::ordinary::{bounded, http2_connection};
use crate::harness::{CHAT, Gate, Harness, Reply, Request, chat_body, gate};

/// The access line of the one request for this path, and everything printed before it.
fn told_of(edge: &Harness, path: &str) -> (Value, String) {
    let line = edge.process.wait_for_line(&format!("\"path\":\"{path}\"")).expect("an access line");
    (serde_json::from_str(&line).expect("JSON"), edge.process.log())
}

#[test]
fn a_request_that_is_tried_again_shows_neither_its_query_nor_its_host() {
    let edge = Harness::builder().web_target("http://127.0.0.1:9").start();
    let request = Request::get("/again?token=a-secret").instead("Host", "hidden.test");
    assert_eq!(edge.ask(&request).status, 503);
    let (line, log) = told_of(&edge, "/again");
    assert_eq!((&line["attempts"], &line["reason"]), (&2.into(), &"upstream_unavailable".into()));
    assert!(log.contains("a web request failed") && !log.contains("a-secret"), "{log}");
    assert_eq!(log.matches("hidden.test").count(), 1, "the access line alone has the host: {log}");
}

#[test]
fn what_an_application_says_wrongly_is_not_repeated_in_the_log() {
    let edge = Harness::start();
    edge.web.then(Reply::raw("HTTP/1.1 200 OK\r\nset-cookie: a-secret\r\nno header a-secret\r\n\r\n"));
    assert_eq!(edge.ask(&Request::get("/wrong")).status, 502);
    let (line, log) = told_of(&edge, "/wrong");
    assert_eq!((&line["status"], &line["reason"]), (&502.into(), &"upstream_error".into()));
    assert!(log.contains("Upstream: InvalidHTTPHeader") && !log.contains("a-secret"), "{log}");
}

const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";

#[test]
fn an_answer_that_breaks_off_behind_its_head_is_no_whole_one() {
    let edge = Harness::start();
    let (opener, gate) = gate();
    // In one piece with its end, and before it.
    edge.web.then(Reply::raw(HALF)).then(Reply::script(move |exchange| {
        exchange.send(HALF.as_bytes());
        gate.pass();
        exchange.hang_up();
    }));
    for (client, path) in [(edge.client(), "/broken"), (edge.tls_client(), "/broken-later")] {
        let mut stream = client.stream(&Request::get(path));
        opener.open();
        let body: Vec<u8> = std::iter::from_fn(|| stream.chunk()).flatten().collect();
        assert_eq!((stream.status, &body[..]), (200, &b"half"[..]), "{path}: and then it is cut");
        let (line, log) = told_of(&edge, path);
        assert_eq!((&line["status"], &line["reason"]), (&200.into(), &"upstream_error".into()));
        assert!(log.contains("a web answer broke off"), "{log}");
    }
    edge.assert_metric("cfx_refusals_total", &["reason=\"upstream_error\""], 2.0);
}

/// Each step of the application's waits until the one before it was seen.
#[test]
fn what_has_come_reaches_the_client_while_the_rest_is_awaited() {
    let edge = Harness::start();
    let body = r#"{"choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    let halting = |gate: Gate| {
        Reply::script(move |exchange| {
            let (begin, end) = body.as_bytes().split_at(body.len() / 2);
            let head = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
            exchange.send(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes());
            gate.pass();
            exchange.send(begin);
            gate.pass();
            exchange.send(end);
        })
    };
    for client in [Harness::client, Harness::tls_client] {
        for request in [Request::get("/app"), edge.request(CHAT, &chat_body())] {
            let (opener, gate) = gate();
            let upstream = if request.bytes().starts_with(b"GET") { &edge.web } else { &edge.upstream };
            upstream.then(halting(gate));
            let mut stream = client(&edge).stream(&request);
            opener.open();
            let begun = stream.chunk().expect("the first half");
            opener.open();
            let rest: Vec<u8> = std::iter::from_fn(|| stream.chunk()).flatten().collect();
            assert_eq!([begun, rest].concat(), body.as_bytes());
        }
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_answer_is_no_success() {
    let edge = Harness::start();
    let (opener, closed) = gate();
    edge.web.then(Reply::gated(vec!["piece".repeat(1_000); 3], closed));
    let mut stream = edge.client().stream(&Request::get("/left"));
    opener.open();
    stream.event();
    stream.leave();
    drop(opener);
    let (line, log) = told_of(&edge, "/left");
    assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"cancelled".into()));
    assert!(!log.contains("WARN"), "that is nobody's fault: {log}");
}

#[test]
fn a_stream_that_its_client_resets_is_no_failure() {
    let edge = Harness::start();
    edge.web.then(Reply::never());
    bounded(async {
        let mut sender = http2_connection(&edge, 1 << 16).await;
        let request = http::Request::get("https://cfx.test/reset").body(()).expect("a request");
        let (response, mut stream) = sender.send_request(request, false).expect("a stream");
        let web = edge.web.clone();
        stream.send_data(bytes::Bytes::new(), true).expect("the end of it");
        tokio::task::spawn_blocking(move || web.wait_for(1)).await.expect("it has come");
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
        while !edge.process.log().contains("\"path\":\"/reset\"") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let (line, log) = told_of(&edge, "/reset");
    assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"cancelled".into()));
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn a_browser_is_shown_a_page_where_an_application_is_away() {
    let edge = Harness::builder().web_target("http://127.0.0.1:9").start();
    let browser = |path: &str| Request::get(path).header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let page = edge.ask(&browser("/"));
    assert_eq!((page.status, page.header("content-type")), (503, Some("text/html; charset=utf-8")));
    assert!(page.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    for (name, value) in [
        ("content-security-policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    let text = page.text();
    assert!(text.starts_with("<!doctype html>") && text.contains("does not answer"), "{text}");
    assert!(text.contains(page.header("x-cfx-request-id").expect("an id")), "{text}");

    let json = |answer: crate::harness::Answer| answer.header("content-type") == Some("application/json");
    assert!(
        json(edge.ask(&Request::get("/").header("Accept", "application/json, */*"))),
        "a script is told in its own"
    );
    assert!(json(edge.ask(&Request::post("/", "a=b").header("Accept", "text/html"))), "no page was asked for");
    assert!(json(edge.ask(&browser("/v1/nothing"))), "nor of what answers to programs");
}
