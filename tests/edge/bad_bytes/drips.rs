//! Clients that bring a byte now and then, or stop in the middle.

use std::time::Instant;

use super::cases::{BEGUN, post};
use super::health::Health;
use super::origins::Origin;
use super::table::{Row, rows};
use super::{DEADLINE, Listener, seen_since};
use crate::harness::Harness;
use crate::harness::client::PATIENCE;

struct Drip {
    name: &'static str,
    /// At once.
    first: String,
    /// Then these, a byte at a time and again from the beginning; where there are none, nothing.
    then: &'static [u8],
}

fn drips() -> Vec<Drip> {
    let begun = |lines: &str, body: &str| post(lines, body).replacen("POST /one", BEGUN, 1);
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        Drip {
            name: "a head, a byte now and then",
            first: String::new(),
            then: b"GET /one HTTP/1.1\r\nHost: cfx.test\r\nX-Slow: yes\r\n",
        },
        Drip { name: "half a head", first: "GET /one HTTP/1.1\r\nHost: cfx".into(), then: b"" },
        Drip { name: "a body, a byte now and then", first: begun("Content-Length: 5000\r\n", ""), then: b"a" },
        Drip { name: "chunks, a byte now and then", first: begun(chunked, ""), then: b"1\r\na\r\n" },
        Drip { name: "half a body", first: begun("Content-Length: 50\r\n", "hello"), then: b"" },
        Drip { name: "a chunk without an end", first: begun(chunked, "7FFFFFFFFFFFFFFF\r\nhello"), then: b"" },
        Drip { name: "trailers without an end", first: begun(chunked, "0\r\nX-Trailer: a"), then: b"" },
    ]
}

/// All of them at once, for each takes as long as it may.
pub fn play_all(origin: &dyn Origin) {
    let edge = super::edge(origin);
    let (rows, drips, had, before) = (rows("Time"), drips(), origin.seen().len(), Health::of(&edge));
    let counted = |row: &Row| row.reason.as_ref().map_or(0.0, |reason| edge.metric("cfx_guard_total", &[reason]));
    assert!(rows.values().all(|row| counted(row) == 0.0));
    std::thread::scope(|scope| {
        for listener in [Listener::Plain, Listener::Tls] {
            for drip in &drips {
                let (edge, row) = (&edge, &rows[drip.name]);
                scope.spawn(move || play(edge, drip, row, listener));
            }
        }
    });
    assert_eq!(drips.len(), rows.len(), "every row is a case");
    assert_eq!(seen_since(&edge, origin, had), [""; 0]);
    for reason in rows.values().filter_map(|row| row.reason.as_ref()) {
        let times = rows.values().filter(|row| row.reason.as_ref() == Some(reason)).count();
        edge.assert_metric("cfx_guard_total", &[reason], 2.0 * times as f64);
    }
    before.assert_unchanged(&edge);
}

fn play(edge: &Harness, drip: &Drip, row: &Row, listener: Listener) {
    let (name, begun) = (drip.name, Instant::now());
    let mut client = listener.client(edge);
    client.send(drip.first.as_bytes());
    for byte in drip.then.iter().cycle() {
        client.send(&[*byte]);
        if begun.elapsed() > DEADLINE + DEADLINE / 5 {
            break;
        }
        std::thread::sleep(DEADLINE / 30);
    }
    let answer = client.answer();
    assert_eq!(Some(answer.status), row.status, "{name}: {answer}");
    assert_eq!(answer.header("connection"), Some("close"), "{name}: {answer}");
    let code = if row.reason.is_some() { "header_timeout" } else { "body_timeout" };
    assert_eq!(answer.code(), code, "{name}: {answer}");
    assert!(begun.elapsed() >= DEADLINE && begun.elapsed() < DEADLINE + PATIENCE / 3, "{name}: {:?}", begun.elapsed());
}
