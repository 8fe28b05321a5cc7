//! From a signal to the end: SIGTERM lets requests run out for the configured grace, SIGINT for a moment; a second
//! signal ends it at once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::drain::Drain;

/// What an interrupt at the terminal leaves to requests in flight.
const INTERRUPT_GRACE: Duration = Duration::from_secs(1);

pub struct Signals {
    pub drain: Arc<Drain>,
    pub grace: Duration,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("no signal can be received; the process can only be killed");
            return std::future::pending().await;
        };
        let grace = tokio::select! {
            _ = terminate.recv() => self.grace,
            _ = interrupt.recv() => INTERRUPT_GRACE,
        };
        self.drain.begin();
        tracing::info!(grace = ?grace, "stopping: nothing new is admitted, requests in flight run out");
        tokio::select! {
            () = self.drain.empty() => {}
            () = tokio::time::sleep(grace) => tracing::warn!("the grace period is over; open requests are cut"),
            () = either(&mut terminate, &mut interrupt) => tracing::warn!("a second signal; open requests are cut"),
        }
        ShutdownSignal::FastShutdown
    }
}

async fn either(first: &mut Signal, second: &mut Signal) {
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}
