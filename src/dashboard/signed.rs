//! Whoever is signed in: asked of the edge for every page, and led to sign in where it is nobody.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Dashboard;
use super::edge::EdgeError;
use super::pace::{Asked, Asker};
use super::pages::failure::{self, Failure};
use super::visitor::Visitor;
use crate::control::api::{Me, NewSession};
use crate::identity::SessionToken;
use crate::ledger::{Reports, is_of_nobody, took_too_long};
use crate::units::{StoreError, Timestamp, UserId};

/// A visitor whose session the edge knows.
#[derive(Clone)]
pub(super) struct Signed {
    pub visitor: Visitor,
    pub me: Me,
    pub token: SessionToken,
    pub dashboard: Arc<Dashboard>,
}

impl Signed {
    /// What this session may read. Err: a page that says why not.
    pub async fn reports(&self) -> Result<Box<dyn Reports>, Response> {
        match self.dashboard.reports.of(self.token.expose(), UserId(self.me.id)).await {
            Ok(Some(reports)) => Ok(reports),
            Ok(None) => Err(to_sign_in(&self.visitor)),
            Err(error) => Err(self.unread(&error)),
        }
    }

    /// The page for numbers that could not be read: the one to sign in where the session has ended meanwhile.
    pub fn unread(&self, error: &StoreError) -> Response {
        if is_of_nobody(error) {
            return to_sign_in(&self.visitor);
        }
        tracing::warn!(%error, "a page's numbers could not be read");
        let failure = if took_too_long(error) { Failure::TooMuch } else { Failure::Unread };
        failure::page(&self.visitor, Some(&self.me), StatusCode::SERVICE_UNAVAILABLE, failure)
    }

    /// The page for an edge that did not answer, or refused what no form is at fault for.
    pub fn failed(&self, error: &EdgeError) -> Response {
        failed(&self.visitor, Some(&self.me), error)
    }

    pub fn is_operator(&self) -> bool {
        self.me.role == "operator"
    }

    pub fn now(&self) -> Timestamp {
        self.dashboard.clock.now()
    }
}

/// Lets whoever is signed in through, as [`Signed`], and keeps the session alive while pages are opened.
pub(super) async fn signed(State(dashboard): State<Arc<Dashboard>>, mut request: Request, next: Next) -> Response {
    let Some(visitor) = request.extensions().get::<Visitor>().cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let Some(mut token) = visitor.token.clone() else { return to_sign_in(&visitor) };
    let asked = if request.method().is_safe() { Asked::Page } else { Asked::Form };
    let asker = match dashboard.pace.take(&token, visitor.origin.client, asked) {
        Ok(asker) => asker,
        Err(refused) => return failure::refused(&visitor, asked, refused),
    };
    let mut me = match dashboard.edge.get::<Me>(&visitor, "/api/me").await {
        Ok(me) => me,
        Err(error) => {
            if matches!(&error, EdgeError::Refused(problem) if problem.status == StatusCode::UNAUTHORIZED) {
                dashboard.pace.forget(&token);
            }
            return failed(&visitor, None, &error);
        }
    };
    vouch(&dashboard, &token, &me);
    // A user who has their session renewed before each page would show a stranger's each time.
    if asker == Asker::Stranger
        && let Err(refused) = dashboard.pace.take_as(me.id, asked)
    {
        return failure::refused(&visitor, asked, refused);
    }
    let mut kept = None;
    // A form on this page was made for the token that sent it, so only a page that is opened may bring another.
    if request.method() == Method::GET
        && wants_refresh(&me, dashboard.clock.now())
        && let Ok(session) =
            dashboard.edge.send::<NewSession>(&visitor, Method::POST, "/api/refresh", &serde_json::json!({})).await
        && let Some(renewed) = SessionToken::parse(&session.token)
    {
        // The edge is asked by the old one still: it takes what shows the new one for proof that this answer has arrived.
        kept = keep(&dashboard, &visitor, &session);
        (me, token) = (session.me, renewed);
    }
    request.extensions_mut().insert(Signed { visitor, me, token, dashboard });
    let mut answer = next.run(request).await;
    if let Some(kept) = kept {
        answer.headers_mut().append(SET_COOKIE, kept);
    }
    answer
}

/// The cookie of a session that was just given.
pub(super) fn keep(dashboard: &Dashboard, visitor: &Visitor, session: &NewSession) -> Option<HeaderValue> {
    let token = SessionToken::parse(&session.token)?;
    vouch(dashboard, &token, &session.me);
    let end = Timestamp::parse(&session.expires_at)?;
    visitor.origin.keep(&token, dashboard.clock.now().until(end).as_secs())
}

fn vouch(dashboard: &Dashboard, token: &SessionToken, me: &Me) {
    let life = Timestamp::parse(&me.expires_at).map(|end| dashboard.clock.now().until(end));
    dashboard.pace.vouched(token, me.id, life.unwrap_or_default());
}

/// Less than half of its life is left, and a refresh can add to it: not where it already lasts to the end for good.
fn wants_refresh(me: &Me, now: Timestamp) -> bool {
    let [made, end, for_good] = [&me.created_at, &me.expires_at, &me.ends_at].map(|time| Timestamp::parse(time));
    let (Some(made), Some(end), Some(for_good)) = (made, end, for_good) else { return false };
    end < for_good && now.until(end) < made.until(end) / 2
}

fn failed(visitor: &Visitor, me: Option<&Me>, error: &EdgeError) -> Response {
    let EdgeError::Refused(problem) = error else {
        return failure::page(visitor, me, StatusCode::BAD_GATEWAY, Failure::Away);
    };
    let failure = match (problem.status, problem.code.as_str()) {
        (StatusCode::UNAUTHORIZED, _) => return to_sign_in(visitor),
        (StatusCode::NOT_FOUND, _) => Failure::NotFound,
        (_, "store_unavailable") => Failure::Unread,
        _ => Failure::Refused(problem.words(visitor.language)),
    };
    problem.dress(failure::page(visitor, me, problem.status, failure))
}

/// To the sign-in page, and back from there to what was asked for. The cookie stays: another tab may have just renewed it. Two
/// go: else nobody could sign in any more.
pub(super) fn to_sign_in(visitor: &Visitor) -> Response {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if visitor.path != "/" {
        query.append_pair("next", &visitor.path);
    }
    let query = query.finish();
    let mut answer = redirect(&if query.is_empty() { "/sign-in".to_owned() } else { format!("/sign-in?{query}") });
    if visitor.is_in_conflict {
        for forgotten in visitor.origin.forget_all(&visitor.path) {
            answer.headers_mut().append(SET_COOKIE, forgotten);
        }
    }
    answer
}

/// 303, so that whatever was sent is followed by a GET.
pub(super) fn redirect(to: &str) -> Response {
    match HeaderValue::from_str(to) {
        Ok(to) => (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response(),
        Err(_) => (StatusCode::SEE_OTHER, [(LOCATION, HeaderValue::from_static("/"))]).into_response(),
    }
}
