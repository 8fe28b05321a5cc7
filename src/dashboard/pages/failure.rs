//! Pages that say why there is no other, and the same words for scripts.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::html;

use crate::control::api::Me;
use crate::dashboard::frame::{self, Here, Page};
use crate::dashboard::limits;
use crate::dashboard::pace::{Asked, Refused};
use crate::dashboard::visitor::Visitor;

/// Why a page cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dashboard) enum Failure {
    NotFound,
    /// The edge did not answer.
    Away,
    /// The store did not answer.
    Unread,
    /// There was too much to look through in the time that a question has.
    TooMuch,
    /// Another site sent a form.
    Foreign,
    /// A form of another session, or of none.
    Stale,
    TooLarge,
    /// A form did not come in time.
    TooSlow,
    OperatorsOnly,
    /// More pages were asked for than are made: by this user, by all, or by who is not known to be signed in.
    TooMany,
    Busy,
    Strange,
    /// The same, where a form was sent: by this user, or by others.
    TooManyForms,
    NotDone,
    /// The edge said why.
    Refused(String),
}

pub(in crate::dashboard) fn page(visitor: &Visitor, me: Option<&Me>, status: StatusCode, failure: Failure) -> Response {
    let texts = visitor.texts();
    let too_much = limits::too_much(visitor.language, texts.too_much_words);
    let (title, words) = match &failure {
        Failure::NotFound => (texts.not_found, texts.not_found_words),
        Failure::Away => (texts.away, texts.away_words),
        Failure::Unread => (texts.unread, texts.unread_words),
        Failure::TooMuch => (texts.unread, too_much.as_str()),
        Failure::Foreign => (texts.foreign, texts.foreign_words),
        Failure::Stale => (texts.stale, texts.stale_words),
        Failure::TooLarge => (texts.too_large, texts.too_large_words),
        Failure::TooSlow => (texts.too_slow, texts.too_slow_words),
        Failure::OperatorsOnly => (texts.operators_only, texts.operators_only_words),
        Failure::TooMany => (texts.too_many_pages, texts.too_many_pages_words),
        Failure::Busy | Failure::Strange => (texts.busy, texts.busy_words),
        Failure::TooManyForms => (texts.too_many_pages, texts.too_many_forms_words),
        Failure::NotDone => (texts.busy, texts.not_done_words),
        Failure::Refused(message) => (texts.refused, message.as_str()),
    };
    if visitor.wants_json {
        return told(status, words);
    }
    let again = match failure {
        Failure::Away | Failure::Unread | Failure::TooMuch | Failure::TooMany | Failure::Busy | Failure::Strange => {
            true
        }
        Failure::Refused(_) => matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE),
        _ => false,
    };
    let body = html! {
        section.failure {
            p.code { (status.as_u16()) }
            h1 { (title) }
            p { (words) }
            p.actions {
                @if again { a.button href=(visitor.path) { (texts.try_again) } }
                @if failure == Failure::Strange { a.button.plain href="/sign-in" { (texts.sign_in) } }
                a.button.plain href="/" { (texts.to_overview) }
            }
        }
    };
    let page = Page { title, here: Here::Elsewhere, scripts: &[], styles: &[], body };
    (status, frame::document(visitor, me, page)).into_response()
}

/// For a script, as the control API would say it.
pub(in crate::dashboard) fn told(status: StatusCode, message: &str) -> Response {
    (status, Json(serde_json::json!({ "error": { "message": message } }))).into_response()
}

/// For what is beyond the pace, with when to ask again (RFC 9110, 10.2.3).
pub(in crate::dashboard) fn refused(visitor: &Visitor, asked: Asked, refused: Refused) -> Response {
    let (status, failure, wait) = match refused {
        Refused::TooMany(wait) => (StatusCode::TOO_MANY_REQUESTS, Failure::TooMany, wait),
        Refused::Busy(wait) => (StatusCode::SERVICE_UNAVAILABLE, Failure::Busy, wait),
        // No 503: with these anybody could call an operator to an edge that is well.
        Refused::Strange(wait) => (StatusCode::TOO_MANY_REQUESTS, Failure::Strange, wait),
    };
    let failure = match (asked, failure) {
        (Asked::Page, failure) => failure,
        (Asked::Form, Failure::TooMany) => Failure::TooManyForms,
        (Asked::Form, _) => Failure::NotDone,
    };
    let mut answer = page(visitor, None, status, failure);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
    answer
}
