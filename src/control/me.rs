//! What a signed-in user does with being signed in.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Response};

use super::body::Body;
use super::caller::Caller;
use super::cookie::Jar;
use super::refusal::{Code, Refusal};
use super::sign_in::{answer, chosen, to_its_end};
use super::{Control, Shared, api};
use crate::identity::{Password, Renewal, Session, SessionToken, Shown};
use crate::units::Timestamp;

/// However often it is refreshed: after so long somebody signs in again.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// The end of a session that began then, beyond which no refresh takes it.
pub(super) fn ends_for_good(began_at: Timestamp) -> Timestamp {
    began_at.after(LONGEST)
}

/// Who is signed in
#[utoipa::path(get, path = "/api/me", tag = "session", responses((status = 200, description = "You", body = api::Me)))]
pub(super) async fn me(State(control): State<Shared>, caller: Caller) -> Json<api::Me> {
    Json(control.me(&caller.account, &caller.session, &caller.token, caller.has_password))
}

/// Sign out
///
/// The session is over at once, wherever its token is.
#[utoipa::path(post, path = "/api/logout", tag = "session", responses((status = 204, description = "Signed out")))]
pub(super) async fn logout(State(control): State<Shared>, caller: Caller) -> Result<Response, Refusal> {
    control.ports.sessions.end(caller.token.hash()).await?;
    let mut answer = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = Jar::of(&caller.visitor).and_then(Jar::clear) {
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(answer)
}

/// Put a new token in the place of this one
///
/// The old one holds until the new one is used, and half a minute longer; shown here again meanwhile, it brings the very same one.
/// A session that is refreshed in time lasts for 30 days at most.
#[utoipa::path(
    post, path = "/api/refresh", tag = "session",
    responses((status = 200, description = "The same session, by another token", body = api::NewSession))
)]
pub(super) async fn refresh(State(control): State<Shared>, caller: Caller) -> Result<Response, Refusal> {
    let renewed = match caller.shown {
        Shown::Before(salt) => control.renewed_already(&caller, &salt).await?,
        Shown::Present(_) => control.renew(&caller).await?,
    };
    let over = || Refusal::new(Code::InvalidSession, "this session is over: sign in again");
    let (session, token) = renewed.ok_or_else(over)?;
    answer(&control, Jar::of(&caller.visitor), &caller.account, &session, &token).await
}

impl Control {
    async fn renew(&self, caller: &Caller) -> Result<Option<(Session, SessionToken)>, Refusal> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(Refusal::no_randomness)?;
        let token = caller.token.renewed(&salt);
        let began_at = caller.session.began_at;
        let life = caller.now.after(self.snapshot().edge.identity.session);
        let session = Session {
            token_hash: token.hash(),
            user: caller.account.id,
            created_at: caller.now,
            began_at,
            expires_at: life.min(ends_for_good(began_at)),
        };
        if session.expires_at <= caller.now {
            return Ok(None);
        }
        let (old, sessions) = (caller.token.hash(), &self.ports.sessions);
        if sessions.replace(old, Renewal { session: session.clone(), salt }).await? {
            return Ok(Some((session, token)));
        }
        // Another tab's request was quicker: to both the same is given.
        match sessions.signed(old, caller.now).await?.map(|signed| signed.shown) {
            Some(Shown::Before(salt)) => self.renewed_already(caller, &salt).await,
            _ => Ok(None),
        }
    }

    /// The token that is in the place of the caller's.
    async fn renewed_already(
        &self,
        caller: &Caller,
        salt: &[u8; 32],
    ) -> Result<Option<(Session, SessionToken)>, Refusal> {
        let token = caller.token.renewed(salt);
        let signed = self.ports.sessions.signed(token.hash(), caller.now).await?;
        Ok(signed.map(|signed| (signed.session, token)))
    }
}

/// Set your password
///
/// `current` is needed where there is one, and refused where there is none. Ends every other session of yours.
#[utoipa::path(
    put, path = "/api/me/password", tag = "session", request_body = api::NewPassword,
    responses(
        (status = 204, description = "Set"),
        (status = 403, description = "Not the current password"),
        (status = 429, description = "Too many attempts have failed"),
    )
)]
pub(super) async fn set_password(
    State(control): State<Shared>,
    caller: Caller,
    Body(change): Body<api::NewPassword>,
) -> Result<StatusCode, Refusal> {
    let new = chosen("new", change.new)?;
    to_its_end(async move { control.change_password(&caller, change.current, new).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Control {
    async fn change_password(&self, caller: &Caller, current: Option<String>, new: Password) -> Result<(), Refusal> {
        let (user, asker) = (caller.account.id, self.throttle.asker(caller.visitor.address));
        let hash = self.ports.accounts.password(user).await?;
        if hash.is_none() && current.is_some() {
            return Err(Refusal::field("current", "`current` must be left out: you have no password yet"));
        }
        if let Some(hash) = hash {
            let Some(current) = current else {
                return Err(Refusal::new(Code::MissingField, "`current` is missing: you have a password").at("current"));
            };
            // A session that was left open is no way to the password.
            let tried = self.throttle.begin(caller.account.email.as_str(), caller.visitor.address)?;
            let is_theirs = match Password::try_with(current) {
                Ok(current) => self.hashing.is_of(asker, current, Some(hash)).await,
                Err(_) => Ok(false),
            };
            match is_theirs {
                Ok(true) => tried.succeeded(),
                Ok(false) => {
                    tried.failed();
                    return Err(Refusal::new(Code::WrongPassword, "`current` is not your password").at("current"));
                }
                Err(refusal) => {
                    tried.came_to_nothing();
                    return Err(refusal);
                }
            }
        }
        let hash = self.hashing.hash(asker, new).await?;
        self.ports.accounts.set_password(user, hash, Some(caller.session.token_hash)).await?;
        Ok(())
    }
}
