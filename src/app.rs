//! The composition root: the only place that names concrete stores and starts services.
//!
//! Order at start: configuration is already checked; then whether the ports are free, before anything is made or told
//! to anybody; then certificates, store and the admin listener, so that what can fail fails before a public socket
//! opens. Where the store must be waited for, the admin listener comes first and says
//! so. Who takes over from another process has its sockets from the beginning and leaves them to it until everything
//! stands. Order at the end: public sockets, leases, ledger, access log.

pub mod dashboard;
mod edge_view;
mod end;
mod front;
pub mod inside;
mod patience;
mod problem;
pub mod reload;
mod shared;
pub mod stores;
mod tls;
mod traces;
mod upstreams;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::proxy::http_proxy;
use pingora::server::{RunArgs, Server as PingoraServer};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::admission::{Capacity, KeySettings, Keys, OnStoreOutage, Pepper, QuotaSettings, RateLimiter};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Secret, Snapshot};
use crate::entry::acme::Acme;
use crate::entry::doors::{Door, Doors};
use crate::entry::handover::giver::{self, Descent};
use crate::entry::handover::taker::Predecessor;
use crate::entry::readiness::Readiness;
use crate::entry::sockets::Sockets;
use crate::entry::{ebb, listeners, successor, supervisor};
use crate::ledger::{Ledger, LedgerSettings, Recovered, Spool, SpoolSettings};
use crate::llm::Calibration;
use crate::proxy::{Gate, GuardState, Proxy, Server, Services, Tokens};
use crate::storage::redis::RedisAddress;
use crate::telemetry::Format;
use crate::telemetry::access::AccessLog;
use crate::units::{StoreError, Timestamp};
use crate::upstream::{Balancer, Dialer, look_after};
use end::End;
use front::{Front, Running};
use inside::Inside;
use patience::Patience;
pub use problem::StartProblem;
use reload::{Origin, Reloader};
use shared::SharedCounts;
use stores::{StoreChoice, StoreProblem, Stores};
use tls::Tls;

/// Rows that wait for the store in memory, some 20 MB of them; all others wait on disk.
const ROWS_IN_MEMORY: usize = 50_000;

/// More threads than this share lanes of the spool: each sets a segment's room aside.
const MOST_LANES: usize = 16;

type OnReady = Box<dyn FnOnce() + Send>;

/// What a start needs beside the configuration.
pub struct Start {
    pub snapshot: Snapshot,
    /// Where that came from, and comes from again when it is read anew.
    pub origin: Origin,
    pub store: StoreChoice,
    /// How long to wait, in all, for a store that does not answer.
    pub store_wait: Duration,
    /// The data folder, which must be there: it holds the ledger's spool.
    pub data: PathBuf,
    /// None: this edge shares no counts but by its store.
    pub redis: Option<RedisAddress>,
    pub pepper: Secret,
    /// Of the dashboard in this process.
    pub pages: inside::Settings,
    /// Of the access log on stdout.
    pub format: Format,
    pub succession: Succession,
    /// Called once every listener accepts.
    pub on_ready: OnReady,
}

/// Who was here before, and whether somebody may come after. The default: nobody.
#[derive(Debug, Default)]
pub struct Succession {
    /// What was taken over.
    pub sockets: Sockets,
    /// Whose they were, and who serves until this process does.
    pub predecessor: Option<Arc<Predecessor>>,
    /// Whether another process may take over from this one.
    pub replaceable: bool,
}

/// Whether all that is to be listened on can be. Somebody may come in between all the same.
pub fn check_ports(edge: &config::Edge, sockets: &Sockets) -> Result<(), StartProblem> {
    check_port(edge.admin, "admin", sockets)?;
    edge.control.map_or(Ok(()), |address| check_port(address, "control", sockets))?;
    edge.entrypoints.iter().try_for_each(|entrypoint| check_port(entrypoint.address, &named(entrypoint), sockets))
}

pub fn check_port(address: SocketAddr, what: &str, sockets: &Sockets) -> Result<(), StartProblem> {
    sockets.check(address).map_err(|error| StartProblem::Listen { address, what: what.to_owned(), error })
}

fn named(entrypoint: &config::Entrypoint) -> String {
    format!("entrypoint {}", entrypoint.name)
}

/// Runs the edge until a signal or a successor ends it.
pub fn run(start: Start) -> Result<(), StartProblem> {
    let predecessor = start.succession.predecessor.clone();
    let outcome = serve(start);
    if let (Some(predecessor), Err(problem)) = (predecessor, &outcome) {
        predecessor.give_up(&problem.to_string());
    }
    outcome
}

fn serve(mut start: Start) -> Result<(), StartProblem> {
    check_ports(&start.snapshot.edge, &start.succession.sockets)?;
    let runtime = control_runtime().map_err(StartProblem::Runtime)?;
    // One that waits for its store is not to die of them.
    runtime.block_on(async {
        successor::bear_signal();
        if start.origin.triggers.hangup {
            reload::bear_signal();
        }
    });
    let mut front = Front::open(&mut start)?;
    let patience = Patience::of(start.store_wait);
    let stores = front.stores(&start, &runtime, &patience)?;
    front.serve_admin(&start, &runtime)?;
    let predecessor = start.succession.predecessor.take();
    let data = start.succession.replaceable.then(|| start.data.clone());
    let (mut edge, on_ready) = Edge::assemble(start, &runtime, &patience, front, stores)?;
    let (server, accepting) = edge.public_server()?;
    let services = Arc::clone(&edge.services);
    runtime.spawn(edge.announce(accepting, on_ready, predecessor, data));
    server.run(RunArgs { shutdown_signal: Box::new(End { services }) });
    Ok(())
}

/// Everything that runs beside pingora's own threads: the store's waiting, refills, the ledger, the admin listener.
fn control_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("cfx-control").enable_all().build()
}

fn quota_settings(stance: config::OnStoreOutage) -> QuotaSettings {
    let on_store_outage = match stance {
        config::OnStoreOutage::Local => OnStoreOutage::Local,
        config::OnStoreOutage::Refuse => OnStoreOutage::Refuse,
    };
    QuotaSettings { on_store_outage, ..QuotaSettings::default() }
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
    tls: Tls,
    acme: Option<Arc<Acme>>,
    sockets: Sockets,
}

impl Edge {
    fn assemble(
        start: Start,
        runtime: &Runtime,
        patience: &Patience,
        front: Front,
        stores: Stores,
    ) -> Result<(Self, OnReady), StartProblem> {
        let Start { snapshot, origin, data, redis, pepper, pages, format, on_ready, .. } = start;
        let Front { metrics, drain, readiness, mut tls, running, mut sockets, .. } = front;
        let published = snapshot.edge.control.map(|address| {
            let problem = |error| StartProblem::Listen { address, what: "control".into(), error };
            sockets.open(address).map_err(problem)
        });
        let inside = Inside::open(published.transpose()?)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (spool, recovered) = spool(&data, &snapshot, clock.now())?;
        let edge = spool.edge();
        let shared = runtime.block_on(SharedCounts::start(redis, edge, stores.quota.clone()));
        let shared = shared.map_err(StartProblem::Redis)?;
        let counts = shared.quota(&stores.quota);
        let quota = quota_settings(snapshot.limits.on_store_outage);
        let pepper = pepper.expose().as_bytes();
        let keys = Keys::new(stores.keys.clone(), pepper, Arc::clone(&clock), KeySettings::default());
        let balancer = Arc::new(Balancer::new(snapshot.edge.upstreams.values(), snapshot.models.asked_for()));
        let traces = traces::start(&snapshot.edge.telemetry, runtime)?;
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
            challenges: tls.challenges(),
            metrics,
            access: AccessLog::start(format).map_err(StartProblem::Runtime)?,
            traces,
            clock,
            guards: GuardState::default(),
            tokens: Tokens::new(Pepper::new(pepper)),
            inside: inside.addresses,
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
        let services = Arc::new(services);
        runtime.spawn(look_after(Arc::clone(&services.balancer), services.dialer.clone()));
        let configured = Arc::clone(&services);
        let retention = move || configured.snapshot.load().edge.ledger.retention;
        runtime.spawn(stores.clone().look_after(Arc::clone(&services.clock), retention));
        let acme = tls.acme(data, &services);
        let reloader = Arc::new(Reloader::new(origin, Arc::clone(&services), tls.served(), acme.clone()));
        runtime.spawn(reload::run(Arc::clone(&reloader)));
        runtime.spawn(ebb::give_back_often());
        // Set once: nobody else has it.
        let now_running = Arc::new(Running { services: Arc::clone(&services), stores, shared, reloader });
        let _ = running.set(Arc::clone(&now_running));
        inside.serve(&now_running, Pepper::new(pepper), pages)?;
        Ok((Self { services, readiness, tls, acme, sockets }, on_ready))
    }

    /// The receiver hears once every public listener accepts.
    fn public_server(&mut self) -> Result<(PingoraServer, oneshot::Receiver<()>), StartProblem> {
        let snapshot = self.services.snapshot.load();
        let conf = listeners::server_conf(snapshot.edge.server);
        let mut server = PingoraServer::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let mut stock = http_proxy(&server.configuration, Proxy::new(Arc::clone(&self.services)));
        stock.server_options = Some(listeners::server_options());
        stock.h2_options = Some(listeners::h2_options(&snapshot.edge.guards));
        let app = Server::new(Arc::clone(&self.services), stock);
        let mut open = Vec::new();
        for entrypoint in &snapshot.edge.entrypoints {
            let address = entrypoint.address;
            let problem = |error| StartProblem::Listen { address, what: named(entrypoint), error };
            let socket = self.sockets.open(address).map_err(problem)?;
            let tls = self.tls.door(&entrypoint.name);
            open.push(Door { name: entrypoint.name.clone(), socket, tls, proxy_protocol: entrypoint.proxy_protocol });
        }
        let (drain, gate) = (Arc::clone(&self.services.drain), Gate::new(Arc::clone(&self.services)));
        let (doors, accepting) = Doors::new(app, open, drain, gate);
        server.add_service(doors);
        Ok((server, accepting))
    }

    /// Says that it serves to all who wait for that, and waits for a successor in `data`, where one may come.
    async fn announce(
        self,
        accepting: oneshot::Receiver<()>,
        on_ready: OnReady,
        predecessor: Option<Arc<Predecessor>>,
        data: Option<PathBuf>,
    ) {
        if accepting.await.is_err() {
            const WHY: &str = "the public listeners did not start";
            tracing::error!("{WHY}: this process ends");
            if let Some(predecessor) = predecessor {
                predecessor.give_up(WHY);
            }
            // Nothing was served, and pingora would wait for a signal.
            std::process::exit(1);
        }
        let drain = &self.services.drain;
        if predecessor.as_ref().is_some_and(|predecessor| predecessor.has_withdrawn()) {
            tracing::error!("another cfx was given the sockets meanwhile, for this one took too long; it leaves");
            return drain.hand_over();
        }
        self.readiness.note_ready();
        on_ready();
        supervisor::ready(); // before the process before this one goes, which the supervisor would take for the end
        let descent = if predecessor.is_some() { Descent::Heir } else { Descent::Founder };
        if let Some(predecessor) = predecessor {
            predecessor.relieve();
        }
        let drain = &self.services.drain;
        self.tls.watch(&self.services);
        if let Some(acme) = self.acme {
            tokio::spawn(acme.run(Arc::clone(drain)));
        }
        if let Some(data) = data {
            let offer = giver::offer(&data, descent, self.sockets.into_copies(), drain);
            tokio::join!(offer, successor::start_on_signal(drain));
        }
    }
}
