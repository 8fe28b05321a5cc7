//! The servers of this process that stand behind routes: the control API and the dashboard.
//!
//! They have a thread of their own, which gives way where cores are short, so that a busy page or operator takes little time
//! from requests to models, from leases and from the ledger. Not none: `make beside` says how much. Failure stance: where they
//! cannot be reached, their routes answer 502 and nothing else minds.

use std::future::{Future, pending};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use futures_util::future::OptionFuture;

use super::StartProblem;
use super::dashboard::{self, OwnReports};
use super::edge_view::View;
use super::front::Running;
use crate::admission::Pepper;
use crate::control::{self, Control, HttpsSupabase, Ports};
use crate::entry::bounded::{self, Bounds};
use crate::proxy::InsideServers;

/// As `nice` has it: a core that both want goes to the others nine times of ten.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// What the pages of this process are told beside its configuration.
#[derive(Debug)]
pub struct Settings {
    /// What the Connect page says the edge's address is, where it is not the one that the page was asked for.
    pub public_url: Option<String>,
    /// That are made in a second, of all users together.
    pub pages: NonZeroU32,
}

/// Listening, and not served yet: requests wait in the kernel's queue.
pub(super) struct Inside {
    control: TcpListener,
    dashboard: TcpListener,
    /// For dashboards elsewhere.
    published: Option<TcpListener>,
    pub(super) addresses: InsideServers,
}

impl Inside {
    /// `published` is where the control API listens beside, if anywhere.
    pub(super) fn open(published: Option<TcpListener>) -> Result<Self, StartProblem> {
        let (control, dashboard) = (loopback("control API")?, loopback("dashboard")?);
        let addresses = InsideServers { control: control.1, dashboard: dashboard.1 };
        Ok(Self { control: control.0, dashboard: dashboard.0, published, addresses })
    }

    /// Serves until the process goes, on a thread of its own.
    pub(super) fn serve(self, running: &Arc<Running>, pepper: Pepper, settings: Settings) -> Result<(), StartProblem> {
        let (control, dashboard) = (Self::control(running, pepper), self.dashboard(running, settings)?);
        let Self { control: of_control, dashboard: of_dashboard, published, .. } = self;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(8)
            .build()
            .map_err(StartProblem::Runtime)?;
        let drain = Arc::clone(&running.services.drain);
        let serve = move || {
            give_way();
            runtime.block_on(async {
                // Another process answers there now. Behind routes this one does until it goes: its own clients still ask it.
                let elsewhere = published
                    .map(|listener| serve(listener, control.clone(), async move { drain.handed_over().await }));
                let elsewhere = OptionFuture::from(elsewhere);
                let (control, dashboard) =
                    (serve(of_control, control, pending()), serve(of_dashboard, dashboard, pending()));
                tokio::join!(elsewhere, control, dashboard);
            });
        };
        let thread = std::thread::Builder::new().name("cfx-inside".to_owned());
        thread.spawn(serve).map(drop).map_err(StartProblem::Runtime)
    }
}

impl Inside {
    fn control(running: &Arc<Running>, pepper: Pepper) -> Router {
        let Running { services, stores, .. } = &**running;
        let clock = Arc::clone(&services.clock);
        let started = clock.now();
        let control = Control::new(Ports {
            accounts: Arc::clone(&stores.accounts),
            sessions: Arc::clone(&stores.sessions),
            links: Arc::clone(&stores.links),
            registry: Arc::clone(&stores.registry),
            reports: Arc::clone(&stores.reports),
            edge: Arc::new(View { running: Arc::clone(running), started }),
            supabase: Arc::new(HttpsSupabase::default()),
            clock,
            pepper,
        });
        control::router(Arc::new(control))
    }

    fn dashboard(&self, running: &Arc<Running>, settings: Settings) -> Result<Router, StartProblem> {
        let Running { services, stores, .. } = &**running;
        let reports = OwnReports {
            sessions: Arc::clone(&stores.sessions),
            reports: Arc::clone(&stores.reports),
            clock: Arc::clone(&services.clock),
        };
        let edge = format!("http://{}", self.addresses.control);
        let pages = dashboard::pages(edge, Arc::new(reports), settings.public_url, settings.pages)?;
        Ok(crate::dashboard::router(Arc::new(pages)))
    }
}

/// For this thread and those that it starts.
fn give_way() {
    // Elsewhere it is a whole process that is nice, or none.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "pages take as much time as requests to models");
    }
}

fn loopback(what: &str) -> Result<(TcpListener, SocketAddr), StartProblem> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let problem = |error| StartProblem::Listen { address, what: what.to_owned(), error };
    let listener = TcpListener::bind(address).map_err(problem)?;
    listener.set_nonblocking(true).map_err(problem)?;
    let bound = listener.local_addr().map_err(problem)?;
    Ok((listener, bound))
}

/// Until `stop` resolves.
async fn serve(listener: TcpListener, pages: Router, stop: impl Future<Output = ()>) {
    let serving = async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        bounded::serve(listener, pages, Bounds::BEHIND_ROUTES, stop).await
    };
    if let Err(error) = serving.await {
        tracing::error!(%error, "a server behind routes stopped");
    }
}
