//! The dashboard as a process of its own: pages, the database as the role that sees one session's rows, and the edge's
//! control API for everything else.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;

use super::StartProblem;
use super::stores::StoreProblem;
use crate::clock::{Clock, SystemClock};
use crate::dashboard::{Dashboard, EdgeClient, Pace, router};
use crate::entry::bounded::{self, Bounds};
use crate::entry::signals;
use crate::identity::{SessionStore, SessionToken};
use crate::ledger::{ReportStore, Reports, SessionReports};
use crate::storage::postgres::DashboardAddress;
use crate::units::{StoreError, UserId};

/// The variable that names the database, as the role `cfx_dashboard`.
pub const DATABASE: &str = "DASHBOARD_DATABASE_URL";

/// What such a process is told.
#[derive(Debug)]
pub struct Settings {
    pub address: SocketAddr,
    /// The edge's control API: `http://cfx:9091`.
    pub edge: String,
    pub public_url: Option<String>,
    /// The value of [`DATABASE`].
    pub database: String,
    /// A second, of all users together.
    pub pages: NonZeroU32,
}

/// Runs until a signal ends it.
pub fn run(settings: Settings) -> Result<(), StartProblem> {
    let Settings { address, edge, public_url, database, pages: pace } = settings;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(StartProblem::Runtime)?.block_on(async {
        let listening = |error| StartProblem::Listen { address, what: "dashboard".into(), error };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(listening)?;
        let database = DashboardAddress::parse(&database).map_err(StoreProblem::from)?;
        let reports = database.open().await.map_err(StoreProblem::from)?;
        let dashboard = pages(edge, reports, public_url, pace)?;
        tracing::info!(%address, "the dashboard is ready");
        let bounds = Bounds::BEHIND_ROUTES;
        bounded::serve(listener, router(Arc::new(dashboard)), bounds, signals::ending()).await.map_err(listening)
    })
}

/// The pages of an edge whose control API is at `edge`.
pub(super) fn pages(
    edge: String,
    reports: Arc<dyn SessionReports>,
    public_url: Option<String>,
    pace: NonZeroU32,
) -> Result<Dashboard, StartProblem> {
    let edge = EdgeClient::new(edge).map_err(|problem| StartProblem::Tls(problem.to_string()))?;
    let (clock, answered, pace) = (Arc::new(SystemClock), Default::default(), Pace::new(pace));
    Ok(Dashboard { edge, reports, public_url, clock, answered, pace })
}

/// The reports of an edge's own store, given out by session: for pages in the edge's own process.
pub(super) struct OwnReports {
    pub(super) sessions: Arc<dyn SessionStore>,
    pub(super) reports: Arc<dyn ReportStore>,
    pub(super) clock: Arc<dyn Clock>,
}

#[async_trait]
impl SessionReports for OwnReports {
    async fn of(&self, token: &str, user: UserId) -> Result<Option<Box<dyn Reports>>, StoreError> {
        let Some(token) = SessionToken::parse(token) else { return Ok(None) };
        let signed = self.sessions.signed(token.hash(), self.clock.now()).await?;
        Ok(signed.filter(|signed| signed.account.id == user).map(|_| self.reports.of(user)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::identity::{Account, AccountStore, Email, Session};
    use crate::ledger::Filter;
    use crate::storage::sqlite::Sqlite;
    use crate::units::Timestamp;

    #[tokio::test]
    async fn whoever_is_signed_in_has_reports_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("cfx.db")).unwrap();
        let now = Timestamp(1_770_000_000_000_000);
        let ada = Account::new(Email::parse("ada@example.org").unwrap(), now);
        assert!(store.create(ada.clone(), None).await.unwrap());
        let [live, over, made_up] = [(); 3].map(|()| SessionToken::mint().unwrap());
        for (token, expires_at) in [(&live, Timestamp(now.0 + 60_000_000)), (&over, now)] {
            let session =
                Session { token_hash: token.hash(), user: ada.id, created_at: now, began_at: now, expires_at };
            SessionStore::open(&*store, session).await.unwrap();
        }
        let own = OwnReports { sessions: store.clone(), reports: store.clone(), clock: Arc::new(ManualClock::at(now)) };
        let seen = own.of(live.expose(), ada.id).await.unwrap().unwrap();
        assert_eq!(seen.rows(&Filter::default(), None, 50).await.unwrap(), []);
        for token in [over.expose(), made_up.expose(), "", "' or 1=1"] {
            assert!(own.of(token, ada.id).await.unwrap().is_none(), "{token}");
        }
        assert!(own.of(live.expose(), UserId(uuid::Uuid::nil())).await.unwrap().is_none(), "it is another's");
        assert!(store.end(live.hash()).await.unwrap());
        assert!(own.of(live.expose(), ada.id).await.unwrap().is_none());
    }
}
