//! What an HTTP/2 stream and its connection can come to: nothing harms more than what was on it, and what the upstream
//! has not looked at is sent again.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use h2::Reason;
use serde_json::Value;
use tokio::sync::{Notify, Semaphore};

use crate::failing_over::{in_time, soon};
use crate::harness::client::PATIENCE;
use crate::harness::http2::Exchange;
use crate::harness::{CHAT, Harness, Http2, chat_body, streaming, wire};
use crate::leavers::{AT_ONCE, Lateness};
use crate::upstream_over_http2::{before, together};

const ATTEMPTS: &str = "cfx_upstream_attempts_total";
const BREAKER: &str = "cfx_breaker_state";

fn refused_then_usual(refuse: impl Fn(&mut Exchange) + Send + Sync + Clone + 'static) -> Http2 {
    let upstream = Http2::start();
    let counted = upstream.clone();
    upstream.always(move |mut exchange| {
        let first = counted.count() == 0;
        let refuse = refuse.clone();
        async move {
            if first {
                exchange.came();
                refuse(&mut exchange);
            } else {
                exchange.usual().await;
            }
        }
    });
    upstream
}

#[test]
fn who_says_goodbye_finishes_what_is_under_way_and_is_dialled_anew() {
    let upstream = Http2::start();
    let (opener, opened) = tokio::sync::oneshot::channel::<()>();
    let gate = Arc::new(Mutex::new(Some(opened)));
    upstream.always(move |mut exchange| {
        let gate = gate.lock().expect("a gate").take();
        async move {
            let Some(gate) = gate else { return exchange.usual().await };
            exchange.read().await;
            let events = wire::chat_events("m", &wire::WORDS, true);
            exchange.head(200, "text/event-stream", None);
            exchange.event(&events[0]).await;
            exchange.goodbye();
            let _ = gate.await;
            for event in &events[1..] {
                exchange.event(event).await;
            }
            exchange.end();
        }
    });
    let edge = before(&upstream).start();
    let mut stream = edge.chat_stream();
    stream.event();
    // How soon the goodbye is heard nobody can say: a request that was faster is answered by the first connection.
    let deadline = Instant::now() + PATIENCE;
    while upstream.connections() < 2 {
        edge.assert_healthy();
        assert!(Instant::now() < deadline, "the goodbye is not heard");
    }
    opener.send(()).expect("the stream is under way");
    let (events, whole) = stream.rest();
    assert!(whole && events.last().is_some_and(|last| last == wire::DONE), "{events:?}");
    edge.assert_healthy();
    edge.assert_metric(ATTEMPTS, &["outcome=\"reset\""], 0.0);
    edge.assert_metric(BREAKER, &[], 0.0);
}

#[test]
fn a_refused_stream_is_sent_again_free_of_charge() {
    let upstream = refused_then_usual(|exchange| exchange.reset(Reason::REFUSED_STREAM));
    let edge = before(&upstream).upstream("breaker: { failures: 1, open_for: 30s }").start();
    assert_eq!(edge.chat().status, 200);
    assert_eq!((upstream.count(), upstream.connections(), edge.row().number("attempts")), (2, 1, 1));
    edge.assert_metric(BREAKER, &[], 0.0);

    // Once: who refuses everything is as good as away.
    upstream.always(|mut exchange| async move {
        exchange.came();
        exchange.reset(Reason::REFUSED_STREAM);
    });
    let answer = edge.chat();
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"), "{answer}");
    assert_eq!(upstream.count(), 4);
    edge.assert_metric(BREAKER, &[&upstream.target()], 2.0);
}

#[test]
fn a_stream_that_is_reset_before_its_head_is_a_transport_failure_and_harms_no_neighbour() {
    let upstream = Http2::start();
    upstream.always(|mut exchange| async move {
        exchange.read().await;
        if exchange.request.json()["stream"] == true {
            exchange.left().await;
        } else {
            exchange.reset(Reason::INTERNAL_ERROR);
        }
    });
    let edge = before(&upstream).upstream("breaker: { failures: 1, open_for: 30s }").start();
    let mut neighbour = edge.client();
    neighbour.send(&edge.request(CHAT, &streaming(chat_body())).bytes());
    upstream.wait_for(1);
    let answer = edge.chat();
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"), "{answer}");
    edge.assert_metric(ATTEMPTS, &["outcome=\"reset\""], 1.0);
    edge.assert_metric(BREAKER, &[&upstream.target()], 2.0);
    assert_eq!(upstream.connections(), 1);
    assert_eq!(edge.metric("cfx_streams_in_flight", &[]), 1.0, "the neighbour goes on waiting");
}

#[test]
fn a_stream_that_is_reset_behind_its_head_is_broken_whatever_the_reason() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::NO_ERROR, Reason::REFUSED_STREAM] {
        let (upstream, has_come) = (Http2::start(), Arc::new(Notify::new()));
        let client_has_it = has_come.clone();
        upstream.always(move |mut exchange| {
            let client_has_it = client_has_it.clone();
            async move {
                exchange.read().await;
                let stream = exchange.request.json()["stream"] == true;
                exchange.head(200, if stream { "text/event-stream" } else { "application/json" }, None);
                exchange.piece(if stream { b"data: {\"choices\":[]}\n\n" } else { b"{\"choices\":" }).await;
                client_has_it.notified().await; // a reset overtakes what is still on its way
                exchange.reset(reason);
            }
        });
        let edge = before(&upstream).start();
        let broken = |body: &Value| {
            let mut answer = edge.client().stream(&edge.request(CHAT, body));
            assert!(answer.status == 200 && answer.chunk().is_some(), "{reason:?}");
            has_come.notify_one();
            answer.rest()
        };
        assert_eq!(broken(&chat_body()), (vec![], false), "{reason:?}");
        let (events, whole) = broken(&streaming(chat_body()));
        assert!(!whole && events.last().is_some_and(|last| last.contains("upstream_error")), "{reason:?}: {events:?}");
        edge.assert_metric(ATTEMPTS, &["outcome=\"broken\""], 2.0);
        assert_eq!((upstream.count(), upstream.connections()), (2, 1), "nothing was sent twice");
    }
}

#[test]
fn a_connection_that_dies_breaks_all_that_was_on_it_and_the_breaker_hears_of_each() {
    let upstream = Http2::start();
    let (hinted, all_heard) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let to_die = all_heard.clone();
    upstream.always(move |mut exchange| {
        let (hinted, to_die) = (hinted.clone(), to_die.clone());
        async move {
            exchange.read().await;
            if exchange.request.json()["stream"] == true {
                let _ = hinted.acquire_many(5).await;
                return exchange.events(&wire::chat_events("m", &wire::WORDS, true)).await;
            }
            exchange.interim(103); // something was heard: the request may be at work
            hinted.add_permits(1);
            tokio::select! {
                () = to_die.notified() => exchange.hang_up(),
                () = exchange.left() => {}
            }
        }
    });
    let edge = before(&upstream).start();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| together(&edge, 5, &chat_body().to_string()));
        upstream.wait_for(5);
        // Whoever has this answer has read all that the connection brought before it.
        assert!(edge.chat_stream().rest().1);
        all_heard.notify_one();
        for answer in asked.join().expect("five answers") {
            assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"), "{answer}");
        }
    });
    edge.assert_metric("cfx_breaker_failures_total", &[&upstream.target()], 5.0);
    edge.assert_metric(BREAKER, &[&upstream.target()], 0.0); // all of one client: its share opens nothing
    edge.assert_metric(ATTEMPTS, &["outcome=\"reset\""], 5.0);
    assert_eq!((upstream.count(), upstream.connections()), (6, 1));
}

#[test]
fn a_connection_that_died_while_nobody_used_it_costs_no_attempt() {
    in_time(|| {
        let upstream = Http2::start();
        let edge = before(&upstream).upstream("breaker: { failures: 1, open_for: 30s }").start();
        let hanging_up = refused_by_hanging_up(&upstream);
        for n in 1..=20 {
            assert_eq!(soon(|| edge.chat())?.status, 200, "request {n}");
        }
        assert!(hanging_up.load(Ordering::SeqCst) >= 10);
        edge.assert_metric(BREAKER, &[], 0.0);
        assert!(edge.rows(20).iter().all(|row| row.number("attempts") == 1));
        Some(())
    });
}

/// Every second answer is the last on its connection, which is closed right behind it without a word.
fn refused_by_hanging_up(upstream: &Http2) -> Arc<AtomicUsize> {
    let times = Arc::new(AtomicUsize::new(0));
    let (counted, counting) = (upstream.clone(), times.clone());
    upstream.always(move |mut exchange| {
        let (counted, counting) = (counted.clone(), counting.clone());
        async move {
            exchange.read().await;
            exchange.json(200, r#"{"choices":[]}"#).await;
            if counted.count() % 2 == 0 {
                counting.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                exchange.hang_up();
            }
        }
    });
    times
}

#[test]
fn who_is_silent_is_given_up_in_time_and_its_stream_is_reset() {
    let upstream = Http2::start();
    upstream.always(|mut exchange| async move {
        exchange.read().await;
        exchange.left().await;
    });
    let edge = before(&upstream).timeouts("connect: 2s, first_byte: 2s, between_chunks: 100ms, total: 20s").start();
    let answer = edge.post_bytes(CHAT, streaming(chat_body()).to_string());
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"), "{answer}");
    assert_eq!(upstream.resets(1)[0].0, Reason::CANCEL);
    edge.assert_metric(ATTEMPTS, &["outcome=\"timeout\""], 1.0);

    upstream.always(|mut exchange| async move {
        exchange.read().await;
        exchange.head(200, "text/event-stream", None);
        exchange.event(&wire::chat_events("m", &wire::WORDS, true)[0]).await;
        exchange.left().await;
    });
    let (events, whole) = edge.chat_stream().rest();
    assert!(!whole && events.last().is_some_and(|last| last.contains("upstream_timeout")), "{events:?}");
    assert_eq!(upstream.resets(2)[1].0, Reason::CANCEL);
    upstream.always(Exchange::usual);
    edge.assert_healthy();
    assert_eq!(upstream.connections(), 1, "the connection is none the worse");
}

#[test]
fn a_peer_that_answers_no_hello_is_not_waited_for_longer_than_for_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = format!("http://{}", listener.local_addr().expect("an address"));
    let edge = Harness::builder().upstream_target(&target).upstream("http2: always");
    let edge = edge.timeouts("connect: 200ms, first_byte: 20s, between_chunks: 20s, total: 60s").start();
    for answer in together(&edge, 4, &chat_body().to_string()) {
        assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"), "{answer}");
    }
    edge.assert_metric(ATTEMPTS, &["outcome=\"connect\""], 4.0);
}

#[test]
fn who_leaves_is_heard_of_at_once() {
    let (upstream, lateness) = (Http2::start(), Lateness::watch());
    let edge = before(&upstream).start();
    for headed in [false, true] {
        upstream.always(move |mut exchange| async move {
            exchange.read().await;
            if headed {
                exchange.head(200, "text/event-stream", None);
                exchange.event(&wire::chat_events("m", &wire::WORDS, true)[1]).await;
            }
            exchange.left().await;
        });
        let mut client = edge.client();
        client.send(&edge.request(CHAT, &streaming(chat_body())).bytes());
        upstream.wait_for(1 + usize::from(headed));
        if headed {
            edge.assert_metric("cfx_streams_in_flight", &[], 1.0);
        }
        let left = Instant::now();
        drop(client);
        let (reason, at) = upstream.resets(1 + usize::from(headed))[usize::from(headed)];
        assert_eq!(reason, Reason::CANCEL);
        let noticed = at.saturating_duration_since(left);
        assert!(noticed < AT_ONCE + lateness.worst(), "the upstream saw it after {noticed:?}");
    }
    assert!(edge.rows(2).iter().all(|row| row.text("status") == "cancelled" && row.flag("estimated")));
    upstream.always(Exchange::usual);
    edge.assert_healthy();
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn what_is_shorter_or_longer_than_it_promised_is_cut() {
    for promised in [10, 20] {
        let upstream = Http2::start();
        upstream.always(move |mut exchange| async move {
            exchange.read().await;
            exchange.head(200, "application/json", Some(promised));
            exchange.piece(br#"{"choices":[]}"#).await;
            exchange.end();
        });
        let edge = before(&upstream).start();
        let answer = edge.chat();
        assert!(answer.status == 502 || !answer.complete, "{answer}");
        assert_eq!(edge.row().text("status"), "error");
        upstream.always(Exchange::usual);
        edge.assert_healthy();
    }
}
