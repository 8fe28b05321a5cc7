//! What the control API is told of the edge that it runs in.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use super::front::Running;
use super::reload::Reloader;
use crate::admission::Subject;
use crate::config::Snapshot;
use crate::control::EdgeView;
use crate::control::api::{CertificateState, EdgeState, ModelState, Reloaded, TargetState, UpstreamState};
use crate::units::{Timestamp, UserId};
use crate::upstream::{Balancer, Group, Stand};

/// The edge, as its operators see it.
pub(super) struct View {
    pub(super) running: Arc<Running>,
    pub(super) started: Timestamp,
}

#[async_trait]
impl EdgeView for View {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.running.services.snapshot.load_full()
    }

    async fn state(&self) -> EdgeState {
        let Running { services, reloader, .. } = &*self.running;
        let (ledger, fullness) = (services.ledger.counts(), services.capacity.fullness());
        EdgeState {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started.rfc3339(),
            degraded: self.running.problem(),
            upstreams: upstreams(&services.balancer, &services.snapshot.load()),
            certificates: certificates(reloader),
            configuration: reloader.state(),
            ledger_queued: u64::try_from(ledger.queued).unwrap_or(u64::MAX),
            ledger_dropped: ledger.dropped,
            ledger_quarantined: ledger.quarantined,
            streams_in_flight: u64::try_from(fullness.streams).unwrap_or(u64::MAX),
        }
    }

    /// Files are read on a thread where that may take its time.
    async fn reload(&self) -> Reloaded {
        let reloader = Arc::clone(&self.running.reloader);
        let failed = |_| Reloaded { ok: false, problems: vec!["the reload broke off".to_owned()], changed: Vec::new() };
        tokio::task::spawn_blocking(move || reloader.reload_for_operator()).await.unwrap_or_else(failed)
    }

    async fn used_today(&self, user: UserId) -> Option<u64> {
        let services = &self.running.services;
        services.quota.used(Subject::User(user), services.clock.now().day()).await.ok().map(u64::from)
    }

    async fn draining(&self) {
        self.running.services.drain.closed().await;
    }
}

fn upstreams(balancer: &Balancer, snapshot: &Snapshot) -> Vec<UpstreamState> {
    let now = Instant::now();
    let is_asked = |name: &str| snapshot.edge.routes.iter().any(|route| route.asks(name));
    balancer.groups().iter().map(|group| upstream(group, !is_asked(group.name()), now)).collect()
}

fn upstream(group: &Group, unrouted: bool, now: Instant) -> UpstreamState {
    let breaker_of = |address: &str| {
        let reading = group.readings(now).find(|reading| reading.subject.target == address);
        reading.map_or(Stand::Closed, |reading| reading.stand).as_str().to_owned()
    };
    let targets = group.members().iter().map(|member| {
        let address = member.target.to_string();
        TargetState {
            healthy: member.is_well(),
            breaker: breaker_of(&address),
            in_flight: u64::try_from(member.in_flight()).unwrap_or(u64::MAX),
            address,
        }
    });
    let models = group.readings(now).filter(|reading| !reading.subject.model.is_empty());
    let troubled = models
        .filter(|reading| reading.stand != Stand::Closed)
        .map(|reading| ModelState { model: reading.subject.model.clone(), breaker: reading.stand.as_str().to_owned() });
    UpstreamState { name: group.name().to_owned(), unrouted, targets: targets.collect(), models: troubled.collect() }
}

fn certificates(reloader: &Reloader) -> Vec<CertificateState> {
    let shown = reloader.certificates();
    shown
        .iter()
        .map(|(certificate, ordered)| CertificateState {
            names: certificate.names.clone(),
            expires_at: certificate.expires.rfc3339(),
            source: if *ordered { "acme" } else { "file" }.to_owned(),
        })
        .collect()
}
