//! A hundred clients over HTTP/2 with a hundred requests under way each, by h2load.

use std::process::Command;

use crate::bad_bytes::origins::{Nginx, Origin};
use crate::draining::allow_open_files;
use crate::harness::Harness;

const REQUESTS: &str = "50000";

#[test]
#[ignore = "half a minute, h2load and nginx: `make soak`"]
fn ten_thousand_requests_at_once_are_all_answered() {
    allow_open_files();
    let origin = Nginx::quick();
    let guards = "guards: { connections: 20000, connections_per_address: 20000 }";
    let edge = Harness::builder().web_target(&origin.target()).edge(guards).start();
    edge.assert_healthy();
    // Its own TLS takes any certificate.
    let output = Command::new("h2load")
        .args(["-n", REQUESTS, "-c", "100", "-m", "100", &format!("https://{}/page", edge.https)])
        .output()
        .expect("h2load, which scripts/setup brings");
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines().filter(|line| line.starts_with(['r', 's', 'f', 't'])) {
        println!("{line}");
    }
    let wanted = format!(
        "requests: {REQUESTS} total, {REQUESTS} started, {REQUESTS} done, {REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout"
    );
    assert!(said.contains(&wanted), "{said}");
    assert!(said.contains(&format!("status codes: {REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx")), "{said}");
    assert_eq!(origin.seen().len().to_string(), REQUESTS, "each came through once");
    edge.assert_metric("cfx_guard_total", &[], 0.0);
    edge.assert_healthy();
}
