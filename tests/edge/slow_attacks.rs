//! A thousand clients that are slow on purpose, by slowhttptest, beside honest ones.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bad_bytes::health::{Health, open_connections};
use crate::draining::allow_open_files;
use crate::harness::client::PATIENCE;
use crate::harness::{Client, Harness, Reply, Request};

const ATTACKERS: usize = 1_000;
/// What one look is: p99 is taken of each, and the middle one counts, so that a spell in which the machine had other
/// things to do is left out on either side.
const LOOK: Duration = Duration::from_secs(2);
const LOOKS: usize = 7;
/// Below this a doubling is the machine's noise.
const NOISE: Duration = Duration::from_millis(5);

/// p99 of honest requests, one after the other on a connection that is kept.
fn p99(client: &mut Client) -> Duration {
    let mut of_looks: Vec<_> = (0..LOOKS).map(|_| p99_of_look(client)).collect();
    of_looks.sort();
    of_looks[LOOKS / 2]
}

fn p99_of_look(client: &mut Client) -> Duration {
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < LOOK {
        let asked = Instant::now();
        assert_eq!(client.ask(&Request::get("/honest")).status, 200, "an honest client is served");
        took.push(asked.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    took.sort();
    took[took.len() * 99 / 100]
}

struct Attack(Child);

impl Attack {
    /// Begins it, and comes back once all of them are there.
    fn start(edge: &Harness, mode: &[&str]) -> Self {
        let url = url(edge.http);
        let mut command = Command::new("slowhttptest");
        command.args(["-c", &ATTACKERS.to_string(), "-r", "500", "-l", "90", "-u", &url]).args(mode);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let attack = Self(process.expect("slowhttptest, which scripts/setup brings"));
        let deadline = Instant::now() + PATIENCE;
        while open_connections(edge) < ATTACKERS {
            assert!(Instant::now() < deadline, "{} connections of {ATTACKERS}", open_connections(edge));
            std::thread::sleep(Duration::from_millis(100));
        }
        attack
    }
}

fn url(at: SocketAddr) -> String {
    format!("http://{at}/page")
}

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "two minutes, and slowhttptest: `make soak`"]
fn a_thousand_slow_clients_do_not_slow_the_honest_ones() {
    allow_open_files();
    // As patient as can be, so that all of them are still there at the end of a look.
    let edge = Harness::builder()
        .edge("guards: { header_timeout: 5m, connections: 5000, connections_per_address: 5000 }")
        .limit("upload_stall: 5m")
        .limit("read_stall: 5m")
        .start();
    let long = "a".repeat(1 << 18);
    edge.web.always(move |asked| {
        Some(Reply::json(200, if asked.path() == "/honest" { "{}".to_string() } else { long.clone() }))
    });
    assert_eq!(edge.ask(&Request::get("/honest")).status, 200);
    let health = Health::of(&edge);
    for (name, mode) in [
        ("slow headers", &["-H", "-i", "5", "-t", "GET", "-x", "24"][..]),
        ("slow bodies", &["-B", "-i", "5", "-s", "8192", "-t", "POST", "-x", "10"]),
        ("slow readers", &["-X", "-w", "256", "-y", "512", "-n", "5", "-z", "32", "-k", "3"]),
    ] {
        let mut client = edge.client();
        let before = p99(&mut client);
        let attack = Attack::start(&edge, mode);
        let during = p99(&mut client);
        let there = open_connections(&edge);
        println!("{name}: p99 {during:?}, {before:?} before; {there} connections");
        assert!(there > ATTACKERS * 9 / 10, "{name}: only {there} connections are left");
        assert!(during <= 2 * before.max(NOISE), "{name}: {during:?}, {before:?} before");
        drop((attack, client));
        health.assert_unchanged(&edge);
    }
}
