//! The real store: a Postgres database, for any number of edges and the command line beside them.
//!
//! A pool for statements, and one connection beside it that hears what other processes say ([`listen`]). All of it
//! lives on the runtime the store was opened on, whichever thread asks.
//!
//! Failure stance: an error is told to the caller, whose room says what then; nothing is tried again here but the
//! listener's connection.

mod accounts;
mod connect;
mod keys;
mod ledger;
mod listen;
mod pool;
mod quota;
mod rows;
mod tls;
mod url;
mod words;

use std::sync::Arc;

use tokio::sync::{Mutex, broadcast};
use tokio::task::AbortHandle;

use connect::Target;
use listen::Heard;
use pool::Pool;
use words::Said;

pub use connect::ConnectProblem;

/// Where the database is, as the environment says it.
#[derive(Clone)]
pub struct Address {
    main: Target,
    /// Past the pooler, for listening.
    direct: Option<Target>,
}

/// An open database. Adapts every port of the rooms below.
pub struct Postgres {
    pool: Pool,
    heard: Arc<Heard>,
    words: Mutex<broadcast::Receiver<Said>>,
    place: String,
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
}

impl Postgres {
    /// The store's name for messages: `user@host:port/database`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether what other processes change is heard at this moment.
    pub fn listens(&self) -> bool {
        self.heard.hears()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}
