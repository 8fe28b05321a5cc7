//! What `dev` and `run` have in common: their flags, and the way from a configuration to a running edge.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::FalseyValueParser;

use super::Failure;
use super::store::{self, DataArgs};
use crate::app::reload::Origin;
use crate::app::stores::{StoreChoice, StoreProblem};
use crate::app::{self, Start, StartProblem, Succession};
use crate::config::{self, Overrides, Secret, Snapshot, Source};
use crate::dashboard::PAGES;
use crate::entry::descriptors;
use crate::entry::handover::taker;
use crate::entry::sockets::Sockets;
use crate::telemetry::{self, Format};

/// The flags that stand above the configuration. Each has an environment variable.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// The directory of cfx.yaml, models.yaml and limits.yaml
    #[arg(long, value_name = "DIR", env = "CFX_CONF")]
    pub conf: Option<PathBuf>,
    #[command(flatten)]
    pub data: DataArgs,
    /// Address of the plain HTTP listener
    #[arg(long, value_name = "ADDR", env = "CFX_HTTP")]
    pub http: Option<SocketAddr>,
    /// Address of the TLS listener
    #[arg(long, value_name = "ADDR", env = "CFX_HTTPS")]
    pub https: Option<SocketAddr>,
    /// Address of the admin listener (metrics, health); keep it off the internet
    #[arg(long, value_name = "ADDR", env = "CFX_ADMIN")]
    pub admin: Option<SocketAddr>,
    /// Where clients reach this edge, for the dashboard's Connect page: https://edge.example.org
    #[arg(long, value_name = "URL", env = "CFX_PUBLIC_URL", value_parser = super::user::base)]
    pub public_url: Option<String>,
    /// Pages of the dashboard that this process makes in a second, for all users together; a fifth of them for one user
    #[arg(long, value_name = "COUNT", env = "CFX_DASHBOARD_PAGES", default_value_t = PAGES)]
    pub dashboard_pages: NonZeroU32,
    /// The LiteLLM to send model requests to, in place of the configured one
    #[arg(long, value_name = "URL", env = "CFX_UPSTREAM")]
    pub upstream: Option<String>,
    /// Read the configuration anew only when asked to, by POST /-/reload or SIGHUP, and not when a file of it changes
    #[arg(long, env = "CFX_NO_WATCH", value_parser = FalseyValueParser::new())]
    pub no_watch: bool,
    /// How long to wait at the start for a database that does not answer: 60s, 5m
    #[arg(long, value_name = "TIME", env = "CFX_STORE_WAIT", default_value = "60s", value_parser = super::key::life)]
    pub store_wait: Duration,
}

/// Loads the configuration, or names everything that is wrong with it.
pub fn load(source: &Source, overrides: &Overrides) -> Result<Snapshot, Failure> {
    config::load(source, overrides, &|name| std::env::var(name).ok())
        .map_err(|problems| Failure::Configuration(problems.to_string()))
}

/// What can be known to be wrong before anything is made: the variable of a store, and then a port that is taken.
pub fn precheck(ports: impl FnOnce() -> Result<(), StartProblem>) -> Result<(), Failure> {
    store::redis()?;
    Ok(ports()?)
}

/// Makes the data directory, for its owner alone.
pub fn make_data(data: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .map_err(|error| Failure::Failed(format!("cannot make the data directory {}: {error}", data.display())))
}

/// In what `dev` and `run` differ.
pub struct Manner {
    /// Where the configuration came from.
    pub origin: Origin,
    pub succession: Succession,
    pub pages: app::inside::Settings,
}

/// The sockets of the cfx that serves `data`; where there is none, an ordinary start.
pub fn take_over(data: &Path) -> Result<Succession, Failure> {
    telemetry::log::init(Format::of(&std::io::stderr()));
    let asked = taker::ask(data).map_err(|problem| Failure::Failed(problem.to_string()))?;
    let Some((predecessor, sockets)) = asked else {
        tracing::info!(data = %data.display(), "no cfx serves this data folder, nothing is taken over");
        return Ok(Succession::default());
    };
    tracing::info!(process = predecessor.process, sockets = sockets.len(), "taking over from another cfx");
    let predecessor = Some(Arc::new(predecessor));
    Ok(Succession { sockets: Sockets::taken_over(sockets), predecessor, ..Succession::default() })
}

/// Starts the edge and stays until it is told to stop.
pub fn serve(
    snapshot: Snapshot,
    store: StoreChoice,
    store_wait: Duration,
    data: PathBuf,
    pepper: Secret,
    manner: Manner,
    on_ready: Box<dyn FnOnce() + Send>,
) -> Result<(), Failure> {
    telemetry::log::init(Format::of(&std::io::stderr()));
    descriptors::take_all();
    let format = Format::of(&std::io::stdout());
    let redis = store::redis()?;
    let Manner { origin, succession, pages } = manner;
    Ok(app::run(Start {
        snapshot,
        origin,
        store,
        store_wait,
        data,
        redis,
        pepper,
        pages,
        format,
        succession,
        on_ready,
    })?)
}

impl From<StartProblem> for Failure {
    fn from(problem: StartProblem) -> Self {
        match problem {
            StartProblem::Certificate(_)
            | StartProblem::Redis(_)
            | StartProblem::Store(StoreProblem::Lasting(_))
            | StartProblem::Pepper(_)
            | StartProblem::Spool(_) => Failure::Configuration(problem.to_string()),
            other => Failure::Failed(other.to_string()),
        }
    }
}
