//! Who asks: the session that a request shows, and whose it is.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use subtle::ConstantTimeEq;

use super::cookie::Jar;
use super::refusal::{Code, Refusal};
use super::visitor::Visitor;
use super::{Control, Shared};
use crate::identity::{Account, OVERLAP, Role, Session, SessionToken, Shown, Signed};
use crate::units::Timestamp;

pub(super) const CSRF: &str = "x-csrf-token";

/// Somebody whose session holds. Where the session came by cookie and something is to change, it has been shown that a
/// page of ours sent it.
#[derive(Debug)]
pub(super) struct Caller {
    pub account: Account,
    pub session: Session,
    pub has_password: bool,
    /// Which of the session's tokens `token` is.
    pub shown: Shown,
    pub token: SessionToken,
    pub visitor: Visitor,
    pub now: Timestamp,
}

/// The same, who may also see and turn what is everybody's.
#[derive(Debug)]
pub(super) struct Operator(pub Caller);

impl FromRequestParts<Shared> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, control: &Shared) -> Result<Self, Refusal> {
        let visitor = Visitor::of(&parts.headers);
        let shown = shown(&parts.headers, &visitor)?;
        let caller = control.signed_in(shown.token, visitor).await?;
        if shown.by_cookie && !matches!(parts.method, Method::GET | Method::HEAD) {
            check_csrf(&parts.headers, &caller.token)?;
        }
        Ok(caller)
    }
}

impl FromRequestParts<Shared> for Operator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, control: &Shared) -> Result<Self, Refusal> {
        let caller = Caller::from_request_parts(parts, control).await?;
        match caller.account.role {
            Role::Operator => Ok(Self(caller)),
            Role::Member => Err(Refusal::new(Code::NotPermitted, "only operators may do this")),
        }
    }
}

impl Control {
    async fn signed_in(&self, token: SessionToken, visitor: Visitor) -> Result<Caller, Refusal> {
        let now = self.ports.clock.now();
        let signed = self.ports.sessions.signed(token.hash(), now).await?.ok_or_else(over)?;
        // The store has looked already; nothing is lost by seeing for ourselves.
        if signed.account.disabled_at.is_some() || signed.session.expires_at <= now {
            return Err(over());
        }
        let Signed { account, session, has_password, shown } = signed;
        let overlap = now.after(OVERLAP);
        if matches!(shown, Shown::Present(Some(until)) if until > overlap) {
            self.ports.sessions.arrived(session.token_hash, overlap).await?;
        }
        Ok(Caller { account, session, has_password, shown, token, visitor, now })
    }
}

struct Credential {
    token: SessionToken,
    by_cookie: bool,
}

fn shown(headers: &HeaderMap, visitor: &Visitor) -> Result<Credential, Refusal> {
    let bearer = bearer(headers)?;
    let cookie = match Jar::of(visitor) {
        Some(jar) => jar.token(headers)?,
        None => None,
    };
    let (text, by_cookie) = match (bearer, cookie) {
        (Some(bearer), Some(cookie)) if bearer != cookie => {
            return Err(Refusal::new(
                Code::ConflictingSessions,
                "Authorization and the cookie show two sessions, and they differ: send one",
            ));
        }
        (Some(bearer), _) => (bearer, false),
        (None, Some(cookie)) => (cookie, true),
        (None, None) => {
            return Err(Refusal::new(
                Code::MissingSession,
                "nobody is signed in: send the session's token as Authorization: Bearer, or its cookie",
            ));
        }
    };
    if text.starts_with("cfx_live_") {
        return Err(Refusal::new(Code::InvalidSession, "this is an API key, which is for /v1: sign in for a session"));
    }
    Ok(Credential { token: SessionToken::parse(text).ok_or_else(over)?, by_cookie })
}

/// Other schemes are somebody else's: a route's guard may ask for `Basic`.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut shown = headers
        .get_all(AUTHORIZATION)
        .iter()
        .filter_map(|value| value.to_str().ok()?.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let first = shown.next();
    if shown.any(|other| Some(other) != first) {
        return Err(Refusal::new(Code::ConflictingSessions, "Authorization shows two sessions, and they differ"));
    }
    Ok(first)
}

/// One answer for what never was, is over, or belonged to who is no longer here.
fn over() -> Refusal {
    Refusal::new(Code::InvalidSession, "this session is over: sign in again")
}

fn check_csrf(headers: &HeaderMap, token: &SessionToken) -> Result<(), Refusal> {
    let shown = headers.get(CSRF).map(|value| value.as_bytes()).unwrap_or_default();
    if bool::from(shown.ct_eq(token.csrf().as_bytes())) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::InvalidCsrfToken,
        "what changes something needs the header X-CSRF-Token beside the cookie: GET /api/me has its value",
    ))
}
