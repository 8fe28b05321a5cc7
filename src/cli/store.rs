//! Where commands find the store, and how they wait for it.
#![expect(clippy::print_stderr, reason = "a command's output is its purpose")]

use std::future::Future;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::app::stores::{StoreChoice, StoreProblem, Stores};
use crate::cli::{Failure, counted};
use crate::storage::postgres::Address;
use crate::storage::redis::{self, RedisAddress};
use crate::units::StoreError;

const MAIN: &str = "DATABASE_URL";
const DIRECT: &str = "DIRECT_DATABASE_URL";
/// A URL with nothing wrong in it.
const ANY: &str = "postgres://cfx@localhost/cfx";

/// The flag of every command that works on stored things.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Folder of this edge; it holds the database too where DATABASE_URL names none [default: data]
    #[arg(long = "data", value_name = "DIR", env = "CFX_DATA")]
    named: Option<PathBuf>,
}

impl DataArgs {
    pub fn folder(&self) -> &Path {
        self.named.as_deref().unwrap_or(Path::new("data"))
    }

    /// The store that is meant: the database that `DATABASE_URL` names, else the file in the data folder.
    pub fn store(&self) -> Result<StoreChoice, Failure> {
        chosen(from_environment(MAIN)?, from_environment(DIRECT)?, self.folder())
    }

    /// Opens the store, which must be there with its tables.
    pub async fn open_existing(&self) -> Result<Stores, Failure> {
        let store = self.store()?;
        if let StoreChoice::Embedded(path) = &store
            && !path.exists()
        {
            return Err(Failure::Failed(format!(
                "there is no database at {}: name the right folder with --data, or make one with `cfx migrate`",
                path.display()
            )));
        }
        if matches!(store, StoreChoice::Postgres(_)) {
            let missing = store.status().await?.iter().filter(|one| one.applied_at.is_none()).count();
            if missing > 0 {
                return Err(Failure::Failed(format!(
                    "{MAIN} names {}, which lacks {}: `cfx migrate` applies what is missing",
                    store.place(),
                    counted(missing, "migration")
                )));
            }
        }
        Ok(store.open().await?)
    }

    /// Opens the store, made if missing, and yields its name for messages. An embedded one is made only in a folder that was
    /// named: where a command was started in the wrong place, nobody would look for what it wrote there.
    pub async fn open_or_make(&self) -> Result<(Stores, String), Failure> {
        let store = self.store()?;
        match &store {
            StoreChoice::Embedded(path) if !path.exists() => {
                if self.named.is_none() {
                    return Ok((self.open_existing().await?, store.place()));
                }
                make_folder(self.folder())?;
                eprintln!("{} is a new database", path.display());
            }
            StoreChoice::Embedded(_) | StoreChoice::Postgres(_) => {}
        }
        Ok((store.open().await?, store.place()))
    }
}

/// What is wrong with the variables that name stores, by what `read` says of them. Connects to nothing.
pub(super) fn problems(read: &dyn Fn(&str) -> Result<Option<String>, Failure>) -> Vec<String> {
    let (main, direct, redis) = (read(MAIN), read(DIRECT), read(redis::VARIABLE));
    let database = match (main, direct) {
        (Ok(main), Ok(direct)) => {
            let wrong = |main, direct| chosen(main, direct, Path::new("")).err();
            match wrong(main.clone(), None) {
                // A mistake in the first does not hide one in the second.
                Some(first) => vec![Some(first), direct.and_then(|direct| wrong(Some(ANY.to_owned()), Some(direct)))],
                None => vec![wrong(main, direct)],
            }
        }
        (main, direct) => vec![main.err(), direct.err()],
    };
    let redis = redis.and_then(|url| parsed(url.as_deref()));
    database.into_iter().chain([redis.err()]).flatten().map(|failure| failure.to_string()).collect()
}

/// The Redis that `REDIS_URL` names, if it names one.
pub(super) fn redis() -> Result<Option<RedisAddress>, Failure> {
    parsed(from_environment(redis::VARIABLE)?.as_deref())
}

fn parsed(redis_url: Option<&str>) -> Result<Option<RedisAddress>, Failure> {
    let address = redis_url.map(RedisAddress::parse).transpose();
    address.map_err(|problem| Failure::Configuration(problem.to_string()))
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Failed(error.0)
    }
}

impl From<StoreProblem> for Failure {
    fn from(problem: StoreProblem) -> Self {
        match problem {
            StoreProblem::Lasting(text) => Failure::Configuration(text),
            StoreProblem::Passing(text) => Failure::Failed(text),
        }
    }
}

/// Runs a command's work to its end.
pub(super) fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("no runtime: {error}")))?.block_on(work)
}

fn chosen(url: Option<String>, direct_url: Option<String>, data: &Path) -> Result<StoreChoice, Failure> {
    let Some(url) = url else {
        return match direct_url {
            // To work on another store than the one that was meant would be worse than not to work.
            Some(_) => {
                Err(Failure::Configuration(format!("{DIRECT} is set, but {MAIN}, which it stands beside, is not")))
            }
            None => Ok(StoreChoice::Embedded(data.join("cfx.db"))),
        };
    };
    let address = Address::parse(&url, direct_url.as_deref()).map_err(StoreProblem::from)?;
    Ok(StoreChoice::Postgres(Box::new(address)))
}

/// None where the variable is not set, or empty, as a line left blank in a file of settings makes it.
pub(super) fn from_environment(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::Configuration(format!("{name} is not text"))),
    }
}

pub(super) fn make_folder(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_chooses_postgres_and_without_one_it_is_the_file() {
        let data = Path::new("somewhere");
        let url = |text: &str| Some(text.to_owned());
        let place = |main, direct| chosen(main, direct, data).map(|store| store.place());
        assert_eq!(place(None, None).unwrap(), "somewhere/cfx.db");
        assert_eq!(place(url("postgres://cfx:secret@localhost/edge"), None).unwrap(), "cfx@localhost:5432/edge");
        for (main, direct, what) in [
            (url("localhost"), None, "DATABASE_URL does not begin with postgres://"),
            (url("postgres://cfx@localhost"), url("localhost"), "DIRECT_DATABASE_URL does not begin with postgres://"),
            (None, url("postgres://cfx@localhost"), "DATABASE_URL, which it stands beside, is not"),
        ] {
            let Err(Failure::Configuration(text)) = place(main, direct) else { panic!("it was taken") };
            assert!(text.contains(what), "{text}");
        }
    }
}
