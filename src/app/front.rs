//! What is there before the store is: the operator's view of a start, which becomes that of the running edge.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::runtime::Runtime;

use super::patience::Patience;
use super::reload::Reloader;
use super::shared::SharedCounts;
use super::stores::Stores;
use super::tls::Tls;
use super::{Start, StartProblem, upstreams};
use crate::admission::{Fullness, Pepper};
use crate::clock::{Clock, SystemClock};
use crate::entry::admin::{self, Admin};
use crate::entry::drain::Drain;
use crate::entry::readiness::Readiness;
use crate::entry::sockets::Sockets;
use crate::proxy::Services;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// What the admin listener shows and asks, once it is there.
pub(super) struct Running {
    pub(super) services: Arc<Services>,
    pub(super) stores: Stores,
    pub(super) shared: SharedCounts,
    pub(super) reloader: Arc<Reloader>,
}

/// What is there before the store is: the operator's view of a start.
pub(super) struct Front {
    pub(super) metrics: Arc<Metrics>,
    pub(super) drain: Arc<Drain>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) tls: Tls,
    /// Whose figures the metrics show, once there are any.
    pub(super) running: Arc<OnceLock<Arc<Running>>>,
    serves_admin: bool,
    pub(super) sockets: Sockets,
}

impl Front {
    pub(super) fn open(start: &mut Start) -> Result<Self, StartProblem> {
        let edge = &start.snapshot.edge;
        let metrics = Arc::new(Metrics::new().map_err(|error| StartProblem::Metrics(error.to_string()))?);
        let tls = Tls::open(edge, &start.data, &metrics, SystemClock.now())?;
        if let Some(served) = tls.served() {
            served.count(&metrics);
        }
        metrics.configured(SystemClock.now());
        let (drain, readiness, running) = Default::default();
        let sockets = std::mem::take(&mut start.succession.sockets);
        Ok(Self { metrics, drain, readiness, tls, running, serves_admin: false, sockets })
    }

    /// Opens the store, whose keys must have been made with our pepper.
    pub(super) fn stores(
        &mut self,
        start: &Start,
        runtime: &Runtime,
        patience: &Patience,
    ) -> Result<Stores, StartProblem> {
        let pepper = Pepper::new(start.pepper.expose().as_bytes());
        let waiting = || {
            self.readiness.note_waiting();
            self.serve_admin(start, runtime)
        };
        patience.through(runtime, waiting, async || {
            let stores = start.store.open_for_edge().await?;
            pepper.check(&*stores.pepper).await?;
            Ok(stores)
        })
    }

    /// Serves the admin listener, unless it is served already. One that was taken over is left to the process before
    /// until this one is ready: an edge that is being replaced is no edge that starts.
    pub(super) fn serve_admin(&mut self, start: &Start, runtime: &Runtime) -> Result<(), StartProblem> {
        if std::mem::replace(&mut self.serves_admin, true) {
            return Ok(());
        }
        let address = start.snapshot.edge.admin;
        let problem = |error| StartProblem::Listen { address, what: "admin".into(), error };
        let shared = self.sockets.is_taken_over(address);
        let listener = self.sockets.open(address).map_err(problem)?;
        let (drain, readiness) = (Arc::clone(&self.drain), Arc::clone(&self.readiness));
        let (metrics, running) = (Arc::clone(&self.metrics), Arc::clone(&self.running));
        let (counting, controlled) = (Arc::clone(&self.running), Arc::clone(&self.running));
        let admin = Admin {
            drain: Arc::clone(&self.drain),
            readiness: Arc::clone(&self.readiness),
            metrics: Arc::new(move || {
                if let Some(running) = running.get() {
                    running.show(&metrics);
                }
                metrics.render()
            }),
            degraded: Arc::new(move || counting.get()?.problem()),
            control: Arc::new(move || Some(Arc::clone(&controlled.get()?.reloader) as _)),
        };
        runtime.spawn(async move {
            if shared {
                readiness.until_ready().await;
            }
            if let Err(error) = admin::serve(listener, admin, async move { drain.handed_over().await }).await {
                tracing::error!(%error, "the admin listener stopped");
            }
        });
        Ok(())
    }
}

impl Running {
    /// Brings the metrics up to how things stand now.
    fn show(&self, metrics: &Metrics) {
        let Self { services, stores, reloader, .. } = self;
        let ledger = services.ledger.counts();
        metrics.set_ledger(ledger.queued, ledger.dropped, ledger.quarantined);
        metrics.set_spool(services.ledger.spool_bytes(), services.ledger.spool_cuts());
        metrics.set_ledger_lag(services.ledger.lag());
        metrics.set_leases(services.quota.leases_granted(), services.quota.admitted_locally());
        show_fullness(&services.capacity.fullness(), metrics);
        metrics.set_streams_unshared(services.concurrency.unshared());
        metrics.set_access_log_dropped(services.access.dropped());
        metrics.set_spans_dropped(services.traces.as_ref().map_or(0, Traces::dropped));
        metrics.set_store_listening(stores.listens());
        metrics.set_quota_listening(services.quota.hears());
        if reloader.has_applied() {
            metrics.forget_upstreams(); // some may be gone; the others are shown again at once
        }
        upstreams::show(&services.balancer, metrics);
    }

    /// What it does without at this moment, in words for the operator.
    pub(super) fn problem(&self) -> Option<String> {
        let Self { services, shared, reloader, .. } = self;
        let problems = [reloader.problem(), shared.problem(), services.balancer.problem(Instant::now())];
        problems.into_iter().flatten().reduce(|all, problem| format!("{all}; {problem}"))
    }
}

fn show_fullness(fullness: &Fullness, metrics: &Metrics) {
    metrics.set_fullness(fullness.in_flight, fullness.body_bytes, fullness.answer_bytes);
    fullness.shed.iter().for_each(|(cap, total)| metrics.set_shed(cap.name(), *total));
}
