//! `cfx key`: API keys, made, listed, rotated and revoked. The key itself is shown once, when it is made.
#![expect(clippy::print_stderr, reason = "a command's output is its purpose")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::admission::{KeyRow, KeyState, NewKey, RawKey};
use crate::cli::store::{DataArgs, wait};
use crate::cli::{Failure, models, pepper};
use crate::clock::{Clock, SystemClock};
use crate::identity::{Account, AccountStore, Email, made_visible, unseen};
use crate::units::{Stage, Timestamp};

#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    pub command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Create a key for a user and print it, this once
    Create(CreateArgs),
    /// List keys, newest first
    List {
        /// Only this user's
        #[arg(long, value_name = "EMAIL")]
        user: Option<Email>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Create a key with the same limits, and the same daily count, in the place of another
    Rotate {
        /// The key's id, or enough of the prefix that `cfx key list` shows
        key: String,
        /// How long the old key stays valid beside the new one: 24h, 30m; 0 revokes it at once
        #[arg(long, value_name = "TIME", default_value = "0", value_parser = overlap)]
        overlap: Duration,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Revoke a key; a running server refuses it within a second
    Revoke {
        /// The key's id, or enough of the prefix that `cfx key list` shows
        key: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Whose key it is
    #[arg(long, value_name = "EMAIL")]
    pub user: Email,
    /// A name to know it by
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = label)]
    pub label: String,
    /// How long it is valid: 90d, 12h, 30m; without this, until it is revoked
    #[arg(long, value_name = "TIME", value_parser = life)]
    pub expires: Option<Duration>,
    /// Only these stages: plan, code, review, direct
    #[arg(long, value_name = "STAGES", value_delimiter = ',', value_parser = stage)]
    pub stages: Option<Vec<Stage>>,
    /// Only these models, by their alias in models.yaml
    #[arg(long, value_name = "MODELS", value_delimiter = ',')]
    pub models: Option<Vec<String>>,
    /// The directory of models.yaml, to check the aliases against; passed over where there is none
    #[arg(long, value_name = "DIR", env = "CFX_CONF", default_value = "conf")]
    pub conf: PathBuf,
    /// Requests per UTC day with this key, besides the user's own quota
    #[arg(long, value_name = "N")]
    pub daily: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub data: DataArgs,
}

pub fn run(args: KeyArgs) -> Result<(), Failure> {
    match args.command {
        KeyCommand::Create(args) => wait(create(args)),
        KeyCommand::List { user, json, data } => wait(list(user, json, data)),
        KeyCommand::Rotate { key, overlap, json, data } => wait(rotate(key, overlap, json, data)),
        KeyCommand::Revoke { key, data } => wait(revoke(key, data)),
    }
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    args.models.iter().try_for_each(|models| models::check(models, &args.conf))?;
    let store = args.data.open_existing().await?;
    let pepper = pepper::checked_against(&*store.pepper, &pepper::existing(args.data.folder())?).await?;
    let account = account(&*store.accounts, &args.user).await?;
    let raw = mint()?;
    let now = SystemClock.now();
    let key = NewKey {
        stages: args.stages,
        models: args.models,
        daily_requests: args.daily,
        expires_at: args.expires.map(|life| after(now, life)).transpose()?,
        ..NewKey::of(&raw, &pepper, account.id, &args.label, now)
    };
    store.registry.create(key.clone(), None).await?;
    show_once(&raw, &key, &account.email, args.json);
    Ok(())
}

async fn list(user: Option<Email>, as_json: bool, data: DataArgs) -> Result<(), Failure> {
    let store = data.open_existing().await?;
    let user = match user {
        Some(email) => Some(account(&*store.accounts, &email).await?.id),
        None => None,
    };
    let rows = store.registry.list(user).await?;
    if as_json {
        say!("{}", rows.iter().map(describe).collect::<Value>());
        return Ok(());
    }
    if rows.is_empty() {
        say!("no keys yet: `cfx key create --user EMAIL --label TEXT`");
        return Ok(());
    }
    let now = SystemClock.now();
    say!("{:<21}  {:<8} {:<28} {:<20} LIMITS", "KEY", "STATE", "USER", "LABEL");
    for row in &rows {
        say!(
            "{:<21}  {:<8} {:<28} {:<20} {}",
            row.prefix,
            state(row, now),
            row.email,
            made_visible(&row.label),
            limits(row)
        );
    }
    Ok(())
}

async fn rotate(name: String, overlap: Duration, as_json: bool, data: DataArgs) -> Result<(), Failure> {
    let store = data.open_existing().await?;
    let pepper = pepper::checked_against(&*store.pepper, &pepper::existing(data.folder())?).await?;
    let old = choose(store.registry.list(None).await?, &name)?;
    let raw = mint()?;
    let key = NewKey {
        stages: old.stages,
        models: old.models,
        daily_requests: old.daily_requests,
        expires_at: old.expires_at,
        ..NewKey::of(&raw, &pepper, old.user, &old.label, SystemClock.now())
    };
    let retires_at = if overlap.is_zero() { None } else { Some(after(key.created_at, overlap)?) };
    if !store.registry.rotate(old.id, key.clone(), retires_at, None).await? {
        return Err(Failure::Failed(format!("{} is revoked or replaced already", old.prefix)));
    }
    match retires_at {
        Some(end) => eprintln!("{} stays valid until {}.", old.prefix, end.rfc3339()),
        None => eprintln!("{} is revoked.", old.prefix),
    }
    show_once(&raw, &key, &Email::parse(&old.email).map_err(|error| Failure::Failed(error.to_string()))?, as_json);
    Ok(())
}

async fn revoke(name: String, data: DataArgs) -> Result<(), Failure> {
    let store = data.open_existing().await?;
    let key = choose(store.registry.list(None).await?, &name)?;
    if !store.registry.revoke(key.id, SystemClock.now()).await? {
        return Err(Failure::Failed(format!("{} is revoked already", key.prefix)));
    }
    say!("revoked {} ({}, {:?})", key.prefix, key.email, key.label);
    Ok(())
}

async fn account(accounts: &dyn AccountStore, email: &Email) -> Result<Account, Failure> {
    let missing = || Failure::Failed(format!("there is no user {email}: `cfx user create {email}` makes one"));
    accounts.find(email).await?.ok_or_else(missing)
}

/// The one key that `name` means: an id, or the beginning of a prefix with or without `cfx_live_`. A whole key is
/// accepted too, because that is what a person who found one has in hand.
fn choose(rows: Vec<KeyRow>, name: &str) -> Result<KeyRow, Failure> {
    // Of a key with a mistake in it no more is shown than of a right one.
    let shown = name.char_indices().nth("cfx_live_".len() + 12).map_or(name, |(end, _)| &name[..end]);
    let shown = if name.starts_with("cfx_live_") { shown } else { name };
    let name = RawKey::parse(name).map_or(name.to_owned(), |raw| raw.display_prefix().to_owned());
    let bare = name.strip_prefix("cfx_live_").unwrap_or(&name).to_owned();
    let is_meant = |row: &KeyRow| {
        let public_id = row.prefix.strip_prefix("cfx_live_").unwrap_or(&row.prefix);
        row.id.0.to_string() == name || (!bare.is_empty() && public_id.starts_with(&bare))
    };
    let mut meant: Vec<_> = rows.into_iter().filter(is_meant).collect();
    match (meant.pop(), meant.len()) {
        (Some(row), 0) => Ok(row),
        (Some(_), others) => Err(Failure::Usage(format!("{name} may mean {} keys: give more of it", others + 1))),
        (None, _) => Err(Failure::Failed(format!("there is no key {shown}: `cfx key list` shows all"))),
    }
}

fn show_once(raw: &RawKey, key: &NewKey, email: &Email, as_json: bool) {
    if as_json {
        let mut shown = json!({
            "id": key.id.0.to_string(),
            "user": email.as_str(),
            "label": key.label,
            "prefix": key.prefix,
            "expires_at": key.expires_at.map(|time| time.rfc3339()),
        });
        shown["key"] = json!(raw.expose());
        say!("{shown}");
        return;
    }
    say!("{}", raw.expose());
    let end = key.expires_at.map_or("until it is revoked".to_owned(), |time| format!("until {}", time.rfc3339()));
    eprintln!("key {} of {email}, valid {end}. It is not shown again.", key.id.0);
}

fn describe(row: &KeyRow) -> Value {
    json!({
        "id": row.id.0.to_string(),
        "user": row.email,
        "label": row.label,
        "prefix": row.prefix,
        "status": row.status.as_str(),
        "stages": row.stages.as_ref().map(|stages| stages.iter().map(|stage| stage.as_str()).collect::<Vec<_>>()),
        "models": row.models,
        "daily_requests": row.daily_requests,
        "created_at": row.created_at.rfc3339(),
        "expires_at": row.expires_at.map(|time| time.rfc3339()),
        "retires_at": row.retires_at.map(|time| time.rfc3339()),
        "last_used_at": row.last_used_at.map(|time| time.rfc3339()),
    })
}

fn state(row: &KeyRow, now: Timestamp) -> &'static str {
    match row.state(now) {
        // Until when stands beside it.
        KeyState::Active | KeyState::Retiring => "active",
        KeyState::Replaced => "replaced",
        KeyState::Expired => "expired",
        KeyState::Revoked => "revoked",
    }
}

/// What a key may not do, in a few words.
fn limits(row: &KeyRow) -> String {
    let stages = row.stages.as_ref().map(|stages| {
        let names: Vec<_> = stages.iter().map(|stage| stage.as_str()).collect();
        format!("stages {}", names.join(","))
    });
    let models = row.models.as_ref().map(|models| format!("models {}", models.join(",")));
    let daily = row.daily_requests.map(|daily| format!("{daily} a day"));
    let end = row.retires_at.into_iter().chain(row.expires_at).min();
    let expires = end.map(|time| format!("until {}", time.rfc3339()));
    [stages, models, daily, expires].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn mint() -> Result<RawKey, Failure> {
    RawKey::mint().map_err(|error| Failure::Failed(format!("no randomness for a key: {error}")))
}

fn after(now: Timestamp, life: Duration) -> Result<Timestamp, Failure> {
    let micros = i64::try_from(life.as_micros()).ok().and_then(|micros| now.0.checked_add(micros));
    micros.map(Timestamp).ok_or_else(|| Failure::Usage("--expires lies beyond the end of time".to_owned()))
}

/// A label is shown in lists: no line ends, no terminal sequences, nothing that turns what stands beside it.
fn label(text: &str) -> Result<String, String> {
    match unseen(text) {
        Some(letter) => {
            let which = letter.escape_unicode();
            Err(format!("a label is one line of text without characters that nobody sees ({which})"))
        }
        None => Ok(text.to_owned()),
    }
}

/// `90d`, `12h`, `30m`, `10s`: a whole number above zero and its unit.
pub(super) fn life(text: &str) -> Result<Duration, String> {
    let wanted = || "a number and d, h, m or s, as in 90d".to_owned();
    let unit = text.chars().last().ok_or_else(wanted)?;
    let seconds: u64 = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(wanted()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wanted())?;
    if number == 0 || u64::from(number) * seconds > 100 * 366 * 86_400 {
        return Err("more than nothing and at most a hundred years".to_owned());
    }
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// As a life, or 0 for none at all.
fn overlap(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { life(text) }
}

fn stage(name: &str) -> Result<Stage, String> {
    Stage::parse(name).ok_or_else(|| "one of plan, code, review, direct".to_owned())
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
