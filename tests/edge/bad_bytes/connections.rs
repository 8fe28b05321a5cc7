//! Connections on which no request comes about.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::health::Health;
use super::origins::Origin;
use super::table::rows;
use super::{DEADLINE, seen_since};
use crate::harness::Client;
use crate::harness::client::PATIENCE;

pub fn play_all(origin: &dyn Origin) {
    let edge = super::edge(origin);
    let (rows, had, before) = (rows("Connections"), origin.seen().len(), Health::of(&edge));
    let hello = b"\x16\x03\x01\x00\xee\x01\x00\x00\xea\x03\x03".to_vec();
    let (plain, tls) = (|| Client::plain(edge.http), || Client::plain(edge.https));
    let counted = |name: &str| {
        let reason = rows[name].reason.as_deref().expect("a reason");
        (reason, edge.metric("cfx_guard_total", &[reason]))
    };
    let cases: [(&str, &dyn Fn() -> Client, Vec<u8>); 6] = [
        ("nothing at all", &plain, Vec::new()),
        ("nothing at all where TLS is spoken", &tls, Vec::new()),
        ("nothing behind a handshake", &|| edge.tls_client(), Vec::new()),
        ("HTTP where TLS is spoken", &tls, b"GET /one HTTP/1.1\r\nHost: cfx.test\r\n\r\n".to_vec()),
        ("an SSH banner where TLS is spoken", &tls, b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        ("half a ClientHello", &tls, hello),
    ];
    for (name, connect, bytes) in cases {
        let (reason, counted) = counted(name);
        let begun = Instant::now();
        let mut client = connect();
        client.send(&bytes);
        client.read_to_close();
        assert!(begun.elapsed() < DEADLINE + PATIENCE / 3, "{name}: {:?}", begun.elapsed());
        edge.assert_metric("cfx_guard_total", &[reason], counted + 1.0);
    }
    assert_eq!(rows["a renegotiation of TLS 1.2"].answer, "closed");
    renegotiate(&edge.https.to_string());
    assert_eq!(seen_since(&edge, origin, had), [""; 0]);
    before.assert_unchanged(&edge);
}

/// Asks to negotiate TLS anew, which ends the connection.
fn renegotiate(at: &str) {
    use std::io::Write;
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-quiet", "-no_ign_eof", "-connect", at])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl, which scripts/setup brings");
    let mut commands = openssl.stdin.take().expect("a pipe");
    // `R` on a line of its own is the command. The pipe stays open, so that it is not its end that ends the connection.
    let _ = commands.write_all(b"R\n");
    let deadline = Instant::now() + PATIENCE;
    while openssl.try_wait().expect("a child").is_none() {
        assert!(Instant::now() < deadline, "the connection stays");
        std::thread::sleep(Duration::from_millis(5));
    }
}
