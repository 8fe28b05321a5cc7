//! Connections on which no request comes about.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::health::Health;
use super::origins::Origin;
use super::table::rows;
use super::{DEADLINE, seen_since};
use crate::harness::Client;
use crate::harness::client::PATIENCE;

/// How a client comes.
type Connect<'a> = &'a (dyn Fn() -> Client + Sync);

pub fn play_all(origin: &dyn Origin) {
    let edge = super::edge(origin);
    let (rows, had, before) = (rows("Connections"), origin.seen().len(), Health::of(&edge));
    let hello = b"\x16\x03\x01\x00\xee\x01\x00\x00\xea\x03\x03".to_vec();
    let (plain, tls) = (|| Client::plain(edge.http), || Client::plain(edge.https));
    let cases: [(&str, Connect<'_>, Vec<u8>); 6] = [
        ("nothing at all", &plain, Vec::new()),
        ("nothing at all where TLS is spoken", &tls, Vec::new()),
        ("nothing behind a handshake", &|| edge.tls_client(), Vec::new()),
        ("HTTP where TLS is spoken", &tls, b"GET /one HTTP/1.1\r\nHost: cfx.test\r\n\r\n".to_vec()),
        ("an SSH banner where TLS is spoken", &tls, b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        ("half a ClientHello", &tls, hello),
    ];
    std::thread::scope(|scope| {
        for (name, connect, bytes) in &cases {
            scope.spawn(move || {
                let begun = Instant::now();
                let mut client = connect();
                client.send(bytes);
                client.read_to_close();
                assert!(begun.elapsed() < DEADLINE + PATIENCE / 3, "{name}: {:?}", begun.elapsed());
            });
        }
        scope.spawn(|| renegotiate(&edge.https.to_string()));
    });
    let names = cases.iter().map(|(name, ..)| *name).chain(["a renegotiation of TLS 1.2"]);
    let reasons: Vec<&str> = names.filter_map(|name| rows[name].reason.as_deref()).collect();
    for reason in &reasons {
        let times = reasons.iter().filter(|other| *other == reason).count();
        edge.assert_metric("cfx_guard_total", &[reason], times as f64);
    }
    assert_eq!(seen_since(&edge, origin, had), [""; 0]);
    before.assert_unchanged(&edge);
}

/// Asks to negotiate TLS anew, which is not answered: no request comes of the connection, and it ends as any such.
fn renegotiate(at: &str) {
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-quiet", "-no_ign_eof", "-connect", at])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl, which scripts/setup brings");
    let mut commands = openssl.stdin.take().expect("a pipe");
    // `R` on a line of its own is the command. The pipe stays open, so that it is not its end that ends the connection.
    let _ = commands.write_all(b"R\n");
    let begun = Instant::now();
    while openssl.try_wait().expect("a child").is_none() {
        assert!(begun.elapsed() < DEADLINE + PATIENCE / 3, "the connection stays");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut said = String::new();
    let _ = openssl.stderr.take().expect("a pipe").read_to_string(&mut said);
    assert!(said.contains("RENEGOTIATING"), "{said}");
}
