//! What stands around the control API: an edge that is not one.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cfx::config::Snapshot;
use cfx::control::{EdgeView, api};
use cfx::units::UserId;
use tokio::sync::watch;

/// An edge as the control API sees it.
pub struct Edge {
    pub snapshot: Mutex<Arc<Snapshot>>,
    pub used_today: Mutex<Option<u64>>,
    pub draining: watch::Sender<bool>,
}

#[async_trait]
impl EdgeView for Edge {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.lock().unwrap().clone()
    }

    async fn state(&self) -> api::EdgeState {
        api::EdgeState {
            version: "0.1.0".to_owned(),
            started_at: "2026-01-31T00:00:00Z".to_owned(),
            degraded: None,
            upstreams: Vec::new(),
            certificates: Vec::new(),
            configuration: api::ConfigurationState {
                since: "2026-01-31T00:00:00Z".to_owned(),
                hash: "00".to_owned(),
                problems: vec!["conf/cfx.yaml:14:7 routes[2]: no".to_owned()],
                warnings: Vec::new(),
                restart: Vec::new(),
            },
            ledger_queued: 0,
            ledger_dropped: 0,
            ledger_quarantined: 0,
            streams_in_flight: 0,
        }
    }

    async fn reload(&self) -> api::Reloaded {
        api::Reloaded { ok: true, problems: Vec::new(), changed: vec!["limits.yaml: daily_requests".to_owned()] }
    }

    async fn used_today(&self, _: UserId) -> Option<u64> {
        *self.used_today.lock().unwrap()
    }

    async fn draining(&self) {
        let mut draining = self.draining.subscribe();
        let _ = draining.wait_for(|draining| *draining).await;
    }
}
