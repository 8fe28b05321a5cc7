//! An `https` upstream: everything goes over TLS, a connection is used again, an end that TLS does not vouch for is no
//! end, and nobody is believed who cannot show a certificate for the name.

use serde_json::json;

use crate::harness::tls::{Front, GOOD};
use crate::harness::{CHAT, Harness, Reply, UPSTREAM_KEY, chat_body, gate, streaming, wire};

fn edge(front: Front) -> Harness {
    Harness::builder().upstream_over_tls(front).start()
}

#[test]
fn answers_and_streams_come_over_one_connection() {
    let edge = edge(GOOD);
    let mut client = edge.client();
    for _ in 0..3 {
        let answer = client.ask(&edge.request(CHAT, &chat_body()));
        assert_eq!(answer.status, 200, "{answer}");
        assert_eq!(answer.json()["choices"][0]["message"]["content"], wire::WORDS.concat());
        let answer = client.ask(&edge.request(CHAT, &streaming(chat_body())));
        assert!(answer.complete && answer.text().ends_with(&format!("{}\n\n", wire::DONE)), "{answer}");
    }
    assert_eq!((edge.upstream.count(), edge.upstream.connections()), (6, 1), "one handshake for all of them");
    let seen = edge.upstream.last();
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {UPSTREAM_KEY}").as_str()));
}

#[test]
fn an_event_is_not_kept_back_until_the_next() {
    let edge = edge(GOOD);
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, true), closed));
    let mut stream = edge.chat_stream_opening(&opener);
    opener.open();
    assert!(stream.event().contains(wire::WORDS[0]));
    drop(opener);
    assert!(stream.rest().1);
}

#[test]
fn a_megabyte_goes_up_as_it_was() {
    let edge = edge(GOOD);
    let long: String = (0..(1 << 20) / 8).map(|number| format!("{number:07} ")).collect();
    let body = json!({"model": "plan", "messages": [{"role": "user", "content": long}]});
    assert_eq!(edge.post(CHAT, &body).status, 200);
    let seen = edge.upstream.last().json();
    let last = seen["messages"].as_array().and_then(|messages| messages.last()).expect("messages");
    assert!(last["content"] == long.as_str(), "the prompt arrived otherwise than it was sent");
}

/// A whole answer whose only end is the connection's.
fn until_close(kind: &str, body: &str) -> Reply {
    Reply::raw(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n{body}"))
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole_only_where_tls_says_so() {
    for says_goodbye in [true, false] {
        let edge = edge(Front { says_goodbye, ..GOOD });
        let body =
            json!({"choices": [{"message": {"content": "All of it."}}], "usage": wire::chat_usage()}).to_string();
        let whole = body.clone();
        edge.upstream.then(until_close("application/json", &body));
        let answer = edge.chat();
        assert_eq!((answer.status, answer.text()), (200, whole), "the head came before the end");
        assert_eq!(answer.complete, says_goodbye, "anybody on the way can close a socket");
        let status = if says_goodbye { "success" } else { "error" };
        assert_eq!(edge.row().text("status"), status, "close_notify: {says_goodbye}");
    }
}

#[test]
fn what_ends_before_its_framing_or_its_last_word_is_cut_however_politely() {
    for says_goodbye in [true, false] {
        let edge = edge(Front { says_goodbye, ..GOOD });
        let short = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"choices\":[]}";
        edge.upstream.then(Reply::raw(short));
        assert!(!edge.chat().complete, "bytes are missing, close_notify: {says_goodbye}");
        let events = wire::chat_events("m", &wire::WORDS, true)[..2].to_vec();
        let unfinished = events.iter().map(|event| format!("{event}\n\n")).collect::<String>();
        for reply in [Reply::cut_after(events), until_close("text/event-stream", &unfinished)] {
            edge.upstream.then(reply);
            let (events, whole) = edge.chat_stream().rest();
            assert!(!whole && events.last().is_some_and(|last| last.contains("upstream_error")), "{events:?}");
        }
    }
}

#[test]
fn who_cannot_show_a_certificate_for_the_name_is_sent_nothing() {
    for (front, why) in [
        (Front { trusted: false, ..GOOD }, "invalid peer certificate"),
        (Front { name: "elsewhere.test", ..GOOD }, "certificate not valid for name"),
        (Front { expired: true, ..GOOD }, "certificate expired"),
    ] {
        let breaker = "breaker: { failures: 2, open_for: 30s }";
        let mut edge = Harness::builder().upstream(breaker).upstream_over_tls(front).start();
        for _ in 0..2 {
            let answer = edge.chat();
            assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"), "{answer}");
            assert!(
                !answer.message().to_lowercase().contains("certificate"),
                "what is behind us is not told: {answer}"
            );
        }
        assert_eq!(edge.upstream.connections(), 0, "not a byte, not the key");
        // A target that nothing may be sent to is as good as dead, whoever asks: its breaker hears of it.
        edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"connect\""], 2.0);
        edge.assert_metric("cfx_breaker_state", &["target=\"https://"], 2.0);
        edge.process.stop();
        let log = edge.process.log();
        assert!(log.contains("cannot connect: invalid peer certificate") && log.contains(why), "{log}");
    }
}
