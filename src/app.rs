//! The composition root: the only place that names concrete stores and starts services.
//!
//! Order at start: configuration is already checked; then whether the ports are free, before anything is made or told
//! to anybody; then certificates, store and the admin listener, so that what can fail fails before a public socket
//! opens. Where the store must be waited for, the admin listener comes first and says
//! so. Order at the end: public sockets, leases, ledger, access log.

mod patience;
mod shared;
pub mod stores;
mod upstreams;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::proxy::ProxyServiceBuilder;
use pingora::server::{RunArgs, Server as PingoraServer, ShutdownSignal, ShutdownSignalWatch};
use tokio::runtime::Runtime;

use crate::admission::{
    Capacity, Fullness, KeySettings, Keys, OnStoreOutage, Pepper, PepperProblem, QuotaSettings, RateLimiter,
};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Secret, Snapshot, Transport};
use crate::entry::admin::{self, Admin};
use crate::entry::certificates::Certificates;
use crate::entry::drain::Drain;
use crate::entry::readiness::Readiness;
use crate::entry::{listeners, signals};
use crate::ledger::{Ledger, LedgerSettings, Recovered, Spool, SpoolProblem, SpoolSettings};
use crate::llm::Calibration;
use crate::proxy::{Proxy, Services, Welcomed};
use crate::storage::redis::RedisAddress;
use crate::telemetry::Format;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::units::{StoreError, Timestamp};
use crate::upstream::{Balancer, Dialer};
use patience::Patience;
use shared::SharedCounts;
use stores::{StoreChoice, StoreProblem, Stores};

/// How long the store may take to hear the last of it.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Rows that wait for the store in memory, some 20 MB of them; all others wait on disk.
const ROWS_IN_MEMORY: usize = 50_000;

/// More threads than this share lanes of the spool: each sets a segment's room aside.
const MOST_LANES: usize = 16;

type OnReady = Box<dyn FnOnce() + Send>;

/// What a start needs beside the configuration.
pub struct Start {
    pub snapshot: Snapshot,
    pub store: StoreChoice,
    /// How long to wait, in all, for a store that does not answer.
    pub store_wait: Duration,
    /// The data folder, which must be there: it holds the ledger's spool.
    pub data: PathBuf,
    /// None: this edge shares no counts but by its store.
    pub redis: Option<RedisAddress>,
    pub pepper: Secret,
    /// Who is shown the built-in welcome page.
    pub welcomed: Option<Welcomed>,
    /// Of the access log on stdout.
    pub format: Format,
    /// Called once every listener accepts.
    pub on_ready: OnReady,
}

/// Why the edge could not start, for the operator: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartProblem {
    #[error("cannot start threads: {0}")]
    Runtime(std::io::Error),
    #[error("cannot open the store: {0}")]
    Store(#[from] StoreProblem),
    #[error("cannot use Redis: {0}")]
    Redis(StoreError),
    #[error("{0}")]
    Pepper(String),
    #[error("{0}")]
    Spool(#[from] SpoolProblem),
    #[error("cannot use a certificate: {0}")]
    Certificate(String),
    #[error("cannot listen on {address} ({what}): {error}")]
    Listen { address: SocketAddr, what: String, error: std::io::Error },
    #[error("cannot set up the listeners: {0}")]
    Listeners(String),
    #[error("cannot set up the metrics: {0}")]
    Metrics(String),
}

impl From<PepperProblem> for StartProblem {
    fn from(problem: PepperProblem) -> Self {
        match problem {
            PepperProblem::Store(_) => StoreProblem::Passing(problem.to_string()).into(),
            PepperProblem::Another { .. } => StartProblem::Pepper(problem.to_string()),
        }
    }
}

/// Whether all that is to be listened on can be. Somebody may come in between all the same.
pub fn check_ports(edge: &config::Edge) -> Result<(), StartProblem> {
    check_port(edge.admin, "admin")?;
    edge.entrypoints.iter().try_for_each(check_entrypoint)
}

pub fn check_port(address: SocketAddr, what: &str) -> Result<(), StartProblem> {
    let problem = |error| StartProblem::Listen { address, what: what.to_owned(), error };
    listeners::check_free(address).map_err(problem)
}

fn check_entrypoint(entrypoint: &config::Entrypoint) -> Result<(), StartProblem> {
    check_port(entrypoint.address, &format!("entrypoint {}", entrypoint.name))
}

/// Runs the edge until a signal ends it.
pub fn run(start: Start) -> Result<(), StartProblem> {
    check_ports(&start.snapshot.edge)?;
    let runtime = control_runtime().map_err(StartProblem::Runtime)?;
    let mut front = Front::open(&start)?;
    let patience = Patience::of(start.store_wait);
    let stores = front.stores(&start, &runtime, &patience)?;
    front.serve_admin(&start, &runtime)?;
    let (edge, on_ready) = Edge::assemble(start, &runtime, &patience, front, stores)?;
    let server = edge.public_server()?;
    edge.announce(&runtime, on_ready);
    server.run(RunArgs { shutdown_signal: Box::new(End { services: edge.services }) });
    Ok(())
}

/// The end of the process, as pingora asks for it: a signal, the last requests, then what they left behind.
///
/// It exits here instead of returning. pingora's own teardown ends its per-thread runtimes one by one, and a listener
/// whose runtime went first makes the next thread accept errors for ever.
struct End {
    services: Arc<Services>,
}

#[async_trait]
impl ShutdownSignalWatch for End {
    async fn recv(&self) -> ShutdownSignal {
        let services = &self.services;
        signals::stopped(&services.drain, services.snapshot.load().edge.server.grace).await;
        if !services.quota.shutdown(LAST_WORDS).await {
            tracing::error!(
                "the quota's last counts did not reach the store; the next start accounts for their leases"
            );
        }
        if let Err(unwritten) = services.ledger.shutdown(LAST_WORDS).await {
            tracing::error!(%unwritten, "the store did not answer");
        }
        services.access.flush();
        std::process::exit(0)
    }
}

/// Everything that runs beside pingora's own threads: the store's waiting, refills, the ledger, the admin listener.
fn control_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("cfx-control").enable_all().build()
}

/// The certificates of the TLS entrypoints, if there are any.
fn certificates(edge: &config::Edge, now: Timestamp) -> Result<Option<Arc<Certificates>>, StartProblem> {
    let speaks_tls = |entrypoint: &config::Entrypoint| matches!(entrypoint.transport, Transport::Tls { .. });
    let Some(entrypoint) = edge.entrypoints.iter().find(|entrypoint| speaks_tls(entrypoint)) else { return Ok(None) };
    match Certificates::load(&edge.certificates, now) {
        Ok(certificates) => Ok(Some(Arc::new(certificates))),
        Err(problem) => Err(StartProblem::Certificate(format!("entrypoint {}: {problem}", entrypoint.name))),
    }
}

fn quota_settings(stance: config::OnStoreOutage) -> QuotaSettings {
    let on_store_outage = match stance {
        config::OnStoreOutage::Local => OnStoreOutage::Local,
        config::OnStoreOutage::Refuse => OnStoreOutage::Refuse,
    };
    QuotaSettings { on_store_outage, ..QuotaSettings::default() }
}

/// What is there before the store is: the operator's view of a start.
struct Front {
    metrics: Arc<Metrics>,
    drain: Arc<Drain>,
    readiness: Arc<Readiness>,
    /// None where no entrypoint speaks TLS.
    certificates: Option<Arc<Certificates>>,
    /// Whose figures the metrics show, once there are any.
    running: Arc<OnceLock<(Arc<Services>, Stores, SharedCounts)>>,
    serves_admin: bool,
}

impl Front {
    fn open(start: &Start) -> Result<Self, StartProblem> {
        let edge = &start.snapshot.edge;
        let metrics = Arc::new(Metrics::new().map_err(|error| StartProblem::Metrics(error.to_string()))?);
        let certificates = certificates(edge, SystemClock.now())?;
        let expiries = certificates.iter().flat_map(|served| served.expiries()).collect::<Vec<_>>();
        metrics.set_certificates(expiries.iter().map(|(name, expiry)| (name.as_str(), *expiry)));
        let (drain, readiness, running) = Default::default();
        Ok(Self { metrics, drain, readiness, certificates, running, serves_admin: false })
    }

    /// Opens the store, whose keys must have been made with our pepper.
    fn stores(&mut self, start: &Start, runtime: &Runtime, patience: &Patience) -> Result<Stores, StartProblem> {
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

    /// Serves the admin listener, unless it is served already.
    fn serve_admin(&mut self, start: &Start, runtime: &Runtime) -> Result<(), StartProblem> {
        if std::mem::replace(&mut self.serves_admin, true) {
            return Ok(());
        }
        let address = start.snapshot.edge.admin;
        let problem = |error| StartProblem::Listen { address, what: "admin".into(), error };
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).map_err(problem)?;
        let (metrics, running) = (Arc::clone(&self.metrics), Arc::clone(&self.running));
        let counting = Arc::clone(&self.running);
        let admin = Admin {
            drain: Arc::clone(&self.drain),
            readiness: Arc::clone(&self.readiness),
            metrics: Arc::new(move || {
                if let Some((services, stores, _)) = running.get() {
                    let ledger = services.ledger.counts();
                    metrics.set_ledger(ledger.queued, ledger.dropped, ledger.quarantined);
                    metrics.set_spool(services.ledger.spool_bytes(), services.ledger.spool_cuts());
                    metrics.set_ledger_lag(services.ledger.lag());
                    metrics.set_leases(services.quota.leases_granted(), services.quota.admitted_locally());
                    show_fullness(&services.capacity.fullness(), &metrics);
                    metrics.set_streams_unshared(services.concurrency.unshared());
                    metrics.set_access_log_dropped(services.access.dropped());
                    metrics.set_store_listening(stores.listens());
                    metrics.set_quota_listening(services.quota.hears());
                    upstreams::show(&services.balancer, &metrics);
                }
                metrics.render()
            }),
            degraded: Arc::new(move || {
                let (services, _, shared) = counting.get()?;
                let problems = [shared.problem(), services.balancer.problem(Instant::now())];
                problems.into_iter().flatten().reduce(|all, problem| format!("{all}; {problem}"))
            }),
        };
        runtime.spawn(async move {
            if let Err(error) = admin::serve(listener, admin, std::future::pending()).await {
                tracing::error!(%error, "the admin listener stopped");
            }
        });
        Ok(())
    }
}

fn show_fullness(fullness: &Fullness, metrics: &Metrics) {
    metrics.set_fullness(fullness.in_flight, fullness.body_bytes);
    fullness.shed.iter().for_each(|(cap, total)| metrics.set_shed(cap.name(), *total));
}

/// The spool of the ledger, and with it the identity of this edge; what earlier processes left in it is told and goes
/// to the store behind the first requests.
fn spool(data: &Path, snapshot: &Snapshot, now: Timestamp) -> Result<(Spool, Vec<Recovered>), StartProblem> {
    let config::Spool { size, fsync, on_full } = snapshot.edge.ledger.spool;
    let lanes = snapshot.edge.server.threads.clamp(1, MOST_LANES);
    let settings = SpoolSettings { size, fsync, on_full, lanes, capacity: ROWS_IN_MEMORY };
    Ok(Spool::open(&data.join("spool"), settings, now)?)
}

/// Settles what earlier processes left open, by what their spools say was used of it: this edge's own first, which is
/// among them even where its spool says nothing.
async fn account_for(quota: &RateLimiter, recovered: &[Recovered]) -> Result<(), StoreError> {
    for left in recovered {
        quota.recover(left.edge, &left.leases).await?;
    }
    Ok(())
}

struct Edge {
    services: Arc<Services>,
    readiness: Arc<Readiness>,
    certificates: Option<Arc<Certificates>>,
}

impl Edge {
    fn assemble(
        start: Start,
        runtime: &Runtime,
        patience: &Patience,
        front: Front,
        stores: Stores,
    ) -> Result<(Self, OnReady), StartProblem> {
        let Start { snapshot, data, redis, pepper, welcomed, format, on_ready, .. } = start;
        let Front { metrics, drain, readiness, certificates, running, .. } = front;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (spool, recovered) = spool(&data, &snapshot, clock.now())?;
        let edge = spool.edge();
        let shared = runtime.block_on(SharedCounts::start(redis, edge, stores.quota.clone()));
        let shared = shared.map_err(StartProblem::Redis)?;
        let counts = shared.quota(&stores.quota);
        let quota = quota_settings(snapshot.limits.on_store_outage);
        let pepper = pepper.expose().as_bytes();
        let keys = Keys::new(stores.keys.clone(), pepper, Arc::clone(&clock), KeySettings::default());
        let models = snapshot.models.aliases.values().map(|model| &model.upstream_model);
        let balancer = Balancer::new(snapshot.edge.upstreams.values(), models);
        let services = Services {
            snapshot: ArcSwap::from_pointee(snapshot),
            keys: Arc::new(keys),
            quota: Arc::new(RateLimiter::new(counts, edge, Arc::clone(&clock), quota)),
            quota_beside_keys: !shared.counts_elsewhere(),
            concurrency: runtime.block_on(async { shared.concurrency() }),
            capacity: Capacity::new(),
            ledger: Ledger::new(spool, stores.ledger.clone(), Arc::clone(&clock), LedgerSettings::default()),
            calibration: Calibration::default(),
            balancer,
            dialer: Dialer::default(),
            drain,
            metrics,
            access: AccessLog::start(format).map_err(StartProblem::Runtime)?,
            clock,
            welcomed,
        };
        let waiting = || {
            readiness.note_waiting();
            Ok(())
        };
        patience.through(runtime, waiting, async || match account_for(&services.quota, &recovered).await {
            // Later it could not be told from this life's leases. They go with their day, counted as used.
            Err(error) if shared.is_away() => {
                tracing::warn!(%error, "what an earlier life of this edge left open stays counted as used");
                Ok(())
            }
            outcome => outcome.map_err(|error| StoreProblem::Passing(error.0).into()),
        })?;
        runtime.spawn(Arc::clone(&services.keys).watch());
        runtime.spawn(Arc::clone(&services.quota).run());
        runtime.spawn(services.ledger.clone().run());
        runtime.spawn(services.balancer.look_after(services.dialer.clone()));
        let retention = services.snapshot.load().edge.ledger.retention;
        runtime.spawn(stores.clone().look_after(Arc::clone(&services.clock), retention));
        let services = Arc::new(services);
        // Set once: nobody else has it.
        let _ = running.set((Arc::clone(&services), stores, shared));
        Ok((Self { services, readiness, certificates }, on_ready))
    }

    fn public_server(&self) -> Result<PingoraServer, StartProblem> {
        let snapshot = self.services.snapshot.load();
        let conf = listeners::server_conf(snapshot.edge.server);
        let mut server = PingoraServer::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let mut service = ProxyServiceBuilder::new(&server.configuration, Proxy::new(Arc::clone(&self.services)))
            .name("cfx")
            .server_options(listeners::server_options())
            .build();
        if let Some(app) = service.app_logic_mut() {
            app.h2_options = Some(listeners::h2_options());
        }
        for entrypoint in &snapshot.edge.entrypoints {
            check_entrypoint(entrypoint)?;
            let listener = listeners::listener(entrypoint, self.certificates.as_ref())
                .map_err(|error| StartProblem::Listeners(error.to_string()))?;
            service.add_listener(listener);
        }
        server.add_service(service);
        Ok(server)
    }

    fn announce(&self, runtime: &Runtime, on_ready: OnReady) {
        let readiness = Arc::clone(&self.readiness);
        let addresses: Vec<SocketAddr> =
            self.services.snapshot.load().edge.entrypoints.iter().map(|entrypoint| entrypoint.address).collect();
        runtime.spawn(async move {
            readiness.wait_for(&addresses).await;
            on_ready();
        });
    }
}
