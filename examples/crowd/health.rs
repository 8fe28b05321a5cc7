//! `/health`, each time on a new connection, as a load balancer asks for it: from a thread of its own, so that the
//! crowd's own work is no part of what is seen.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until};

use crate::client::{Door, read_head};
use crate::figures::{Times, Troubles, nanos};

const EVERY: Duration = Duration::from_millis(20);

/// Asks until it is ended.
pub struct Watch {
    seen: Arc<Seen>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    times: Times,
    troubles: Troubles,
    over: AtomicBool,
}

impl Watch {
    pub fn start(door: &Door) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (door, seen) = (door.clone(), Arc::new(Seen::default()));
        let watched = Arc::clone(&seen);
        let thread = std::thread::spawn(move || runtime.block_on(watched.ask_on(&door)));
        Ok(Self { seen, thread })
    }

    /// Tells the times of the right answers, and how many others there were.
    pub fn end(self) {
        self.seen.over.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            self.seen.troubles.note("the watch on /health ended early");
        }
        self.seen.times.tell("health");
        self.seen.troubles.tell("health_errors");
    }
}

impl Seen {
    async fn ask_on(&self, door: &Door) {
        let mut due = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            match ask(door).await {
                Ok(()) => self.times.note(nanos(asked.elapsed())),
                Err(error) => self.troubles.note(&format!("/health: {error}")),
            }
            due = (due + EVERY).max(Instant::now());
            sleep_until(due).await;
        }
    }
}

/// Once; anything but a 200 is an error.
async fn ask(door: &Door) -> io::Result<()> {
    let mut wire = door.connect(0).await?;
    wire.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    match read_head(&mut wire, &mut Vec::new()).await?.status {
        200 => Ok(()),
        status => Err(io::Error::other(format!("answered {status}"))),
    }
}
