//! Frames that no honest client sends.

use std::time::Instant;

use super::origins::{Origin, Raw};
use super::table::rows;
use super::{DEADLINE, seen_since};
use crate::harness::client::PATIENCE;
use crate::harness::{Client, Harness, Reply};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A head in HPACK, every field written out.
fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", "GET"), (":scheme", "https"), (":authority", "cfx.test"), (":path", "/one")];
    let text = |text: &str| [&[u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat();
    let field = |(name, value): &(&str, &str)| [vec![0], text(name), text(value)].concat();
    usual.iter().chain(fields).flat_map(field).collect()
}

fn opening(settings: &[u8]) -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, settings)].concat()
}

fn request(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head(fields))
}

/// What has been heard, as far as it says how the connection stands.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Answered,
    Reset,
    Closed,
}

/// Listens until an answer's end, a reset, or the end of the connection.
fn hear(client: &mut Client) -> Heard {
    loop {
        let Some(head) = client.exactly(9) else { return Heard::Closed };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some(_) = client.exactly(length) else { return Heard::Closed };
        match (head[3], head[4] & END_STREAM) {
            (RST_STREAM, _) => return Heard::Reset,
            (GOAWAY, _) => return Heard::Closed,
            (DATA | HEADERS, END_STREAM) => return Heard::Answered,
            _ => {}
        }
    }
}

#[test]
fn frames_that_no_honest_client_sends_are_reset_or_end_their_connection() {
    let origin = Raw::start();
    let edge = super::edge(&origin);
    let edge = &edge;
    let rows = rows("HTTP/2");
    let flood = |kind: u8, payload: &[u8]| frame(kind, 0, 0, payload).repeat(20_000);
    // A head that never ends, in pieces of nothing.
    let endless = frame(CONTINUATION, 0, 1, &[]).repeat(5_000);
    let continued = [frame(HEADERS, END_STREAM, 1, &head(&[])), endless].concat();
    let reset = |stream| [request(stream, &[]), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
    let resets: Vec<u8> = (0..1_000).flat_map(|n| reset(2 * n + 1)).collect();
    let cases = [
        ("an upper-case header name", request(1, &[("X-Upper", "a")]), 0),
        ("a Connection header", request(1, &[("connection", "keep-alive")]), 0),
        ("a CONTINUATION flood", continued, 0),
        ("rapid reset", resets, 250),
        ("a SETTINGS flood", flood(SETTINGS, &[0, 3, 0, 0, 0, 100]), 0),
        ("a PING flood", flood(PING, &[7; 8]), 0),
        ("no request", Vec::new(), 0),
    ];
    for (name, frames, most) in &cases {
        let (row, had) = (&rows[*name], origin.seen().len());
        let counted = row.reason.as_ref().map(|reason| (reason, edge.metric("cfx_guard_total", &[reason])));
        let mut client = Client::over(edge.https, &edge.certificate, &[b"h2"]);
        let begun = Instant::now();
        client.send(&opening(&[]));
        client.send(frames);
        let heard = hear(&mut client);
        assert_eq!(heard == Heard::Reset, row.answer == "reset", "{name}: {heard:?}");
        assert_ne!(heard, Heard::Answered, "{name}");
        assert!(begun.elapsed() < DEADLINE + PATIENCE / 3, "{name}: {:?}", begun.elapsed());
        drop(client);
        let seen = seen_since(edge, &origin, had);
        assert!(seen.len() <= *most, "{name}: {} requests behind", seen.len());
        if let Some((reason, counted)) = counted {
            edge.assert_metric("cfx_guard_total", &[reason], counted + 1.0);
        }
    }
    assert_eq!(cases.len() + 1, rows.len(), "every row is a case, here or below");
    let mut client = Client::over(edge.https, &edge.certificate, &[b"h2"]);
    client.send(&opening(&[]));
    client.send(&request(1, &[("user-agent", "honest")]));
    assert_eq!(hear(&mut client), Heard::Answered, "the same by an honest client");
    edge.assert_healthy();
}

#[test]
fn an_answer_that_gets_no_window_is_not_waited_for() {
    let origin = Raw::start();
    origin.0.always(|_| Some(Reply::json(200, "a".repeat(1 << 20))));
    let edge = Harness::builder().web_target(&origin.target()).limit("read_stall: 1s").start();
    let mut client = Client::over(edge.https, &edge.certificate, &[b"h2"]);
    client.send(&opening(&[0, 4, 0, 0, 0, 0])); // SETTINGS_INITIAL_WINDOW_SIZE: 0
    client.send(&request(1, &[]));
    assert_eq!(rows("HTTP/2")["no window for the answer"].answer, "reset");
    assert_eq!(hear(&mut client), Heard::Reset);
    edge.assert_healthy();
}
