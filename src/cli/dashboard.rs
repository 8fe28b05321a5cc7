//! `cfx dashboard`: the pages as a process of their own, which holds no secret that writes.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use crate::app::dashboard::{self, Settings};
use crate::cli::Failure;
use crate::cli::store::from_environment;
use crate::dashboard::PAGES;
use crate::telemetry::{self, Format};

/// What only an edge may hold (docs/threat-model.md). Here it would be one more place to take it from.
const NOT_HERE: [&str; 11] = [
    "KEY_HASH_PEPPER",
    "DATABASE_URL",
    "DIRECT_DATABASE_URL",
    "REDIS_URL",
    "LITELLM_API_KEY",
    "LITELLM_MASTER_KEY",
    "SUPABASE_JWT_SECRET",
    "SUPABASE_SERVICE_ROLE_KEY",
    "ANTHROPIC_API_KEY",
    "DEEPSEEK_API_KEY",
    "OPENAI_API_KEY",
];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it listens; the edge's route leads here
    #[arg(long, value_name = "ADDR", env = "CFX_DASHBOARD_ADDRESS", default_value = "127.0.0.1:3000")]
    address: SocketAddr,
    /// The edge's control API: what `control.address` says, as http://cfx:9091
    #[arg(long, value_name = "URL", env = "CFX_EDGE_URL", value_parser = super::user::base)]
    edge: String,
    /// What the Connect page says the edge's address is, where it is not the one that the page was asked for
    #[arg(long, value_name = "URL", env = "CFX_PUBLIC_URL", value_parser = super::user::base)]
    public_url: Option<String>,
    /// Pages that this process makes in a second, for all users together; a fifth of them for one user
    #[arg(long, value_name = "COUNT", env = "CFX_DASHBOARD_PAGES", default_value_t = PAGES)]
    pages: NonZeroU32,
}

pub fn run(args: Args) -> Result<(), Failure> {
    telemetry::log::init(Format::of(&std::io::stderr()));
    for name in NOT_HERE {
        if from_environment(name)?.is_some() {
            return Err(Failure::Configuration(format!(
                "{name} is set: the dashboard must not hold it; take it out of this process's environment"
            )));
        }
    }
    let database = from_environment(dashboard::DATABASE)?.ok_or_else(|| {
        Failure::Configuration(format!(
            "{} is not set: postgres://cfx_dashboard:PASSWORD@HOST/DATABASE (on SQLite: `cfx run --dashboard`)",
            dashboard::DATABASE
        ))
    })?;
    let Args { address, edge, public_url, pages } = args;
    let settings = Settings { address, edge, public_url, database, pages };
    Ok(dashboard::run(settings)?)
}
