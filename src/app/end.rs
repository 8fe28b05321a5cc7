//! The end of the process, as pingora asks for it: a signal or a take-over, the last requests, then what they left
//! behind.
//!
//! It exits here instead of returning. pingora's own teardown ends its per-thread runtimes one by one, and a listener
//! whose runtime went first makes the next thread accept errors for ever.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};

use crate::entry::signals;
use crate::proxy::Services;

/// How long the store may take to hear the last of it.
const LAST_WORDS: Duration = Duration::from_secs(5);

pub(super) struct End {
    pub(super) services: Arc<Services>,
}

#[async_trait]
impl ShutdownSignalWatch for End {
    async fn recv(&self) -> ShutdownSignal {
        let services = &self.services;
        signals::stopped(&services.drain, || services.snapshot.load().edge.server).await;
        if !services.quota.shutdown(LAST_WORDS).await {
            tracing::error!(
                "the quota's last counts did not reach the store; the next start accounts for their leases"
            );
        }
        if let Err(unwritten) = services.ledger.shutdown(LAST_WORDS).await {
            tracing::error!(%unwritten, "the store did not answer");
        }
        if let Some(traces) = &services.traces {
            traces.flush(LAST_WORDS).await;
        }
        services.access.flush();
        std::process::exit(0)
    }
}
