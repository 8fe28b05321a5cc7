//! Where commands find the store, and how they wait for it.

use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::cli::Failure;
use crate::storage::sqlite::Sqlite;
use crate::units::StoreError;

/// The flag of every command that works on stored things.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Folder that holds the database and what belongs to it
    #[arg(long, value_name = "DIR", env = "CFX_DATA", default_value = "data")]
    pub data: PathBuf,
}

impl DataArgs {
    /// The database file. An error where `DATABASE_URL` asks for a store that this version does not have.
    pub fn database(&self) -> Result<PathBuf, Failure> {
        embedded_only(std::env::var_os("DATABASE_URL"))?;
        Ok(self.data.join("cfx.db"))
    }

    /// Opens the database, which must be there.
    pub fn open_existing(&self) -> Result<Arc<Sqlite>, Failure> {
        let path = self.database()?;
        if !path.exists() {
            return Err(Failure::Failed(format!(
                "there is no database at {}: name the right folder with --data, or make one with `cfx migrate`",
                path.display()
            )));
        }
        Ok(Sqlite::open(&path)?)
    }

    /// Opens the database, made with its folder if missing.
    pub fn open(&self) -> Result<Arc<Sqlite>, Failure> {
        let path = self.database()?;
        make_folder(&self.data)?;
        Ok(Sqlite::open(&path)?)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Failed(error.0)
    }
}

/// Runs a command's work to its end.
pub(super) fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("no runtime: {error}")))?.block_on(work)
}

/// To work on another store than the one that was meant would be worse than not to work.
fn embedded_only(database_url: Option<OsString>) -> Result<(), Failure> {
    match database_url {
        Some(url) if !url.is_empty() => Err(Failure::Configuration(
            "DATABASE_URL is set, but this version has the embedded SQLite store only: unset it to work on cfx.db in \
             the data folder"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_is_refused_and_an_empty_one_is_none() {
        assert!(matches!(embedded_only(Some("postgres://db/cfx".into())), Err(Failure::Configuration(_))));
        assert!(embedded_only(Some("".into())).is_ok() && embedded_only(None).is_ok());
    }
}
