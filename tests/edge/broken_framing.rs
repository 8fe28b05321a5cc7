//! Bytes that are no HTTP, or that two readers would cut apart differently: refused, their connection ended, and nothing of
//! what stood behind them taken for a request.

use crate::harness::{CHAT, Client, Harness, chat_body};

#[test]
fn heads_that_are_no_http_are_refused_and_forgotten() {
    let edge = Harness::start();
    let (key, body) = (&edge.key, chat_body().to_string());
    // But for that one line each is a request that would be served.
    let with = |line: &str| {
        let length = body.len();
        let head = format!("POST {CHAT} HTTP/1.1\r\nHost: cfx.test\r\nAuthorization: Bearer {key}\r\n{line}\r\n");
        format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let mut client = edge.client();
    client.send(with("X-Fine: a").as_bytes());
    assert_eq!(client.answer().status, 200);
    let long = "a".repeat(2 << 20);
    for (name, bad, status) in [
        ("a NUL", with("X-Nul: a\0b"), 400),
        ("a bare CR", with("X-Line: a\nb: c\rd"), 400),
        ("2 MB", with(&format!("X-Long: {long}")), 431),
        ("no colon", with("No colon here"), 400),
        ("a space before the colon", with("X-Space : a"), 400),
        ("a line folded into the next", with("X-Fold: a\r\n b"), 400),
        ("a TLS hello on the plain port", format!("\x16\x03\x01 \r\n\r\n{}", with("X-Fine: a")), 400),
        ("half a request line", format!("GET\r\n\r\n{}", with("X-Fine: a")), 400),
    ] {
        let mut client = edge.client();
        client.send(bad.as_bytes());
        assert_eq!(client.answer().status, status, "{name}");
        assert_ended(client, name);
    }
    assert_eq!(edge.upstream.count(), 1, "only the one without a fault");
    edge.assert_healthy();
}

#[test]
fn two_framings_of_one_body_never_make_a_second_request() {
    let edge = Harness::start();
    let body = chat_body().to_string();
    let inner = String::from_utf8(edge.request(CHAT, &chat_body()).bytes()).expect("text");
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    let chunked = "Transfer-Encoding: chunked\r\n";
    let length = |length: usize| format!("Content-Length: {length}\r\n");
    let behind = chunk(&body) + &inner;
    let inside = chunk(&inner);
    let first_line = inside.find("\r\n").expect("a chunk") + 2;
    let long_and_short = length(body.len() + inner.len()) + &length(body.len());
    // What frames the body twice, the bytes behind the head, and how many requests there may be in them.
    for (name, framing, bytes, most) in [
        ("a request behind the last chunk", length(behind.len()) + chunked, behind.clone(), 1),
        ("the same, the other way round", chunked.to_string() + &length(behind.len()), behind, 1),
        ("a request in a chunk", length(first_line) + chunked, inside, 0),
        ("two lengths", long_and_short, body.clone() + &inner, 0),
        ("a length with a sign", format!("Content-Length: +{}\r\n", body.len()), body.clone() + &inner, 0),
        ("chunks that are not last", "Transfer-Encoding: chunked, identity\r\n".into(), chunk(&body) + &inner, 0),
    ] {
        let before = edge.upstream.count();
        let key = &edge.key;
        let head = format!("POST {CHAT} HTTP/1.1\r\nHost: cfx.test\r\nAuthorization: Bearer {key}\r\n{framing}\r\n");
        let mut client = edge.client();
        client.send(&[head.as_bytes(), bytes.as_bytes()].concat());
        let answer = client.answer();
        assert!(matches!((answer.status, most), (200, 1) | (400, _)), "{name}: {answer}");
        assert_ended(client, name);
        assert!(edge.upstream.count() - before <= most, "{name}: {:?}", edge.upstream.requests());
    }
    edge.assert_healthy();
}

/// Nothing more is said, and the connection is closed from the other side: what is left on it can be read two ways.
fn assert_ended(mut client: Client, name: &str) {
    if let Some(second) = client.answer_if_any() {
        panic!("{name}: a second answer: {second}");
    }
}

#[test]
fn a_body_that_ends_early_counts_for_nothing() {
    let mut edge = Harness::start();
    let whole = edge.request(CHAT, &chat_body()).bytes();
    let mut client = edge.client();
    client.send(&whole[..whole.len() - 10]);
    client.half_close();
    if let Some(answer) = client.answer_if_any() {
        assert!((400..500).contains(&answer.status), "{answer}");
    }
    edge.assert_healthy();
    assert_eq!(edge.upstream.count(), 1, "only the healthy one");
    assert_eq!(edge.stop_and_read().counted_requests(), 1);
}

#[test]
fn a_body_whose_framing_is_broken_ends_its_connection() {
    let edge = Harness::start();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: cfx.test\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        edge.key
    );
    for size in ["ZZ", "-1", "FFFFFFFFFFFFFFFFF"] {
        let mut client = edge.client();
        client.send(format!("{head}{size}\r\n{{}}\r\n").as_bytes());
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{size}: {answer}");
    }
    assert_eq!(edge.upstream.count(), 0);
}

#[test]
fn eleven_megabytes_in_chunks_are_stopped_at_the_limit() {
    let edge = Harness::start();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: cfx.test\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        edge.key
    );
    let mut client = edge.client();
    client.send(head.as_bytes());
    let chunk = [b"100000\r\n".as_slice(), &vec![b'a'; 1 << 20], b"\r\n"].concat();
    for _ in 0..11 {
        client.send(&chunk);
    }
    client.send(b"0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    let message = answer.message().to_lowercase();
    assert!(!message.contains("token") && !message.contains("context"), "agents would cut their history: {message}");
    edge.assert_healthy();
}
