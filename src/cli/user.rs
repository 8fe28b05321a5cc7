//! `cfx user`: the people who may hold keys.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::Failure;
use crate::cli::store::{DataArgs, wait};
use crate::clock::{Clock, SystemClock};
use crate::identity::{Account, Email};

#[derive(Debug, Args)]
pub struct UserArgs {
    #[command(subcommand)]
    pub command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create a user
    Create {
        /// E-mail address; its letters' case does not matter
        email: Email,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List all users
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgs,
    },
}

pub fn run(args: UserArgs) -> Result<(), Failure> {
    match args.command {
        UserCommand::Create { email, json, data } => wait(create(email, json, data)),
        UserCommand::List { json, data } => wait(list(json, data)),
    }
}

async fn create(email: Email, as_json: bool, data: DataArgs) -> Result<(), Failure> {
    let account = Account::new(email, SystemClock.now());
    if !data.open().await?.accounts.create(account.clone()).await? {
        return Err(Failure::Failed(format!("there is a user {} already", account.email)));
    }
    if as_json {
        say!("{}", describe(&account));
    } else {
        say!("created user {}", account.email);
    }
    Ok(())
}

async fn list(as_json: bool, data: DataArgs) -> Result<(), Failure> {
    let accounts = data.open_existing().await?.accounts.list().await?;
    if as_json {
        say!("{}", accounts.iter().map(describe).collect::<serde_json::Value>());
        return Ok(());
    }
    for account in &accounts {
        let state = if account.disabled_at.is_some() { "disabled" } else { "active" };
        say!("{:<32} {state:<9} since {}", account.email.as_str(), account.created_at.day().iso());
    }
    if accounts.is_empty() {
        say!("no users yet: `cfx user create EMAIL`");
    }
    Ok(())
}

fn describe(account: &Account) -> serde_json::Value {
    json!({
        "id": account.id.0.to_string(),
        "email": account.email.as_str(),
        "created_at": account.created_at.rfc3339(),
        "disabled_at": account.disabled_at.map(|time| time.rfc3339()),
        "daily_requests": account.daily_requests,
    })
}
