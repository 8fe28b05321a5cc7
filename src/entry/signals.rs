//! From a signal to the end: SIGTERM lets requests run out for the configured grace, SIGINT for a moment; a second
//! signal ends it at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::drain::Drain;

/// What an interrupt at the terminal leaves to requests in flight.
const INTERRUPT_GRACE: Duration = Duration::from_secs(1);

/// What requests that are cut have to say so to their clients.
const CUT_GRACE: Duration = Duration::from_millis(500);

/// Waits for a signal, then for requests in flight: all have ended, or were told to, when this returns.
pub async fn stopped(drain: &Arc<Drain>, grace: Duration) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("no signal can be received; the process can only be killed");
        return std::future::pending().await;
    };
    let grace = tokio::select! {
        _ = terminate.recv() => grace,
        _ = interrupt.recv() => INTERRUPT_GRACE.min(grace),
    };
    drain.begin();
    tracing::info!(grace = ?grace, "stopping: nothing new is admitted, requests in flight run out");
    tokio::select! {
        () = drain.empty() => return,
        () = tokio::time::sleep(grace) => tracing::warn!("the grace period is over; open requests are cut"),
        () = either(&mut terminate, &mut interrupt) => tracing::warn!("a second signal; open requests are cut"),
    }
    drain.cut();
    let _ = tokio::time::timeout(CUT_GRACE, drain.empty()).await;
}

async fn either(first: &mut Signal, second: &mut Signal) {
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}
