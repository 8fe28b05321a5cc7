//! What operators see and turn: the edge, and everybody's accounts.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::body::{Body, Id};
use super::caller::{Caller, Operator};
use super::params::Params;
use super::refusal::{Code, Refusal};
use super::usage::Days;
use super::{Control, Shared, api, describe, words};
use crate::identity::{Account, Change, Link, LinkToken, Purpose, Role};
use crate::units::{Timestamp, UserId};

const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);
const INVITATION_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// How the edge stands
#[utoipa::path(
    get, path = "/api/operator/state", tag = "operator",
    responses((status = 200, description = "At this moment", body = api::EdgeState))
)]
pub(super) async fn state(State(control): State<Shared>, _operator: Operator) -> Json<api::EdgeState> {
    Json(control.ports.edge.state().await)
}

/// Read the configuration anew
///
/// It is taken whole, or not at all: then `ok` is false and `problems` says why.
#[utoipa::path(
    post, path = "/api/operator/reload", tag = "operator",
    responses((status = 200, description = "Read", body = api::Reloaded))
)]
pub(super) async fn reload(State(control): State<Shared>, _operator: Operator) -> Json<api::Reloaded> {
    Json(control.ports.edge.reload().await)
}

/// All accounts, by address
#[utoipa::path(
    get, path = "/api/operator/users", tag = "operator",
    responses((status = 200, description = "Disabled ones too", body = Vec<api::User>))
)]
pub(super) async fn users(State(control): State<Shared>, _operator: Operator) -> Result<Json<Vec<api::User>>, Refusal> {
    let accounts = control.ports.accounts.list().await?;
    Ok(Json(accounts.iter().map(describe::user).collect()))
}

/// Make an account
///
/// With a link that signs in to it once, within 24 hours.
#[utoipa::path(
    post, path = "/api/operator/users", tag = "operator", request_body = api::NewUser,
    responses(
        (status = 201, description = "Made", body = api::UserWithLink),
        (status = 409, description = "The e-mail address is taken"),
    )
)]
pub(super) async fn create_user(
    State(control): State<Shared>,
    Operator(caller): Operator,
    Body(wanted): Body<api::NewUser>,
) -> Result<(StatusCode, Json<api::UserWithLink>), Refusal> {
    let account = Account {
        role: words::role(wanted.role.as_deref())?.unwrap_or_default(),
        daily_requests: words::daily_requests(wanted.daily_requests, 1)?,
        ..Account::new(words::email(&wanted.email)?, caller.now)
    };
    if !control.ports.accounts.create(account.clone(), None).await? {
        return Err(taken());
    }
    let link = control.link(Purpose::SignIn(account.id), caller.now, LINK_LIFE).await?;
    let made = api::UserWithLink { user: describe::user(&account), link: link.link, expires_at: link.expires_at };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Change an account
///
/// A user who is disabled is signed out everywhere, and their keys are refused.
#[utoipa::path(
    patch, path = "/api/operator/users/{id}", tag = "operator",
    params(("id" = uuid::Uuid, Path, description = "Of the user")), request_body = api::UserChange,
    responses(
        (status = 200, description = "As it is now", body = api::User),
        (status = 409, description = "It is your own account"),
    )
)]
pub(super) async fn change_user(
    State(control): State<Shared>,
    Operator(caller): Operator,
    Id(id): Id,
    Body(wanted): Body<api::UserChange>,
) -> Result<Json<api::User>, Refusal> {
    let account = control.user(id).await?;
    let role = words::role(wanted.role.as_deref())?;
    let daily_requests = words::daily_requests(wanted.daily_requests, 0)?;
    keeps_own_rights(&caller, &account, wanted.disabled, role)?;
    let change = Change {
        disabled_at: wanted.disabled.map(|disabled| disabled.then_some(account.disabled_at.unwrap_or(caller.now))),
        daily_requests: daily_requests.map(|limit| Some(limit).filter(|limit| *limit > 0)),
        role,
    };
    if wanted.disabled == Some(true) || role == Some(Role::Member) {
        // Of two operators who take each other's rights at once on this edge, one is left with theirs.
        let _turn = control.operators.lock().await;
        control.is_operator_still(&caller).await?;
        control.change(account.id, change).await?;
    } else {
        control.change(account.id, change).await?;
    }
    Ok(Json(describe::user(&control.user(id).await?)))
}

/// Make a link that signs in to an account once
///
/// For who has none yet, or has forgotten the password. It holds for 24 hours.
#[utoipa::path(
    post, path = "/api/operator/users/{id}/link", tag = "operator",
    params(("id" = uuid::Uuid, Path, description = "Of the user")),
    responses(
        (status = 201, description = "Made", body = api::UserWithLink),
        (status = 409, description = "The account is disabled"),
    )
)]
pub(super) async fn link_of_user(
    State(control): State<Shared>,
    Operator(caller): Operator,
    Id(id): Id,
) -> Result<(StatusCode, Json<api::UserWithLink>), Refusal> {
    let account = control.user(id).await?;
    if account.disabled_at.is_some() {
        return Err(Refusal::new(Code::AccountDisabled, "this account is disabled: nobody signs in to it"));
    }
    let link = control.link(Purpose::SignIn(account.id), caller.now, LINK_LIFE).await?;
    let made = api::UserWithLink { user: describe::user(&account), link: link.link, expires_at: link.expires_at };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Invite somebody to register
///
/// The link holds for seven days, for one who registers.
#[utoipa::path(
    post, path = "/api/operator/invitations", tag = "operator", request_body = api::NewInvitation,
    responses(
        (status = 201, description = "Made", body = api::Invitation),
        (status = 409, description = "There is an account with this address"),
    )
)]
pub(super) async fn invite(
    State(control): State<Shared>,
    Operator(caller): Operator,
    Body(wanted): Body<api::NewInvitation>,
) -> Result<(StatusCode, Json<api::Invitation>), Refusal> {
    let email = wanted.email.as_deref().map(words::email).transpose()?;
    let role = words::role(wanted.role.as_deref())?.unwrap_or_default();
    if let Some(email) = &email
        && control.ports.accounts.find(email).await?.is_some()
    {
        return Err(taken());
    }
    let link = control.link(Purpose::Invitation { email, role }, caller.now, INVITATION_LIFE).await?;
    Ok((StatusCode::CREATED, Json(link)))
}

/// What a user used
#[utoipa::path(
    get, path = "/api/operator/users/{id}/usage", tag = "operator",
    params(("id" = uuid::Uuid, Path, description = "Of the user"), Days),
    responses((status = 200, description = "Today, and day by day", body = api::UseOfUser))
)]
pub(super) async fn usage_of_user(
    State(control): State<Shared>,
    Operator(caller): Operator,
    Id(id): Id,
    Params(days, _): Params<Days>,
) -> Result<Json<api::UseOfUser>, Refusal> {
    let (first, last) = days.span(caller.now)?;
    let account = control.user(id).await?;
    let days = control.ports.reports.of(account.id).days(first, last).await?;
    Ok(Json(api::UseOfUser {
        user: describe::user(&account),
        today: control.today(&account, caller.now).await?,
        days: days.iter().map(describe::day).collect(),
    }))
}

impl Control {
    async fn user(&self, id: uuid::Uuid) -> Result<Account, Refusal> {
        self.ports.accounts.by_id(UserId(id)).await?.ok_or_else(|| Refusal::not_found("user"))
    }

    async fn link(&self, purpose: Purpose, now: Timestamp, life: Duration) -> Result<api::Invitation, Refusal> {
        let token = LinkToken::mint().map_err(Refusal::no_randomness)?;
        let expires_at = now.after(life);
        self.ports.links.put(Link { token_hash: token.hash(), purpose, created_at: now, expires_at }).await?;
        Ok(api::Invitation { link: token.expose().to_owned(), expires_at: expires_at.rfc3339() })
    }

    async fn change(&self, user: UserId, change: Change) -> Result<(), Refusal> {
        let changed = self.ports.accounts.change(user, change).await?;
        changed.then_some(()).ok_or_else(|| Refusal::not_found("user"))
    }

    /// Who asks was one a moment ago.
    async fn is_operator_still(&self, caller: &Caller) -> Result<(), Refusal> {
        let account = self.ports.accounts.by_id(caller.account.id).await?;
        match account.filter(|account| account.role == Role::Operator && account.disabled_at.is_none()) {
            Some(_) => Ok(()),
            None => Err(Refusal::new(Code::NotPermitted, "only operators may do this")),
        }
    }
}

/// Whoever locks themselves out may be the last who could let anybody in.
fn keeps_own_rights(
    caller: &Caller,
    account: &Account,
    disabled: Option<bool>,
    role: Option<Role>,
) -> Result<(), Refusal> {
    if account.id != caller.account.id {
        return Ok(());
    }
    if disabled == Some(true) {
        return Err(Refusal::new(Code::OwnAccount, "you cannot disable your own account").at("disabled"));
    }
    if role == Some(Role::Member) {
        return Err(Refusal::new(Code::OwnAccount, "you cannot take your own role of operator").at("role"));
    }
    Ok(())
}

fn taken() -> Refusal {
    Refusal::new(Code::EmailTaken, "there is an account with this e-mail address").at("email")
}
