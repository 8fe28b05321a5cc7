//! Clients that take nothing of web answers: what lies here for them is counted and bounded, and nobody else is kept from
//! what they came for.

use std::time::Instant;

use crate::harness::client::PATIENCE;
use crate::harness::ordinary::http2_connection;
use crate::harness::{Harness, Reply, Request};
use crate::nothing_leaks::resident;

const STREAMS: usize = 50;

/// A small page, one of a megabyte, and one without end that does not say how long it is.
fn application(edge: &Harness) {
    edge.web.always(|request| {
        Some(match request.path() {
            "/app/large" => page("x".repeat(1 << 20)),
            "/app/endless" => Reply::script(|exchange| {
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(64 << 10));
                exchange.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                while exchange.try_send(chunk.as_bytes()).is_ok() {}
            }),
            _ => page("x".repeat(60 << 10)),
        })
    });
}

fn page(body: String) -> Reply {
    Reply::raw(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

/// The connection and its answers last as long as the runtime.
struct Idle {
    runtime: tokio::runtime::Runtime,
    unread: Vec<h2::RecvStream>,
    refused: usize,
}

/// Opens streams and takes nothing: without a window not one byte of a body goes out.
fn open(edge: &Harness, path: &str) -> Idle {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (unread, refused) = runtime.block_on(async {
        let sender = http2_connection(edge, 0).await;
        let mut answers = Vec::new();
        for _ in 0..STREAMS {
            let mut ready = sender.clone().ready().await.expect("HTTP/2");
            let request = http::Request::get(format!("https://cfx.test{path}")).body(()).expect("a request");
            answers.push(ready.send_request(request, true).expect("a stream").0);
        }
        let (mut unread, mut refused) = (Vec::new(), 0);
        for answer in answers {
            match answer.await {
                Ok(answer) if answer.status() == 200 => unread.push(answer.into_body()),
                Ok(answer) => {
                    assert_eq!(answer.status(), 503);
                    assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
                    refused += 1;
                }
                Err(error) => assert!(error.is_reset(), "{error}"),
            }
        }
        (unread, refused)
    });
    Idle { runtime, unread, refused }
}

#[test]
fn streams_that_are_not_read_hold_no_more_than_they_may_together() {
    let edge = Harness::builder().limit("answer_memory: 4MiB").start();
    application(&edge);
    edge.assert_healthy();
    assert_eq!(edge.ask(&Request::get("/app/large")).status, 200);
    let before = resident(&edge);
    let idle = open(&edge, "/app/endless");
    assert!(idle.refused > STREAMS / 2, "{} were refused", idle.refused);
    assert!(!idle.unread.is_empty(), "there is room for some");
    let deadline = Instant::now() + PATIENCE;
    while edge.metric("cfx_answer_memory_bytes", &[]) < f64::from(2 << 20) {
        assert!(Instant::now() < deadline, "what waits is counted");
    }
    assert!(edge.metric("cfx_answer_memory_bytes", &[]) <= f64::from(4 << 20));
    assert!(edge.metric("cfx_shed_total", &["cap=\"answer_memory\""]) > 25.0);
    let grown = resident(&edge).saturating_sub(before);
    assert!(grown < 20 << 10, "{grown} KB: half a megabyte each would be 26,000");
    // Models and small pages know nothing of it.
    edge.assert_healthy();
    for _ in 0..20 {
        assert_eq!(edge.ask(&Request::get("/app/small")).text().len(), 60 << 10);
    }
    drop(idle);
    edge.assert_metric("cfx_answer_memory_bytes", &[], 0.0);
    assert_eq!(edge.ask(&Request::get("/app/large")).text().len(), 1 << 20, "there is room again");
}

#[test]
fn a_large_answer_that_is_read_passes_beside_others_that_wait() {
    let edge = Harness::builder().limit("read_stall: 500ms").start();
    application(&edge);
    let Idle { runtime, unread, refused } = open(&edge, "/app/large");
    assert_eq!((unread.len(), refused), (STREAMS, 0));
    assert_eq!(edge.ask(&Request::get("/app/large")).text().len(), 1 << 20);
    // Who takes nothing is given up, and with them what lay here.
    edge.assert_metric("cfx_answer_memory_bytes", &[], 0.0);
    runtime.block_on(async {
        for mut body in unread {
            assert!(body.data().await.is_none_or(|part| part.is_err()), "it was cut");
        }
    });
}
