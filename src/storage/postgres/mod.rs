//! The real store: a Postgres database, for any number of edges and the command line beside them.
//!
//! A pool for what requests wait for, smaller ones for what people ask and for the log, and one connection beside them that
//! hears what other processes say ([`listen`]). All of it
//! lives on the runtime the store was opened on, whichever thread asks.
//!
//! Failure stance: an error is told to the caller, whose room says what then; nothing is tried again here but the
//! listener's connection.

mod accounts;
mod changes;
mod connect;
mod dashboard;
mod keys;
mod ledger;
mod links;
mod listen;
pub mod migrations;
pub mod partitions;
mod past_keys;
mod pool;
mod questions;
mod quota;
mod reports;
mod rows;
mod sessions;
mod settings;
mod tls;
mod url;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, broadcast};
use tokio::task::AbortHandle;
use tokio_postgres::Client;

use crate::storage::{Migration, Standing};
use crate::units::{Day, StoreError};
use connect::Target;
use listen::Heard;
use migrations::MigrationError;
use pool::Pool;
use questions::Askers;
use words::Said;

pub use connect::ConnectProblem;
pub use dashboard::{DashboardAddress, DashboardDatabase};

/// Calls are short and few: leases are taken ahead and rows written in batches.
const CONNECTIONS: usize = 8;
/// For accounts, sessions, links and lists of keys, beside those: whoever floods the control API with made-up sessions is
/// in nobody's way but its own.
const PEOPLE_CONNECTIONS: usize = 2;
/// How long one of those waits for a connection: a page that is asked for again later does less harm than a long queue.
const PEOPLE_WAIT: Duration = Duration::from_millis(250);
/// For questions to the log, which take longer.
const LOG_CONNECTIONS: usize = 3;

/// Where the database is, as the environment says it.
#[derive(Clone)]
pub struct Address {
    main: Target,
    /// Past the pooler, for listening.
    direct: Option<Target>,
}

/// An open database. Adapts every port of the rooms below.
pub struct Postgres {
    /// For what requests to `/v1` wait for: keys and leases.
    pool: Pool,
    /// For what people ask through the control API and the command line.
    people: Pool,
    /// For what takes time: questions to the log.
    log: Pool,
    askers: Askers,
    heard: Arc<Heard>,
    words: Mutex<broadcast::Receiver<Said>>,
    /// Ended with the store.
    listening: Option<AbortHandle>,
}

impl Address {
    /// Reads the values of `DATABASE_URL` and `DIRECT_DATABASE_URL`. Connects to nothing.
    pub fn parse(url: &str, direct_url: Option<&str>) -> Result<Self, ConnectProblem> {
        let main = Target::parse("DATABASE_URL", url)?;
        let direct = direct_url.map(|url| Target::parse("DIRECT_DATABASE_URL", url)).transpose()?;
        Ok(Self { main, direct })
    }

    /// `user@host:port/database`.
    pub fn place(&self) -> &str {
        &self.main.place
    }

    /// Applies every migration that is missing, and yields them.
    pub async fn migrate(&self) -> Result<Vec<Migration>, ConnectProblem> {
        let mut client = self.client().await?;
        migrations::apply(&mut client).await.map_err(|error| self.unusable(&error))
    }

    /// Every migration there is, and when it was applied. Changes nothing.
    pub async fn status(&self) -> Result<Vec<Standing>, ConnectProblem> {
        migrations::status(&self.client().await?).await.map_err(|error| self.unusable(&error))
    }

    /// Opens the database, with every migration applied, for a command: nothing is listened to. The store lives on the
    /// runtime that this is called on.
    pub async fn open(&self) -> Result<Arc<Postgres>, ConnectProblem> {
        self.migrate().await?;
        self.assemble(false)
    }

    /// Opens the database for an edge: as [`open`](Self::open), and listens to what other processes say.
    pub async fn open_for_edge(&self) -> Result<Arc<Postgres>, ConnectProblem> {
        self.migrate().await?;
        self.assemble(true)
    }

    fn assemble(&self, listens: bool) -> Result<Arc<Postgres>, ConnectProblem> {
        let pool = |connections| {
            Pool::new(self.main.clone(), connections).map_err(|error| ConnectProblem::lasting(error.to_string()))
        };
        let (people, log) = (pool(PEOPLE_CONNECTIONS)?.waiting(PEOPLE_WAIT), pool(LOG_CONNECTIONS)?);
        let pool = pool(CONNECTIONS)?;
        let people = people.sharing_certainty(&pool);
        let heard = Heard::new();
        let words = Mutex::new(heard.words());
        let listening = listens.then(|| {
            let target = self.direct.clone().unwrap_or_else(|| self.main.clone());
            let shares_url = target.place == self.main.place;
            tokio::spawn(listen::listen(target, pool.clone(), Arc::clone(&heard), shares_url)).abort_handle()
        });
        Ok(Arc::new(Postgres { pool, people, log, askers: Askers::default(), heard, words, listening }))
    }

    /// A connection for a moment.
    async fn client(&self) -> Result<Client, ConnectProblem> {
        let (client, connection) = self.main.connect().await?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }

    fn unusable(&self, error: &MigrationError) -> ConnectProblem {
        let text = format!("{} names {}: {error}", self.main.setting, self.main.place);
        if error.is_passing() { ConnectProblem::passing(text) } else { ConnectProblem::lasting(text) }
    }
}

impl Postgres {
    /// Whether what other processes change is heard at this moment.
    pub fn listens(&self) -> bool {
        self.heard.hears()
    }

    /// Makes the months of `request_logs` that `today` and the time after it need, and drops those that ended more
    /// than `keep_months` before.
    pub async fn turn_months(&self, today: Day, keep_months: u32) -> Result<(), StoreError> {
        let session = self.pool.session().await?;
        let failed = |error: tokio_postgres::Error| StoreError(told(&error));
        let made = partitions::ensure(&***session, today, partitions::READY).await.map_err(failed)?;
        let dropped = partitions::drop_expired(&***session, keep_months).await.map_err(failed)?;
        if made + dropped > 0 {
            tracing::info!(made, dropped, "the ledger's months were turned");
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// What the server said, in one line; the library's own text leaves that out.
fn told(error: &tokio_postgres::Error) -> String {
    let Some(said) = error.as_db_error() else {
        let source = std::error::Error::source(error).map(|source| format!(": {source}"));
        return format!("{error}{}", source.unwrap_or_default());
    };
    let more = [said.detail(), said.hint()].into_iter().flatten().map(|text| format!(" ({text})"));
    format!("{}{} [{}]", said.message(), more.collect::<String>(), said.code().code())
}

#[cfg(test)]
mod tests;
