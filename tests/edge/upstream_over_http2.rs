//! An upstream that speaks HTTP/2: clients cannot tell it from any other, and its streams share connections without
//! holding each other up.

use std::time::{Duration, Instant};

use h2::Reason;
use serde_json::json;

use crate::harness::http2::Exchange;
use crate::harness::tls::{Front, GOOD};
use crate::harness::{
    Answer, Builder, CHAT, Harness, Http2, UPSTREAM_KEY, asking_for_usage, body_for, chat_body, streaming, wire,
};

const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];
const ATTEMPTS: &str = "cfx_upstream_attempts_total";

/// One thread, so that its requests find each other's connections.
pub fn before(upstream: &Http2) -> Builder {
    Harness::builder().upstream_target(&upstream.target()).upstream("http2: always").threads(1)
}

/// So many requests beside each other, each on a connection of its own to cfx.
pub fn together(edge: &Harness, count: usize, body: &str) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..count).map(|_| scope.spawn(|| edge.post_bytes(CHAT, body))).collect();
        asked.into_iter().map(|one| one.join().expect("an answer")).collect()
    })
}

#[test]
fn every_answer_is_byte_for_byte_what_it_is_over_http_1() {
    let upstream = Http2::start();
    let (edge, other) = (before(&upstream).start(), Harness::start());
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"] {
        for body in [body_for(path), streaming(body_for(path))] {
            let (answer, wanted) = (edge.post(path, &body), other.post(path, &body));
            assert_eq!((answer.status, answer.complete), (200, true), "{path}: {answer}");
            assert_eq!(answer.text(), wanted.text(), "{path}");
            assert_eq!(answer.header("content-type"), wanted.header("content-type"), "{path}");
            assert_eq!(answer.header("content-length"), wanted.header("content-length"), "{path}");
            assert!(!answer.to_string().contains("litellm-"), "no header of the upstream's crosses: {answer}");
        }
    }
    let (requests, over_http1) = (upstream.requests(), other.upstream.requests());
    assert_eq!((upstream.connections(), requests.len()), (1, 10));
    for (request, wanted) in requests.iter().zip(&over_http1) {
        assert_eq!(request.body, wanted.body);
        for name in ["content-type", "accept", "accept-encoding", "user-agent", "content-length"] {
            assert_eq!(request.header(name), wanted.header(name), "{name}");
        }
        assert_eq!(request.header("authorization"), Some(format!("Bearer {UPSTREAM_KEY}").as_str()));
        let lines = |head: &str| head.lines().count();
        assert_eq!(
            lines(&request.head),
            lines(&wanted.head),
            "one line for `host`, and nothing beside: {}",
            request.head
        );
    }
    assert_eq!(
        edge.rows(10).iter().map(|row| row.tokens()).collect::<Vec<_>>(),
        other.rows(10).iter().map(|row| row.tokens()).collect::<Vec<_>>()
    );
}

/// Each in a frame of its own, and all of them there at once.
#[test]
fn events_that_are_close_upon_one_another_go_together_and_none_is_lost() {
    let words: Vec<_> = (0..400).map(|number| format!("word {number} ")).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let events = wire::chat_events("m", &words, true);
    let (sent, upstream) = (events.clone(), Http2::start());
    upstream.always(move |mut exchange| {
        let events = sent.clone();
        async move {
            exchange.read().await;
            exchange.events_at_once(&events);
        }
    });
    let edge = before(&upstream).start();
    let mut stream = edge.client().stream(&edge.request(CHAT, &asking_for_usage(chat_body())));
    let pieces: Vec<_> = std::iter::from_fn(|| stream.chunk()).collect();
    assert_eq!(String::from_utf8(pieces.concat()).expect("events are UTF-8"), events.join("\n\n") + "\n\n");
    assert!(pieces.len() < events.len() / 2, "{} events in {} pieces", events.len(), pieces.len());
    assert!(pieces.iter().all(|piece| piece.len() <= 8 << 10), "no more is gathered than is worth a write");
}

#[test]
fn a_hundred_streams_share_one_connection() {
    let upstream = Http2::start();
    let counted = upstream.clone();
    upstream.always(move |mut exchange| {
        let counted = counted.clone();
        async move {
            exchange.read().await;
            while counted.count() < 100 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            exchange.events(&wire::chat_events("m", &wire::WORDS, true)).await;
        }
    });
    let edge = before(&upstream).start();
    for answer in together(&edge, 100, &streaming(chat_body()).to_string()) {
        assert!(answer.complete && answer.text().ends_with("data: [DONE]\n\n"), "{answer}");
    }
    assert_eq!((upstream.connections(), upstream.most_streams()), (1, 100));
    assert!(edge.rows(100).iter().all(|row| row.text("status") == "success"));
}

/// Takes ten streams a connection, and answers none before forty have come.
fn forty_at_once() -> Http2 {
    let upstream = Http2::with(|settings| {
        settings.max_concurrent_streams(10);
    });
    let counted = upstream.clone();
    upstream.always(move |mut exchange| {
        let counted = counted.clone();
        async move {
            exchange.read().await;
            while counted.count() < 40 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            exchange.json(200, r#"{"choices":[]}"#).await;
        }
    });
    upstream
}

#[test]
fn no_connection_has_more_streams_than_its_peer_takes() {
    let upstream = forty_at_once();
    let edge = before(&upstream).start();
    assert!(together(&edge, 40, &chat_body().to_string()).iter().all(|answer| answer.status == 200));
    let requests = upstream.requests();
    assert_eq!(upstream.connections(), 4);
    for connection in 0..4 {
        assert_eq!(requests.iter().filter(|request| request.connection == connection).count(), 10);
    }
    edge.assert_metric(ATTEMPTS, &["answered"], 40.0);
}

#[test]
fn behind_a_crowd_one_connection_is_kept_for_who_comes_next() {
    let upstream = forty_at_once();
    let edge = before(&upstream).start();
    together(&edge, 40, &chat_body().to_string());
    upstream.left_with(1);
    edge.assert_healthy();
    assert_eq!(upstream.connections(), 4, "none had to be opened anew");
}

#[test]
fn what_the_peer_chooses_by_alpn_is_spoken() {
    for (speaks, http2) in [(BOTH, true), (&BOTH[..1], true), (&BOTH[1..], false), (&[], false)] {
        let upstream = Http2::start();
        let edge =
            Harness::builder().threads(1).upstream_over_tls(Front { speaks, http2: Some(upstream.address), ..GOOD });
        let edge = edge.start();
        let answers: Vec<Answer> = (0..3).map(|_| edge.chat()).collect();
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        let seen = (upstream.count(), upstream.connections(), edge.upstream.count(), edge.upstream.connections());
        assert_eq!(seen, if http2 { (3, 1, 0, 0) } else { (0, 0, 3, 1) }, "{speaks:?}");
    }
}

#[test]
fn a_target_that_may_not_is_not_offered_http_2() {
    let upstream = Http2::start();
    let edge = Harness::builder()
        .upstream("http2: off")
        .upstream_over_tls(Front { speaks: BOTH, http2: Some(upstream.address), ..GOOD })
        .start();
    edge.assert_healthy();
    assert_eq!((upstream.connections(), edge.upstream.count()), (0, 1));
}

#[test]
fn a_target_that_has_to_and_does_not_is_not_reached_and_the_log_says_why() {
    let over_tls = Harness::builder().upstream("http2: always").upstream_over_tls(Front { speaks: &BOTH[1..], ..GOOD });
    let plain = Harness::builder().upstream("http2: always");
    for (builder, why) in [(over_tls, "NoApplicationProtocol"), (plain, "it does not speak HTTP/2 as it should")] {
        let mut edge = builder.start();
        let answer = edge.chat();
        assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"), "{answer}");
        edge.assert_metric(ATTEMPTS, &["connect"], 1.0);
        edge.process.stop();
        let log = edge.process.log();
        assert!(log.contains("cannot connect: ") && log.contains(why), "{why}: {log}");
    }
}

/// What the kernel holds for two sockets of the loopback at most, and the window.
const HELD_ON_THE_WAY: usize = 16 << 20;

#[test]
fn a_client_that_does_not_read_holds_up_itself_alone() {
    const EVENTS: usize = 4_000;
    let upstream = Http2::start();
    upstream.always(|mut exchange| async move {
        exchange.read().await;
        if exchange.request.json()["stream"] != true {
            return exchange.json(200, r#"{"choices":[]}"#).await;
        }
        let event = wire::chat_event("m", json!({"content": "x".repeat(10_000)}), None);
        exchange.head(200, "text/event-stream", None);
        for _ in 0..EVENTS {
            exchange.event(&event).await;
        }
        exchange.event(wire::DONE).await;
        exchange.end();
    });
    let edge = before(&upstream).start();
    edge.assert_healthy();
    let memory = resident(&edge);
    let mut slow = edge.chat_stream();
    slow.event();
    let sent = settled(|| upstream.sent());
    assert!(sent < HELD_ON_THE_WAY, "{sent} bytes were taken from the upstream");
    let grown = resident(&edge).saturating_sub(memory);
    assert!(grown < 8 << 20, "{grown} bytes more are held");
    (0..10).for_each(|_| edge.assert_healthy());
    assert_eq!(upstream.connections(), 1, "the others came through beside it");
    let (events, whole) = slow.rest();
    assert!(whole && events.len() == EVENTS && events[0].len() > 10_000, "{} events", events.len());
}

/// What the edge's process takes of the machine's memory.
fn resident(edge: &Harness) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", edge.process.id())).expect("its process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

/// What a count comes to once it has not grown for a while.
fn settled(count: impl Fn() -> usize) -> usize {
    let (mut last, mut since) = (count(), Instant::now());
    while since.elapsed() < Duration::from_millis(300) {
        std::thread::sleep(Duration::from_millis(5));
        let now = count();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

#[test]
fn a_body_goes_up_as_the_peers_windows_allow() {
    let upstream = Http2::with(|settings| {
        settings.initial_window_size(1_000).initial_connection_window_size(70_000);
    });
    let edge = before(&upstream).start();
    let long: String = (0..(1 << 20) / 8).map(|number| format!("{number:07} ")).collect();
    let body = json!({"model": "plan", "messages": [{"role": "user", "content": long}]});
    assert!(together(&edge, 3, &body.to_string()).iter().all(|answer| answer.status == 200));
    for request in upstream.requests() {
        let seen = request.json();
        let last = seen["messages"].as_array().and_then(|messages| messages.last()).expect("messages");
        assert!(last["content"] == long.as_str(), "the prompt arrived otherwise than it was sent");
    }
}

#[test]
fn an_answer_may_come_before_the_body_was_read() {
    for then_reset in [false, true] {
        let upstream = Http2::with(|settings| {
            settings.initial_window_size(1_000);
        });
        let refusal = r#"{"error":{"message":"no, whatever it is","type":"x","param":null,"code":"x"}}"#;
        upstream.always(move |mut exchange| async move {
            exchange.came();
            exchange.json(429, refusal).await;
            // Dropped with the body unread, the stream is reset behind the answer: no error, and no more of it wanted.
            if !then_reset {
                exchange.left().await;
            }
        });
        let edge = before(&upstream).start();
        let body = json!({"model": "plan", "messages": [{"role": "user", "content": "x".repeat(1 << 20)}]});
        let answer = edge.post(CHAT, &body);
        assert_eq!((answer.status, answer.complete, answer.text().as_str()), (429, true, refusal));
        if !then_reset {
            assert_eq!(upstream.resets(1)[0].0, Reason::CANCEL, "the rest is not sent");
        }
        upstream.always(Exchange::usual);
        edge.assert_healthy();
        assert_eq!(upstream.connections(), 1);
    }
}

#[test]
fn interim_answers_and_trailers_are_passed_over() {
    let upstream = Http2::start();
    upstream.always(|mut exchange| async move {
        exchange.read().await;
        exchange.interim(103);
        exchange.interim(103);
        exchange.head(200, "application/json", None);
        exchange.piece(br#"{"choices":[]}"#).await;
        exchange.end_with_trailer("x-checksum", "abc");
    });
    let edge = before(&upstream).start();
    let answer = edge.chat();
    assert_eq!((answer.status, answer.complete, answer.text().as_str()), (200, true, r#"{"choices":[]}"#));
    assert!(!answer.to_string().contains("x-checksum"), "{answer}");
    assert_eq!(edge.row().text("status"), "success");
}

#[test]
fn connections_are_closed_with_the_edge() {
    let upstream = Http2::start();
    let mut edge = before(&upstream).start();
    edge.assert_healthy();
    edge.process.stop();
    upstream.deserted();
}
