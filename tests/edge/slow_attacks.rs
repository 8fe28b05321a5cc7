//! A thousand clients that are slow on purpose, by slowhttptest, beside honest ones.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Harness, Reply, Request};

const ATTACKERS: &str = "1000";
/// How long each attack is looked at, once its connections are there.
const LOOK: Duration = Duration::from_secs(15);
/// Below this a doubling is the machine's noise.
const NOISE: Duration = Duration::from_millis(5);

/// p99 of honest requests, one after the other on a connection that is kept, for as long as `LOOK`.
fn p99(edge: &Harness) -> Duration {
    let mut client = edge.client();
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < LOOK {
        let asked = Instant::now();
        assert_eq!(client.ask(&Request::get("/page")).status, 200, "an honest client is served");
        took.push(asked.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    took.sort();
    took[took.len() * 99 / 100]
}

struct Attack(Child);

impl Attack {
    fn start(at: SocketAddr, mode: &[&str]) -> Self {
        let url = format!("http://{at}/page");
        let mut command = Command::new("slowhttptest");
        command.args(["-c", ATTACKERS, "-r", "500", "-l", "60", "-u", &url]).args(mode);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(process.expect("slowhttptest, which scripts/setup brings"))
    }
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
    let edge = Harness::builder().start();
    edge.web.always(|_| Some(Reply::json(200, "a".repeat(1 << 18))));
    let before = p99(&edge);
    for (name, mode) in [
        ("slow headers", &["-H", "-i", "5", "-t", "GET", "-x", "24"][..]),
        ("slow bodies", &["-B", "-i", "5", "-s", "8192", "-t", "POST", "-x", "10"]),
        ("slow readers", &["-X", "-w", "256", "-y", "512", "-n", "5", "-z", "32", "-k", "3"]),
    ] {
        let attack = Attack::start(edge.http, mode);
        std::thread::sleep(Duration::from_secs(4)); // its connections are made at 500 a second
        let during = p99(&edge);
        println!("{name}: p99 {during:?}, {before:?} before");
        assert!(during <= 2 * before.max(NOISE), "{name}: {during:?}, {before:?} before");
        drop(attack);
        edge.assert_healthy();
    }
}
