//! A client that leaves must not go on costing money: the upstream sees the close at once, and the row says what passed.

use std::io::Read;
use std::net::TcpListener;
use std::time::Instant;

use serde_json::json;

use crate::harness::client::PATIENCE;
use crate::harness::{CHAT, Harness, Reply, chat_body, gate, streaming, wire};
use crate::leavers::{AT_ONCE, Lateness};

#[test]
fn leaving_mid_stream_ends_the_upstream_request_and_is_metered() {
    let (edge, lateness) = (Harness::start(), Lateness::watch());
    let (opener, closed) = gate();
    let words: Vec<&str> = std::iter::repeat_n("word ", 100).collect();
    edge.upstream.then(Reply::gated(wire::chat_events("m", &words, true), closed));
    let mut stream = edge.chat_stream_opening(&opener);
    for _ in 0..50 {
        opener.open();
        stream.event();
    }
    let left = Instant::now();
    stream.leave();
    let noticed = edge.upstream.closed(0).saturating_duration_since(left);
    assert!(noticed < AT_ONCE + lateness.worst(), "the upstream saw it after {noticed:?}");

    let row = edge.row();
    assert_eq!((row.text("status"), row.number("http_status")), ("cancelled", 499));
    assert!(row.flag("estimated"), "the upstream never said how much it was");
    let (input, output, total) = row.tokens();
    assert!(input > 0 && output > 0 && total == input + output, "{row:?}");
    assert!(row.nano_usd() > 0, "what was said is paid for: {row:?}");
    edge.assert_healthy();
}

#[test]
fn leaving_before_the_first_byte_ends_it_too() {
    for stream in [true, false] {
        let (edge, lateness) = (Harness::start(), Lateness::watch());
        edge.upstream.then(Reply::never());
        let body = if stream { streaming(chat_body()) } else { chat_body() };
        let mut client = edge.client();
        client.send(&edge.request(CHAT, &body).bytes());
        edge.upstream.wait_for(1);
        let left = Instant::now();
        drop(client);
        let noticed = edge.upstream.closed(0).saturating_duration_since(left);
        assert!(noticed < AT_ONCE + lateness.worst(), "the upstream saw it after {noticed:?}");
        let row = edge.row();
        assert_eq!((row.text("status"), row.number("http_status")), ("cancelled", 499));
        assert!(row.flag("estimated") && row.number("input_tokens") > 0, "the prompt is paid for: {row:?}");
        edge.assert_healthy();
    }
}

#[test]
fn leaving_over_tls_is_seen_as_well() {
    let (edge, lateness) = (Harness::start(), Lateness::watch());
    edge.upstream.then(Reply::never());
    let mut client = edge.tls_client();
    client.send(&edge.request(CHAT, &streaming(chat_body())).bytes());
    edge.upstream.wait_for(1);
    let left = Instant::now();
    drop(client);
    let noticed = edge.upstream.closed(0).saturating_duration_since(left);
    assert!(noticed < AT_ONCE + lateness.worst(), "the upstream saw it after {noticed:?}");
    assert_eq!(edge.row().text("status"), "cancelled");
}

#[test]
fn leaving_while_the_upstream_still_takes_the_body_stops_the_upload() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = format!("http://{}", listener.local_addr().expect("an address"));
    let edge = Harness::builder().upstream_target(&target).start();
    let mut body = streaming(chat_body());
    body["messages"][0]["content"] = json!("a long story ".repeat(600_000));
    let request = edge.request(CHAT, &body).bytes();
    let lateness = Lateness::watch();
    for (number, half_closes) in [false, true].into_iter().enumerate() {
        let mut client = edge.client();
        client.send(&request);
        let (mut upstream, _) = listener.accept().expect("cfx connects");
        upstream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut buffer = vec![0; 64 << 10];
        let mut taken = upstream.read(&mut buffer).expect("the request's head");
        let left = Instant::now();
        if half_closes {
            client.half_close();
        } else {
            drop(client);
        }
        // To ask takes its time on a loaded machine: what counts is when it was last asked in vain.
        loop {
            let asked = left.elapsed();
            if edge.metric("cfx_requests_total", &["code=\"499\""]) == 1.0 + number as f64 {
                break;
            }
            assert!(asked < AT_ONCE + lateness.worst(), "it goes on after {asked:?}");
        }
        // No more is taken than what was under way then.
        while let Ok(count @ 1..) = upstream.read(&mut buffer) {
            taken += count;
        }
        assert!(taken < request.len(), "{taken} bytes were sent");
        let rows = edge.rows(number + 1);
        let row = rows.last().expect("a row");
        assert_eq!((row.text("status"), row.number("http_status")), ("cancelled", 499));
        assert!(row.flag("estimated") && row.number("input_tokens") > 0, "it may have begun to read: {row:?}");
    }
}

#[test]
fn hanging_up_behind_the_last_word_is_no_leaving() {
    // The OpenAI SDK for Python closes the connection once it has read `[DONE]`, before the last chunk.
    let edge = Harness::start();
    let events = wire::chat_events("m", &wire::WORDS, true);
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(events.clone(), closed));
    let mut stream = edge.chat_stream_opening(&opener);
    for _ in 1..events.len() {
        opener.open();
    }
    while stream.event() != wire::DONE {}
    stream.leave();
    edge.upstream.closed(0);
    let row = edge.row();
    assert_eq!((row.text("status"), row.number("http_status")), ("success", 200));
    assert_eq!((row.tokens(), row.flag("estimated")), ((21, 4, 25), false));
}

#[test]
fn the_estimate_is_within_a_tenth_once_the_model_is_known() {
    let edge = Harness::start();
    let words: Vec<&str> = std::iter::repeat_n("four ", 40).collect();
    // Whole answers first: from these the edge learns how many characters a token of this model has.
    let events = |words: &[&str]| {
        let mut events = wire::chat_events("m", words, false);
        let usage = json!({"choices": [{"index": 0, "delta": {}}], "usage": {"prompt_tokens": 21, "completion_tokens": words.len(), "total_tokens": 21 + words.len()}});
        events.insert(events.len() - 1, format!("data: {usage}"));
        events
    };
    for _ in 0..20 {
        edge.upstream.then(Reply::events(events(&words)));
        assert!(edge.chat_stream().rest().1);
    }
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(events(&words), closed));
    let mut stream = edge.chat_stream_opening(&opener);
    for _ in 0..30 {
        opener.open();
        stream.event();
    }
    stream.leave();
    let rows = edge.rows(21);
    let row = rows.last().expect("a row");
    assert_eq!(row.text("status"), "cancelled");
    // The head's event and 30 of the words were seen.
    let output = row.number("output_tokens");
    assert!((27..=33).contains(&output), "30 tokens passed, {output} were counted");
}

#[test]
fn a_stray_line_behind_the_body_is_no_leaving() {
    let edge = Harness::start();
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, false), closed));
    let mut bytes = edge.request(CHAT, &streaming(chat_body())).bytes();
    bytes.extend(b"\r\n");
    let mut client = edge.client();
    client.send(&bytes);
    edge.upstream.wait_for(1);
    drop(opener);
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.complete && answer.text().ends_with("data: [DONE]\n\n"), "{answer}");
    assert_eq!(edge.row().text("status"), "success");
}

#[test]
fn leaving_behind_stray_bytes_is_seen_all_the_same() {
    let (edge, lateness) = (Harness::start(), Lateness::watch());
    edge.upstream.then(Reply::never());
    let mut client = edge.client();
    client.send(&edge.request(CHAT, &chat_body()).bytes());
    edge.upstream.wait_for(1);
    client.send(b"GET /v1/models HTTP/1.1\r\n\r\n");
    let left = Instant::now();
    drop(client);
    let noticed = edge.upstream.closed(0).saturating_duration_since(left);
    assert!(noticed < AT_ONCE + lateness.worst(), "the upstream saw it after {noticed:?}");
    assert_eq!(edge.row().text("status"), "cancelled");
}
