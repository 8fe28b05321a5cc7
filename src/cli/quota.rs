//! `cfx quota`: what a user may ask for a day, and has.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::admission::Subject;
use crate::cli::store::{DataArgs, wait};
use crate::cli::{Failure, user};
use crate::clock::{Clock, SystemClock};
use crate::config::{Overrides, Source, load};
use crate::identity::{Change, Email};

#[derive(Debug, Args)]
pub struct QuotaArgs {
    #[command(subcommand)]
    pub command: QuotaCommand,
}

#[derive(Debug, Subcommand)]
pub enum QuotaCommand {
    /// Show what a user had of the UTC day, and the limit that is the user's own
    Show {
        email: Email,
        /// The directory of limits.yaml, for the limit of who has none of their own; passed over where there is none
        #[arg(long, value_name = "DIR", env = "CFX_CONF", default_value = "conf")]
        conf: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Give a user a daily limit of their own; it holds from the next request on
    Grant {
        email: Email,
        /// Requests per UTC day, or `default` to go by limits.yaml again
        #[arg(value_parser = limit)]
        daily: Limit,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// As by the control API.
const MOST: u32 = 1_000_000_000;

/// None: as configured.
#[derive(Debug, Clone, Copy)]
pub struct Limit(Option<u32>);

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "default" => Ok(Limit(None)),
        _ => match text.parse() {
            Ok(limit @ 1..=MOST) => Ok(Limit(Some(limit))),
            // By the control API it means "as configured"; who is to have none is disabled.
            Ok(0) => Err("1 or more, or `default`; `cfx user disable` for none at all".to_owned()),
            _ => Err(format!("a whole number up to {MOST}, or `default`")),
        },
    }
}

pub fn run(args: QuotaArgs) -> Result<(), Failure> {
    match args.command {
        QuotaCommand::Show { email, conf, json, data } => wait(show(email, conf, json, data)),
        QuotaCommand::Grant { email, daily, data } => wait(grant(email, daily, data)),
    }
}

async fn show(email: Email, conf: PathBuf, as_json: bool, data: DataArgs) -> Result<(), Failure> {
    let store = data.open_existing().await?;
    let account = user::known(&store, &email).await?;
    let used = store.quota.used(Subject::User(account.id), SystemClock.now().day()).await?;
    let limit = account.daily_requests.or_else(|| configured(&email, conf));
    if as_json {
        let own = account.daily_requests.is_some();
        say!("{}", json!({ "email": email.as_str(), "used": used, "limit": limit, "own_limit": own }));
        return Ok(());
    }
    let whose = if account.daily_requests.is_some() { "the user's own limit" } else { "as configured" };
    match limit {
        Some(limit) => say!("{email}: {used} of {limit} requests today ({whose}); resets at 00:00 UTC"),
        None => say!("{email}: {used} requests today; the limit is the configuration's, which is not here"),
    }
    Ok(())
}

/// What the files have for this user, where they are here and sound.
fn configured(email: &Email, conf: PathBuf) -> Option<u32> {
    let environment = |name: &str| std::env::var(name).ok();
    let snapshot = load(&Source::Directory(conf), &Overrides::default(), &environment).ok()?;
    Some(snapshot.limits.of_user(email.as_str()).daily_requests)
}

async fn grant(email: Email, Limit(daily): Limit, data: DataArgs) -> Result<(), Failure> {
    let store = data.open_existing().await?;
    let account = user::known(&store, &email).await?;
    store.accounts.change(account.id, Change { daily_requests: Some(daily), ..Change::default() }).await?;
    match daily {
        Some(daily) => say!("{email} may make {daily} requests a day"),
        None => say!("{email} may make as many requests a day as limits.yaml says"),
    }
    Ok(())
}
