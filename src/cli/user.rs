//! `cfx user`: the people who may hold keys.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::app::stores::Stores;
use crate::cli::Failure;
use crate::cli::store::{DataArgs, wait};
use crate::clock::{Clock, SystemClock};
use crate::identity::{Account, Change, Email, Link, LinkToken, Purpose, Role};
use crate::units::{Timestamp, UserId};

/// How long a link to sign in by works.
const LINK: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Args)]
pub struct UserArgs {
    #[command(subcommand)]
    pub command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create a user, and print a link that signs in once
    Create {
        /// E-mail address; its letters' case does not matter
        email: Email,
        /// Who sees upstreams and certificates, reloads, and keeps accounts
        #[arg(long)]
        operator: bool,
        /// Where the dashboard is, for the link: https://app.example.org
        #[arg(long, value_name = "URL", env = "CFX_PUBLIC_URL", value_parser = base)]
        url: Option<String>,
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
    /// Print a link that signs a user in once, as where a password was forgotten
    Link {
        email: Email,
        /// Where the dashboard is: https://app.example.org
        #[arg(long, value_name = "URL", env = "CFX_PUBLIC_URL", value_parser = base)]
        url: Option<String>,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Say what a user may do beside what is their own
    Role {
        email: Email,
        /// member or operator
        #[arg(value_parser = role)]
        role: Role,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Disable a user: keys and sessions end within a second
    Disable {
        email: Email,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Enable a user that was disabled
    Enable {
        email: Email,
        #[command(flatten)]
        data: DataArgs,
    },
}

pub fn run(args: UserArgs) -> Result<(), Failure> {
    match args.command {
        UserCommand::Create { email, operator, url, json, data } => wait(create(email, operator, url, json, data)),
        UserCommand::List { json, data } => wait(list(json, data)),
        UserCommand::Link { email, url, data } => wait(link(email, url, data)),
        UserCommand::Role { email, role, data } => wait(set_role(email, role, data)),
        UserCommand::Disable { email, data } => wait(set_disabled(email, true, data)),
        UserCommand::Enable { email, data } => wait(set_disabled(email, false, data)),
    }
}

/// `https://app.example.org`, without a slash at its end.
pub(super) fn base(text: &str) -> Result<String, String> {
    let url = text.parse::<http::Uri>().ok();
    let whole = url.filter(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
    whole.map(|_| text.trim_end_matches('/').to_owned()).ok_or_else(|| "a URL such as https://app.example.org".into())
}

async fn create(
    email: Email,
    operator: bool,
    url: Option<String>,
    as_json: bool,
    data: DataArgs,
) -> Result<(), Failure> {
    let now = SystemClock.now();
    let role = if operator { Role::Operator } else { Role::Member };
    let account = Account { role, ..Account::new(email, now) };
    let (store, place) = data.open_or_make().await?;
    if !store.accounts.create(account.clone(), None).await? {
        return Err(Failure::Failed(format!("there is a user {} already", account.email)));
    }
    let token = link_into(&store, account.id, now).await?;
    if as_json {
        let mut told = describe(&account);
        told["link"] = token.expose().into();
        told["database"] = place.into();
        say!("{told}");
    } else {
        say!("created user {} in {place}", account.email);
        say_link(&token, url.as_deref());
    }
    Ok(())
}

/// A link into an account, stored.
pub(super) async fn link_into(store: &Stores, user: UserId, now: Timestamp) -> Result<LinkToken, Failure> {
    let token = LinkToken::mint().map_err(|error| Failure::Failed(format!("no randomness for a link: {error}")))?;
    let expires_at = now.after(LINK);
    let link = Link { token_hash: token.hash(), purpose: Purpose::SignIn(user), created_at: now, expires_at };
    store.links.put(link).await?;
    Ok(token)
}

/// The secret stands behind the `#`, which browsers keep to themselves.
fn say_link(token: &LinkToken, url: Option<&str>) {
    let token = token.expose();
    say!("sign in once, within a day: {}/sign-in/link#{token}", url.unwrap_or("<where the dashboard is>"));
    if url.is_none() {
        say!("where that is, --url or CFX_PUBLIC_URL can tell");
    }
}

async fn link(email: Email, url: Option<String>, data: DataArgs) -> Result<(), Failure> {
    let store = data.open_existing().await?;
    let account = known(&store, &email).await?;
    let token = link_into(&store, account.id, SystemClock.now()).await?;
    say_link(&token, url.as_deref());
    Ok(())
}

async fn set_disabled(email: Email, disabled: bool, data: DataArgs) -> Result<(), Failure> {
    let store = data.open_existing().await?;
    let account = known(&store, &email).await?;
    let disabled_at = disabled.then(|| SystemClock.now());
    store.accounts.change(account.id, Change { disabled_at: Some(disabled_at), ..Change::default() }).await?;
    say!("{} user {email}", if disabled { "disabled" } else { "enabled" });
    Ok(())
}

/// The user of this address, who must be there.
pub(super) async fn known(store: &Stores, email: &Email) -> Result<Account, Failure> {
    let missing = || Failure::Failed(format!("there is no user {email}: `cfx user create {email}` makes one"));
    store.accounts.find(email).await?.ok_or_else(missing)
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "member or operator".to_owned())
}

async fn set_role(email: Email, role: Role, data: DataArgs) -> Result<(), Failure> {
    let store = data.open_existing().await?;
    let account = known(&store, &email).await?;
    store.accounts.change(account.id, Change { role: Some(role), ..Change::default() }).await?;
    say!("{email} is {} now", if role == Role::Operator { "an operator" } else { "a member" });
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
        let (email, role) = (account.email.as_str(), account.role.as_str());
        say!("{email:<32} {state:<9} {role:<9} since {}", account.created_at.day().iso());
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
        "role": account.role.as_str(),
        "created_at": account.created_at.rfc3339(),
        "disabled_at": account.disabled_at.map(|time| time.rfc3339()),
        "daily_requests": account.daily_requests,
    })
}
