//! Whether an edge is as well as before: it serves and says so, and holds on to nobody who came to nothing.

use std::path::Path;
use std::time::Instant;

use crate::harness::Harness;
use crate::harness::client::PATIENCE;

/// Connections to what stands behind come and go: a few, and not one for each thing that was tried.
const KEPT: usize = 8;
/// Threads that the runtimes start for a while.
const PASSING: usize = 4;

/// What a process held at some time.
pub struct Health {
    descriptors: usize,
    threads: usize,
}

impl Health {
    /// Of an edge that has served both its upstreams.
    pub fn of(edge: &Harness) -> Self {
        edge.assert_healthy();
        Self { descriptors: count(edge, "fd"), threads: count(edge, "task") }
    }

    /// No client's connection is open any more, whose task would be there as well; nothing else has piled up; chats
    /// are answered and `/-/ready` says so.
    pub fn assert_unchanged(&self, edge: &Harness) {
        edge.assert_healthy();
        let ready = edge.readiness();
        assert_eq!(ready.status, 200, "{ready}");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (open, now) =
                (open_connections(edge), Self { descriptors: count(edge, "fd"), threads: count(edge, "task") });
            let flat = now.descriptors <= self.descriptors + KEPT && now.threads <= self.threads + PASSING;
            if open == 0 && flat {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{open} clients' connections; {} descriptors, {} before; {} threads, {} before",
                now.descriptors,
                self.descriptors,
                now.threads,
                self.threads
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn count(edge: &Harness, what: &str) -> usize {
    std::fs::read_dir(format!("/proc/{}/{what}", edge.process.id())).expect("a process").count()
}

/// Connections at the public listeners that the process holds.
pub fn open_connections(edge: &Harness) -> usize {
    let ports = [edge.http.port(), edge.https.port()].map(|port| format!(":{port:04X}"));
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", edge.process.id())).expect("a table of sockets");
    let at_ours: Vec<String> = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            let is_ours = ports.iter().any(|port| local.ends_with(port.as_str())) && *state != LISTENS;
            is_ours.then(|| format!("socket:[{inode}]"))
        })
        .collect();
    let held = std::fs::read_dir(format!("/proc/{}/fd", edge.process.id())).expect("a process").flatten();
    let links = held.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.filter(|link| at_ours.iter().any(|socket| link == Path::new(socket))).count()
}

/// As `/proc/net/tcp` has it.
const LISTENS: &str = "0A";
