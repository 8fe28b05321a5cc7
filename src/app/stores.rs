//! Which stores stand behind the ports: a Postgres database where `DATABASE_URL` names one, else a SQLite file.
//!
//! Failure stance: what may pass is told apart from what only a person can put right. A start waits for the one, because
//! databases and edges are often started together, and never for the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{KeyRegistry, KeyStore, PepperStore, QuotaStore};
use crate::clock::Clock;
use crate::control::PLAYGROUND;
use crate::identity::{AccountStore, LinkStore, SessionStore};
use crate::ledger::{LedgerStore, ReportStore};
use crate::storage::postgres::{Address, ConnectProblem, Postgres};
use crate::storage::sqlite::Sqlite;
use crate::storage::{Migration, Standing};
use crate::units::{Day, StoreError, Timestamp};

/// How often a store is looked after, and how soon again where that failed.
const UPKEEP: (Duration, Duration) = (Duration::from_secs(6 * 3600), Duration::from_secs(600));
/// Days for which an edge may come back and account for its leases. After them they are closed as it last reported them.
const LEASES_WAIT: i32 = 7;
/// How long keys of the playground are kept behind their end, for whoever reads the log of their requests.
const PAST_KEYS_WAIT: Duration = Duration::from_secs(30 * 86_400);

/// The store that is meant.
#[derive(Clone)]
pub enum StoreChoice {
    /// A file, in a folder that is there.
    Embedded(PathBuf),
    Postgres(Box<Address>),
}

/// An open store, by port.
#[derive(Clone)]
pub struct Stores {
    pub keys: Arc<dyn KeyStore>,
    pub registry: Arc<dyn KeyRegistry>,
    pub accounts: Arc<dyn AccountStore>,
    pub sessions: Arc<dyn SessionStore>,
    pub links: Arc<dyn LinkStore>,
    pub reports: Arc<dyn ReportStore>,
    pub pepper: Arc<dyn PepperStore>,
    pub quota: Arc<dyn QuotaStore>,
    pub ledger: Arc<dyn LedgerStore>,
    itself: Itself,
}

#[derive(Clone)]
enum Itself {
    Embedded(Arc<Sqlite>),
    Postgres(Arc<Postgres>),
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum StoreProblem {
    /// Somebody has to change something.
    #[error("{0}")]
    Lasting(String),
    /// It did not answer in time.
    #[error("{0}")]
    Passing(String),
}

impl StoreChoice {
    /// Its name for messages: a path, or `user@host:port/database`.
    pub fn place(&self) -> String {
        match self {
            StoreChoice::Embedded(path) => path.display().to_string(),
            StoreChoice::Postgres(address) => address.place().to_owned(),
        }
    }

    /// Opens the store for a command, made if missing, with every migration applied. It lives on the runtime that this
    /// is called on.
    pub async fn open(&self) -> Result<Stores, StoreProblem> {
        match self {
            StoreChoice::Embedded(path) => Ok(Stores::embedded(Sqlite::open(path)?)),
            StoreChoice::Postgres(address) => Ok(Stores::postgres(address.open().await?)),
        }
    }

    /// As [`open`](Self::open) for an edge, which also hears what other processes change.
    pub async fn open_for_edge(&self) -> Result<Stores, StoreProblem> {
        match self {
            StoreChoice::Embedded(path) => Ok(Stores::embedded(Sqlite::open(path)?)),
            StoreChoice::Postgres(address) => Ok(Stores::postgres(address.open_for_edge().await?)),
        }
    }

    /// Every migration there is, and when it was applied. Changes nothing.
    pub async fn status(&self) -> Result<Vec<Standing>, StoreProblem> {
        match self {
            StoreChoice::Embedded(path) => Ok(Sqlite::status(path)?),
            StoreChoice::Postgres(address) => Ok(address.status().await?),
        }
    }

    /// Applies every migration that is missing, and yields them.
    pub async fn migrate(&self) -> Result<Vec<Migration>, StoreProblem> {
        match self {
            StoreChoice::Embedded(path) => {
                let missing = Sqlite::pending(path)?;
                Sqlite::open(path)?;
                Ok(missing)
            }
            StoreChoice::Postgres(address) => Ok(address.migrate().await?),
        }
    }
}

impl Stores {
    fn embedded(store: Arc<Sqlite>) -> Self {
        Self {
            keys: store.clone(),
            registry: store.clone(),
            accounts: store.clone(),
            sessions: store.clone(),
            links: store.clone(),
            reports: store.clone(),
            pepper: store.clone(),
            quota: store.clone(),
            ledger: store.clone(),
            itself: Itself::Embedded(store),
        }
    }

    fn postgres(store: Arc<Postgres>) -> Self {
        Self {
            keys: store.clone(),
            registry: store.clone(),
            accounts: store.clone(),
            sessions: store.clone(),
            links: store.clone(),
            reports: store.clone(),
            pepper: store.clone(),
            quota: store.clone(),
            ledger: store.clone(),
            itself: Itself::Postgres(store),
        }
    }

    /// Whether what other processes change is noticed within a second, at this moment.
    pub fn listens(&self) -> bool {
        match &self.itself {
            Itself::Embedded(_) => true,
            Itself::Postgres(store) => store.listens(),
        }
    }

    /// Runs for the life of an edge: closes leases that nobody came back for, forgets keys of the playground that ended long ago,
    /// keeps months of the ledger ready, and drops those that ended more than `retention` months before this one began, as the
    /// configuration has it each time. No row is dropped of an embedded store.
    pub async fn look_after(self, clock: Arc<dyn Clock>, retention: impl Fn() -> u32 + Send) {
        loop {
            let (now, today) = (clock.now(), clock.now().day());
            let (leases, months) = (self.close_leases(today).await, self.turn_months(today, retention()).await);
            let pause = match leases.and(months).and(self.forget_keys(now).await) {
                Ok(()) => UPKEEP.0,
                Err(error) => {
                    tracing::warn!(%error, "the store was not looked after; it is tried again");
                    UPKEEP.1
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn close_leases(&self, today: Day) -> Result<(), StoreError> {
        let before = Day(today.0 - LEASES_WAIT);
        let closed = match &self.itself {
            Itself::Embedded(store) => store.close_leases_before(before).await?,
            Itself::Postgres(store) => store.close_leases_before(before).await?,
        };
        if closed > 0 {
            tracing::info!(closed, "leases of edges that did not come back were closed");
        }
        Ok(())
    }

    async fn forget_keys(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = Timestamp(now.0.saturating_sub(i64::try_from(PAST_KEYS_WAIT.as_micros()).unwrap_or(i64::MAX)));
        loop {
            let forgotten = match &self.itself {
                Itself::Embedded(store) => store.forget_keys(PLAYGROUND, before).await?,
                Itself::Postgres(store) => store.forget_keys(PLAYGROUND, before).await?,
            };
            if forgotten == 0 {
                return Ok(());
            }
            tracing::info!(forgotten, "keys of the playground that ended long ago were forgotten");
        }
    }

    async fn turn_months(&self, today: Day, retention: u32) -> Result<(), StoreError> {
        match &self.itself {
            Itself::Embedded(_) => Ok(()),
            Itself::Postgres(store) => store.turn_months(today, retention).await,
        }
    }
}

impl From<StoreError> for StoreProblem {
    fn from(error: StoreError) -> Self {
        StoreProblem::Lasting(error.0)
    }
}

impl From<ConnectProblem> for StoreProblem {
    fn from(problem: ConnectProblem) -> Self {
        let text = problem.to_string();
        if problem.lasting { StoreProblem::Lasting(text) } else { StoreProblem::Passing(text) }
    }
}
