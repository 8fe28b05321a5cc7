//! The embedded store: one SQLite file, for one edge and the command line beside it.
//!
//! Write-ahead logging, so that readers never wait for the writer, with `synchronous=NORMAL`: what was committed
//! survives the death of the process; a loss of power may take the last moments, never the file.
//! All writes of a process go through one connection, on a thread of its own, in the order they were asked for.
//! `PRAGMA data_version` reacts only to commits of other connections, so it is read on that same one.
//!
//! Failure stance: an error is told to the caller, whose room says what then; nothing is tried again here.

mod accounts;
mod keys;
mod ledger;
mod links;
mod migrations;
mod pages;
mod past_keys;
mod quota;
mod reports;
mod sessions;
mod settings;
mod text;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::storage::{Migration, Standing};
use crate::units::StoreError;
use worker::Worker;

/// How long one connection waits for another process's write lock.
const BUSY: Duration = Duration::from_secs(5);

/// An open database file. Adapts every port of the rooms below.
pub struct Sqlite {
    writer: Worker,
    reader: Worker,
    /// For accounts, sessions, links and lists of keys: a flood of made-up sessions holds up no key's look-up.
    people: Worker,
    /// For what takes time: questions to the log.
    questions: Arc<Worker>,
    /// Changes to keys and accounts by this process, which `data_version` does not show.
    own_changes: AtomicU64,
    /// Edges on this file, as last counted.
    live_edges: AtomicU32,
}

impl Sqlite {
    /// Opens the file, made if missing, with every migration applied. Blocks; for start-up and commands.
    pub fn open(path: &Path) -> Result<Arc<Self>, StoreError> {
        let in_file = |error: rusqlite::Error| StoreError(format!("{}: {error}", path.display()));
        create_private(path).map_err(|error| StoreError(format!("{}: {error}", path.display())))?;
        let mut writer = connect(path).map_err(in_file)?;
        migrations::apply(&mut writer).map_err(|error| StoreError(format!("{}: {error}", path.display())))?;
        let reader = connect(path).map_err(in_file)?;
        let people = connect(path).map_err(in_file)?;
        people.pragma_update(None, "query_only", true).map_err(in_file)?;
        let questions = connect(path).map_err(in_file)?;
        questions.pragma_update(None, "query_only", true).map_err(in_file)?;
        Ok(Arc::new(Self {
            writer: Worker::start("sqlite-writer", writer)?,
            reader: Worker::start("sqlite-reader", reader)?,
            people: Worker::start("sqlite-people", people)?,
            questions: Arc::new(Worker::start("sqlite-questions", questions)?),
            own_changes: AtomicU64::new(0),
            live_edges: AtomicU32::new(1),
        }))
    }

    /// Migrations that [`open`](Self::open) would apply to the file at `path`, which is left as it is.
    pub fn pending(path: &Path) -> Result<Vec<Migration>, StoreError> {
        let standing = Self::status(path)?;
        Ok(standing.into_iter().filter(|one| one.applied_at.is_none()).map(|one| one.migration).collect())
    }

    /// Every migration there is, and when it was applied to the file at `path`, which is left as it is.
    pub fn status(path: &Path) -> Result<Vec<Standing>, StoreError> {
        if !path.exists() {
            let standing = |migration: &Migration| Standing { migration: *migration, applied_at: None };
            return Ok(migrations::ALL.iter().map(standing).collect());
        }
        let told = |error: String| StoreError(format!("{}: {error}", path.display()));
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(|error| told(error.to_string()))?;
        connection.busy_timeout(BUSY).map_err(|error| told(error.to_string()))?;
        migrations::status(&connection).map_err(|error| told(error.to_string()))
    }

    /// Runs `job` under the file's write lock from its first read on, so that what it reads still holds when it
    /// writes, whatever other process has the file open.
    async fn in_transaction<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let whole = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = job(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        self.writer.run(whole).await
    }

    fn note_change(&self) {
        self.own_changes.fetch_add(1, Ordering::Relaxed);
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    write_ahead(&connection)?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Switches a new file to write-ahead logging. Of two processes that do so at the same moment, each may hold what the
/// other needs; SQLite then says busy at once, without waiting, and one of them has to try again.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let deadline = Instant::now() + BUSY;
    loop {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}

/// Makes the file, readable by its owner alone, where there is none. SQLite gives its side files the same rights.
///
/// One that is there is not opened: closing it would take away the locks that other connections of this process have on it
/// (POSIX has them by process), and whoever opened the file next would take it for unused and its log for finished.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome.map(drop),
    }
}

#[cfg(test)]
mod people_tests;
#[cfg(test)]
mod report_tests;
#[cfg(test)]
mod spend_tests;
#[cfg(test)]
mod tests;
