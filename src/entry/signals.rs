//! From a signal to the end: SIGTERM lets requests run out for the configured grace, SIGINT for a moment; a second
//! signal ends it at once. A process whose sockets were taken over ends in the same way, without one.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::drain::Drain;
use super::supervisor;
use crate::config::Server;

/// What an interrupt at the terminal leaves to requests in flight.
const INTERRUPT_GRACE: Duration = Duration::from_secs(1);

/// What requests that are cut have to say so to their clients.
const CUT_GRACE: Duration = Duration::from_millis(500);

/// Whoever has not asked for readiness for so long is not waited for: no load balancer asks less often.
const ASKS_EVERY: Duration = Duration::from_secs(60);

/// What a connection that came in at the last moment has to send its request.
const LATE: Duration = Duration::from_millis(500);

/// The same where another process serves and nobody waits for this one to go.
const LATE_AT_LEISURE: Duration = Duration::from_secs(2);

/// What is still granted.
struct Terms {
    grace: Duration,
    /// How long nothing must be under way.
    pause: Duration,
}

/// Waits for a signal or a take-over, then for requests in flight: all have ended, or were told to, when this returns.
/// `server` is asked when it comes to that: the configuration may have changed since the start.
pub async fn stopped(drain: &Drain, server: impl Fn() -> Server) {
    let Some(mut signals) = Signals::open() else {
        tracing::error!("no signal can be received; the process can only be killed");
        return std::future::pending().await;
    };
    let left = tokio::select! {
        interrupt = signals.next() => leave(drain, server(), interrupt, &mut signals).await,
        () = drain.handed_over() => Some(handed_over(server())),
    };
    if let Some(Terms { grace, pause }) = left {
        tokio::select! {
            () = drain.quiet(pause) => return,
            () = sleep(grace) => tracing::warn!("the grace period is over; open requests are cut"),
            () = signals.last(drain) => tracing::warn!("a second signal; open requests are cut"),
        }
    }
    drain.close();
    drain.cut();
    let _ = tokio::time::timeout(CUT_GRACE, drain.empty()).await;
}

/// Resolves when SIGTERM or SIGINT comes: for a process that has nothing under way for long.
pub async fn ending() {
    match Signals::open() {
        Some(mut signals) => drop(signals.next().await),
        None => std::future::pending().await,
    }
}

/// Readiness fails first, and whoever asks for it is given the time to notice while connections are still accepted.
/// None: a second signal came.
async fn leave(drain: &Drain, server: Server, interrupt: bool, signals: &mut Signals) -> Option<Terms> {
    drain.leave();
    supervisor::stopping();
    let mut terms = Terms { grace: server.grace, pause: Duration::ZERO };
    if interrupt {
        terms.grace = INTERRUPT_GRACE.min(server.grace);
    } else if let Some(drain_after) = server.drain_after.filter(|_| drain.was_asked_within(ASKS_EVERY)) {
        tracing::info!(?drain_after, "stopping: not ready any more; connections are accepted for a while");
        tokio::select! {
            () = sleep(drain_after) => terms.pause = LATE,
            _ = signals.next() => {
                tracing::warn!("a second signal; open requests are cut");
                return None;
            }
        }
    }
    drain.close();
    tracing::info!(grace = ?terms.grace, "stopping: no connection is accepted, requests in flight run out");
    Some(terms)
}

fn handed_over(server: Server) -> Terms {
    tracing::info!(grace = ?server.grace, "another cfx has taken over; requests in flight run out");
    Terms { grace: server.grace, pause: LATE_AT_LEISURE }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn open() -> Option<Self> {
        let terminate = signal(SignalKind::terminate()).ok()?;
        Some(Self { terminate, interrupt: signal(SignalKind::interrupt()).ok()? })
    }

    /// Whether it was an interrupt.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => true,
        }
    }

    /// The signal that ends it at once. A process that was taken over has had none yet, and its first one only asks
    /// for what it does already: a supervisor that stops its group sends it to all.
    async fn last(&mut self, drain: &Drain) {
        if drain.is_handed_over() {
            self.next().await;
            tracing::info!("stopping already, for another cfx has taken over");
        }
        self.next().await;
    }
}
