//! Frames that no honest client sends.

use std::time::Instant;

use super::health::Health;
use super::origins::Origin;
use super::table::rows;
use super::{DEADLINE, seen_since};
use crate::harness::client::PATIENCE;
use crate::harness::{Client, Harness};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A head in HPACK, every field written out. What is given of the usual fields stands in their place.
fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut usual = vec![(":method", "GET"), (":scheme", "https"), (":authority", "cfx.test"), (":path", "/one")];
    usual.retain(|(name, _)| fields.iter().all(|(given, _)| given != name));
    let (pseudo, fields): (Vec<_>, Vec<_>) = fields.iter().partition(|(name, _)| name.starts_with(':'));
    usual.extend(pseudo);
    let text = |text: &str| [&[u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat();
    let field = |(name, value): &(&str, &str)| [vec![0], text(name), text(value)].concat();
    usual.iter().chain(&fields).flat_map(field).collect()
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
    /// With 400, or with another status.
    Refused,
    Answered,
    Reset,
    Closed,
}

/// HPACK for `:status: 400`.
const STATUS_400: u8 = 0x8c;

/// Listens until an answer's end, a reset, or the end of the connection.
fn hear(client: &mut Client) -> Heard {
    let mut refused = false;
    loop {
        let Some(head) = client.exactly(9) else { return Heard::Closed };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some(payload) = client.exactly(length) else { return Heard::Closed };
        refused |= head[3] == HEADERS && payload.first() == Some(&STATUS_400);
        match (head[3], head[4] & END_STREAM) {
            (RST_STREAM, _) => return Heard::Reset,
            (GOAWAY, _) => return Heard::Closed,
            (DATA | HEADERS, END_STREAM) => return if refused { Heard::Refused } else { Heard::Answered },
            _ => {}
        }
    }
}

/// A POST with a body, which ends with its last piece.
fn posted(fields: &[(&str, &str)], pieces: &[&[u8]]) -> Vec<u8> {
    let fields = [&[(":method", "POST")], fields].concat();
    let mut frames = frame(HEADERS, END_HEADERS, 1, &head(&fields));
    for (number, piece) in pieces.iter().enumerate() {
        let flags = if number + 1 == pieces.len() { END_STREAM } else { 0 };
        frames.extend(frame(DATA, flags, 1, piece));
    }
    frames
}

/// What is sent, and how many requests at the most may come of it.
fn cases() -> Vec<(&'static str, Vec<u8>, usize)> {
    let flood = |kind: u8, payload: &[u8]| frame(kind, 0, 0, payload).repeat(20_000);
    // A head that never ends, in pieces of nothing.
    let endless = frame(CONTINUATION, 0, 1, &[]).repeat(5_000);
    let continued = [frame(HEADERS, END_STREAM, 1, &head(&[])), endless].concat();
    let reset = |stream| [request(stream, &[]), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
    let resets: Vec<u8> = (0..1_000).flat_map(|n| reset(2 * n + 1)).collect();
    // What stands behind may have seen the head when the body turns out to be none.
    let begun = (":path", "/begun");
    vec![
        ("an upper-case header name", request(1, &[("X-Upper", "a")]), 0),
        ("a Connection header", request(1, &[("connection", "keep-alive")]), 0),
        ("a Transfer-Encoding", posted(&[("transfer-encoding", "chunked")], &[b"0\r\n\r\n"]), 0),
        ("a line break in a value", request(1, &[("x-a", "b\r\nTransfer-Encoding: chunked")]), 0),
        ("a line break in a name", request(1, &[("x-a: b\r\nx-c", "d")]), 0),
        ("a line break in the path", request(1, &[(":path", "/one HTTP/1.1\r\nHost: cfx.test\r\n\r\n")]), 0),
        ("a blank in the path", request(1, &[(":path", "/one HTTP/1.1")]), 0),
        ("dots in the path", request(1, &[(":path", "/a/../one")]), 0),
        ("a user in the authority", request(1, &[(":authority", "user@cfx.test")]), 0),
        ("a Host that is not the authority", request(1, &[("host", "other.test")]), 0),
        ("a pseudo-header twice", [request(1, &[(":path", "/one"), (":path", "/two")])].concat(), 0),
        ("a Content-Length that is too small", posted(&[begun, ("content-length", "1")], &[b"hello"]), 0),
        ("a Content-Length that is too large", posted(&[begun, ("content-length", "50")], &[b"hello"]), 0),
        ("two Content-Lengths", posted(&[("content-length", "5"), ("content-length", "50")], &[b"hello"]), 0),
        ("a CONTINUATION flood", continued, 0),
        ("rapid reset", resets, 250),
        ("a SETTINGS flood", flood(SETTINGS, &[0, 3, 0, 0, 0, 100]), 0),
        ("a PING flood", flood(PING, &[7; 8]), 0),
        ("a window that overflows", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), 0),
        ("a stream of an even number", request(2, &[]), 0),
        ("half a frame", request(1, &[])[..20].to_vec(), 0),
        ("no request", Vec::new(), 0),
    ]
}

pub fn play_all(origin: &dyn Origin) {
    let edge = super::edge(origin);
    let edge = &edge;
    let (rows, cases, before) = (rows("HTTP/2"), cases(), Health::of(edge));
    let mut wrong = Vec::new();
    for (name, frames, most) in &cases {
        let row = rows.get(*name).unwrap_or_else(|| panic!("{name}: no row of docs/guards.md"));
        let had = origin.seen().len();
        let counted = row.reason.as_ref().map(|reason| (reason, edge.metric("cfx_guard_total", &[reason])));
        let mut client = Client::over(edge.https, &edge.certificate, &[b"h2"]);
        let begun = Instant::now();
        client.send(&opening(&[]));
        client.send(frames);
        let heard = hear(&mut client);
        let wanted = match row.answer.as_str() {
            "reset" => Heard::Reset,
            "400" => Heard::Refused,
            _ => Heard::Closed,
        };
        if heard != wanted {
            wrong.push(format!("{name}: {heard:?}, not {wanted:?}"));
        }
        assert!(begun.elapsed() < DEADLINE + PATIENCE / 3, "{name}: {:?}", begun.elapsed());
        drop(client);
        let seen = seen_since(edge, origin, had);
        if seen.len() > *most {
            wrong.push(format!("{name}: {} requests behind: {:?}", seen.len(), seen.first()));
        }
        if let Some((reason, counted)) = counted {
            edge.assert_metric("cfx_guard_total", &[reason], counted + 1.0);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(cases.len() + 1, rows.len(), "every row is a case, here or below");
    for (asked, seen) in [
        (request(1, &[("user-agent", "honest")]), "GET /one"),
        // Its end is an empty piece, which must not be written as the end of two bodies.
        (posted(&[], &[b"hel", b"", b"lo", b""]), "POST /one"),
    ] {
        let had = origin.seen().len();
        let mut client = Client::over(edge.https, &edge.certificate, &[b"h2"]);
        client.send(&opening(&[]));
        client.send(&asked);
        assert_eq!(hear(&mut client), Heard::Answered, "the same by an honest client");
        drop(client);
        assert_eq!(seen_since(edge, origin, had), [seen]);
    }
    before.assert_unchanged(edge);
    assert_eq!(rows["no window for the answer"].answer, "reset");
    leave_no_window(origin);
}

/// An answer that gets no window is not waited for.
fn leave_no_window(origin: &dyn Origin) {
    let edge = Harness::builder().web_target(&origin.target()).limit("read_stall: 1s").start();
    let (had, before) = (origin.seen().len(), Health::of(&edge));
    let mut client = Client::over(edge.https, &edge.certificate, &[b"h2"]);
    client.send(&opening(&[0, 4, 0, 0, 0, 0])); // SETTINGS_INITIAL_WINDOW_SIZE: 0
    client.send(&request(1, &[]));
    assert_eq!(hear(&mut client), Heard::Reset);
    drop(client);
    assert_eq!(seen_since(&edge, origin, had), ["GET /one"]);
    before.assert_unchanged(&edge);
}
