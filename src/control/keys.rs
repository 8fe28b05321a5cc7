//! A user's own keys. Those of others are not there, whoever asks.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::body::{Body, Id};
use super::caller::Caller;
use super::refusal::{Code, Refusal};
use super::{Control, Shared, api, describe, words};
use crate::admission::{KeyRow, KeyState, KeyStatus, NewKey, RawKey, ShortLived};
use crate::config::Models;
use crate::units::{KeyId, Stage, Timestamp, UserId};

/// Keys of one user that can be used at the same time.
const MOST_KEYS: u32 = 100;
/// Keys that a user may make within a minute, in the place of others or not: each stays in the store.
pub(super) const MOST_A_MINUTE: u32 = 30;
pub(super) const MOST_PLAYGROUND_A_MINUTE: u32 = 10;
pub(super) const MINUTE: Duration = Duration::from_secs(60);
const DAY: u32 = 86_400;
const LONGEST_OVERLAP: u32 = 90 * DAY;

/// The playground's own keys.
pub const PLAYGROUND: ShortLived = ShortLived { label: "playground", life: Duration::from_secs(15 * 60) };
/// The playground's own that are alive at the same time: one for each of some tabs.
const MOST_PLAYGROUND_KEYS: usize = 3;
/// How long they are listed behind their end.
const PLAYGROUND_LISTED: Duration = Duration::from_secs(24 * 60 * 60);

/// Your keys, newest first
///
/// Without those of the playground that ended more than a day ago.
#[utoipa::path(
    get, path = "/api/keys", tag = "keys",
    responses((status = 200, description = "Whatever their state", body = Vec<api::Key>))
)]
pub(super) async fn list(State(control): State<Shared>, caller: Caller) -> Result<Json<Vec<api::Key>>, Refusal> {
    let mut rows = control.ports.registry.list(Some(caller.account.id)).await?;
    rows.retain(|row| !is_of_playground(row) || caller.now < row.created_at.after(PLAYGROUND.life + PLAYGROUND_LISTED));
    Ok(Json(rows.into_iter().map(|row| describe::key(row, caller.now)).collect()))
}

/// Make a key
///
/// The answer has the key itself, this once: nobody can show it again.
#[utoipa::path(
    post, path = "/api/keys", tag = "keys", request_body = api::NewKey,
    responses(
        (status = 201, description = "Made", body = api::RawKey),
        (status = 409, description = "There are as many keys as anybody may have"),
        (status = 429, description = "Too many were made within a minute"),
    )
)]
pub(super) async fn create(
    State(control): State<Shared>,
    caller: Caller,
    Body(wanted): Body<api::NewKey>,
) -> Result<(StatusCode, Json<api::RawKey>), Refusal> {
    let user = caller.account.id;
    let label = words::label(&wanted.label)?;
    let raw = RawKey::mint().map_err(Refusal::no_randomness)?;
    let key = NewKey {
        stages: wanted.stages.map(|names| stages(&names)).transpose()?,
        models: wanted.models.map(|names| models(names, &control.snapshot().models)).transpose()?,
        daily_requests: words::daily_requests(wanted.daily_requests, 1)?,
        expires_at: wanted.expires_at.map(|text| expiry(&text, caller.now)).transpose()?,
        ..NewKey::of(&raw, &control.ports.pepper, user, &label, caller.now)
    };
    control.room_for_one(user, caller.now).await?;
    control.new_keys.take(user)?;
    if !control.ports.registry.create(key.clone(), Some(MOST_KEYS)).await? {
        return Err(too_many());
    }
    Ok(shown_once(&raw, key, caller.now))
}

/// Make a key for the playground
///
/// It holds for 15 minutes. Of more than three that are alive the oldest are revoked.
#[utoipa::path(
    post, path = "/api/keys/playground", tag = "keys",
    responses(
        (status = 201, description = "Made", body = api::RawKey),
        (status = 429, description = "Too many were made within a minute"),
    )
)]
pub(super) async fn playground(
    State(control): State<Shared>,
    caller: Caller,
) -> Result<(StatusCode, Json<api::RawKey>), Refusal> {
    let user = caller.account.id;
    control.new_playground_keys.take(user)?;
    let mut alive = control.usable(user, caller.now).await?;
    alive.retain(is_of_playground);
    alive.sort_by_key(|row| std::cmp::Reverse(row.created_at));
    for old in alive.iter().skip(MOST_PLAYGROUND_KEYS - 1) {
        control.ports.registry.revoke(old.id, caller.now).await?;
    }
    let raw = RawKey::mint().map_err(Refusal::no_randomness)?;
    let key = NewKey {
        expires_at: Some(caller.now.after(PLAYGROUND.life)),
        ..NewKey::of(&raw, &control.ports.pepper, user, PLAYGROUND.label, caller.now)
    };
    control.ports.registry.create(key.clone(), None).await?;
    Ok(shown_once(&raw, key, caller.now))
}

/// Give a key another label, or another end
#[utoipa::path(
    patch, path = "/api/keys/{id}", tag = "keys", params(("id" = uuid::Uuid, Path, description = "Of the key")),
    request_body = api::KeyChange,
    responses(
        (status = 200, description = "As it is now", body = api::Key),
        (status = 409, description = "The key is not active any more, or its end were later and there are as many keys beside it \
            as anybody may have"),
    )
)]
pub(super) async fn change(
    State(control): State<Shared>,
    caller: Caller,
    Id(id): Id,
    Body(change): Body<api::KeyChange>,
) -> Result<Json<api::Key>, Refusal> {
    let mut row = control.own_key(&caller, id).await?;
    let label = change.label.as_deref().map(words::label).transpose()?;
    let expires_at = match change.expires_at.as_deref() {
        None => None,
        Some("never") => Some(None),
        Some(text) => Some(Some(expiry(text, caller.now)?)),
    };
    if matches!(row.state(caller.now), KeyState::Revoked | KeyState::Replaced) {
        return Err(not_active());
    }
    if label.is_some() || expires_at.is_some() {
        let registry = &control.ports.registry;
        if !registry.change(row.id, label.clone(), expires_at, caller.now, Some(MOST_KEYS)).await? {
            if expires_at.is_some() {
                control.room_beside(Some(row.id), row.user, caller.now).await?;
            }
            return Err(not_active());
        }
        row.label = label.unwrap_or(row.label);
        row.expires_at = expires_at.unwrap_or(row.expires_at);
    }
    Ok(Json(describe::key(row, caller.now)))
}

/// Revoke a key
///
/// It is refused within a second. Again is no mistake.
#[utoipa::path(
    delete, path = "/api/keys/{id}", tag = "keys", params(("id" = uuid::Uuid, Path, description = "Of the key")),
    responses((status = 204, description = "Revoked"))
)]
pub(super) async fn revoke(State(control): State<Shared>, caller: Caller, Id(id): Id) -> Result<StatusCode, Refusal> {
    let row = control.own_key(&caller, id).await?;
    control.ports.registry.revoke(row.id, caller.now).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Put a new key in the place of another
///
/// With the same label, limits, end and daily count. The old one holds for `overlap_seconds` more, or not at all.
#[utoipa::path(
    post, path = "/api/keys/{id}/rotate", tag = "keys",
    params(("id" = uuid::Uuid, Path, description = "Of the old key")), request_body = api::Rotation,
    responses(
        (status = 201, description = "The new key", body = api::RawKey),
        (status = 409, description = "The old key is not active or was replaced already, or there is no place for both"),
        (status = 429, description = "Too many were made within a minute"),
    )
)]
pub(super) async fn rotate(
    State(control): State<Shared>,
    caller: Caller,
    Id(id): Id,
    Body(rotation): Body<api::Rotation>,
) -> Result<(StatusCode, Json<api::RawKey>), Refusal> {
    let old = control.own_key(&caller, id).await?;
    let overlap = rotation.overlap_seconds;
    if overlap > LONGEST_OVERLAP {
        let days = LONGEST_OVERLAP / DAY;
        let message = format!("`overlap_seconds` must be at most {LONGEST_OVERLAP}, which is {days} days");
        return Err(Refusal::field("overlap_seconds", message));
    }
    if old.state(caller.now) != KeyState::Active {
        return Err(not_active());
    }
    // Without an overlap there are as many as before.
    if overlap > 0 {
        control.room_for_one(old.user, caller.now).await?;
    }
    control.new_keys.take(old.user)?;
    let raw = RawKey::mint().map_err(Refusal::no_randomness)?;
    let key = NewKey {
        stages: old.stages,
        models: old.models,
        daily_requests: old.daily_requests,
        expires_at: old.expires_at,
        ..NewKey::of(&raw, &control.ports.pepper, old.user, &old.label, caller.now)
    };
    let retires_at = (overlap > 0).then(|| caller.now.after(Duration::from_secs(overlap.into())));
    let most = (overlap > 0).then_some(MOST_KEYS);
    if !control.ports.registry.rotate(old.id, key.clone(), retires_at, most).await? {
        if overlap > 0 {
            control.room_for_one(old.user, caller.now).await?;
        }
        return Err(not_active());
    }
    Ok(shown_once(&raw, key, caller.now))
}

impl Control {
    async fn own_key(&self, caller: &Caller, id: uuid::Uuid) -> Result<KeyRow, Refusal> {
        let user = caller.account.id;
        let rows = self.ports.registry.list(Some(user)).await?;
        let own = rows.into_iter().find(|row| row.id == KeyId(id) && row.user == user);
        own.ok_or_else(|| Refusal::not_found("key"))
    }

    async fn room_for_one(&self, user: UserId, now: Timestamp) -> Result<(), Refusal> {
        self.room_beside(None, user, now).await
    }

    /// Not counting this one.
    async fn room_beside(&self, key: Option<KeyId>, user: UserId, now: Timestamp) -> Result<(), Refusal> {
        let usable = self.usable(user, now).await?.iter().filter(|row| Some(row.id) != key).count();
        if u32::try_from(usable).is_ok_and(|usable| usable < MOST_KEYS) { Ok(()) } else { Err(too_many()) }
    }

    async fn usable(&self, user: UserId, now: Timestamp) -> Result<Vec<KeyRow>, Refusal> {
        let mut rows = self.ports.registry.list(Some(user)).await?;
        rows.retain(|row| row.state(now).holds());
        Ok(rows)
    }
}

/// By its life besides its label, which anybody may give a key of their own.
fn is_of_playground(row: &KeyRow) -> bool {
    row.label == PLAYGROUND.label && row.expires_at == Some(row.created_at.after(PLAYGROUND.life))
}

fn shown_once(raw: &RawKey, key: NewKey, now: Timestamp) -> (StatusCode, Json<api::RawKey>) {
    let row = KeyRow {
        id: key.id,
        user: key.user,
        email: String::new(),
        prefix: key.prefix,
        label: key.label,
        status: KeyStatus::Active,
        stages: key.stages,
        models: key.models,
        daily_requests: key.daily_requests,
        created_at: key.created_at,
        expires_at: key.expires_at,
        retires_at: None,
        last_used_at: None,
    };
    let shown = api::RawKey { key: raw.expose().to_owned(), row: describe::key(row, now) };
    (StatusCode::CREATED, Json(shown))
}

fn too_many() -> Refusal {
    Refusal::new(Code::TooManyKeys, format!("there are {MOST_KEYS} keys already: revoke some"))
}

fn not_active() -> Refusal {
    Refusal::new(Code::KeyNotActive, "this key is revoked, expired or replaced")
}

fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, Refusal> {
    let end = words::instant_in_field("expires_at", text)?;
    if end <= now {
        return Err(Refusal::field("expires_at", "`expires_at` must lie in the future"));
    }
    Ok(end)
}

fn stages(names: &[String]) -> Result<Vec<Stage>, Refusal> {
    let mut stages = Vec::new();
    for name in names {
        let message = || Refusal::field("stages", "`stages` must name plan, code, review or direct");
        let stage = words::stage(name).ok_or_else(message)?;
        if !stages.contains(&stage) {
            stages.push(stage);
        }
    }
    if stages.is_empty() {
        return Err(Refusal::field("stages", "`stages` must name one at least; without it the key is for all"));
    }
    Ok(stages)
}

fn models(mut names: Vec<String>, known: &Models) -> Result<Vec<String>, Refusal> {
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Err(Refusal::field("models", "`models` must name one at least; without it the key is for all"));
    }
    if let Some(name) = names.iter().find(|name| !known.aliases.contains_key(*name)) {
        let name: String = name.chars().filter(|letter| !letter.is_control()).take(100).collect();
        return Err(Refusal::field("models", format!("there is no model `{name}`: GET /api/models lists them")));
    }
    Ok(names)
}
