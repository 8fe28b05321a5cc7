//! API keys: made and shown once, replaced, renamed, given an end, revoked.

use std::collections::HashSet;

use axum::Extension;
use axum::extract::RawQuery;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::html;
use uuid::Uuid;

use super::key_forms::{self, Sent};
use crate::control::api::{Key, KeyChange, NewKey, Offer, RawKey, Rotation};
use crate::dashboard::edge::EdgeError;
use crate::dashboard::form::{Form, Id, SignedForm};
use crate::dashboard::frame::{self, Here, Page};
use crate::dashboard::parts::{alert, copyable, flash};
use crate::dashboard::signed::{Signed, redirect};
use crate::identity::made_visible;
use crate::units::Timestamp;

const DAY: i64 = 86_400 * 1_000_000;

/// What stands above the list of keys.
#[derive(Default)]
struct Above {
    said: String,
    /// Just made, and never to be seen again.
    raw: Option<RawKey>,
    problem: Option<String>,
    /// What was sent and refused.
    sent: Sent,
}

pub(super) async fn page(Extension(signed): Extension<Signed>, RawQuery(query): RawQuery) -> Response {
    let query = Form::of_query(query.as_deref().unwrap_or_default());
    let above = Above { said: query.text("said").to_owned(), ..Above::default() };
    show(&signed, StatusCode::OK, above).await
}

pub(super) async fn create(SignedForm { signed, form }: SignedForm) -> Response {
    let sent = Sent::of(&form);
    let Ok(daily_requests) = form.number("daily_requests") else {
        return unread(&signed, signed.visitor.texts().not_a_number, sent).await;
    };
    let Ok(expires_at) = ends(&signed, form.text("expires")) else {
        return unread(&signed, signed.visitor.texts().problem_end, sent).await;
    };
    let once = form.text("once");
    if !signed.dashboard.answered.first(once) {
        return redirect("/keys?said=already_done");
    }
    let key = NewKey {
        label: form.text("label").trim().to_owned(),
        expires_at,
        stages: form.chosen("stages"),
        models: form.chosen("models"),
        daily_requests,
    };
    let made = signed.dashboard.edge.send::<RawKey>(&signed.visitor, Method::POST, "/api/keys", &key).await;
    shown_once(&signed, once, made, sent).await
}

pub(super) async fn rotate(Id(id): Id, SignedForm { signed, form }: SignedForm) -> Response {
    let Ok(overlap_seconds) = form.text("overlap").parse() else {
        return unread(&signed, signed.visitor.texts().problem_overlap, Sent::default()).await;
    };
    let once = form.text("once");
    if !signed.dashboard.answered.first(once) {
        return redirect("/keys?said=already_done");
    }
    let rotation = Rotation { overlap_seconds };
    let path = format!("/api/keys/{id}/rotate");
    let made = signed.dashboard.edge.send::<RawKey>(&signed.visitor, Method::POST, &path, &rotation).await;
    shown_once(&signed, once, made, Sent::default()).await
}

pub(super) async fn rename(Id(id): Id, SignedForm { signed, form }: SignedForm) -> Response {
    let label = Some(form.text("label").trim().to_owned());
    change(&signed, id, KeyChange { label, expires_at: None }).await
}

pub(super) async fn expiry(Id(id): Id, SignedForm { signed, form }: SignedForm) -> Response {
    let Ok(expires_at) = ends(&signed, form.text("expires")) else {
        return unread(&signed, signed.visitor.texts().problem_end, Sent::default()).await;
    };
    let expires_at = expires_at.unwrap_or_else(|| "never".to_owned());
    change(&signed, id, KeyChange { label: None, expires_at: Some(expires_at) }).await
}

pub(super) async fn revoke(Id(id): Id, SignedForm { signed, .. }: SignedForm) -> Response {
    let path = format!("/api/keys/{id}");
    let revoked = signed.dashboard.edge.tell(&signed.visitor, Method::DELETE, &path, &serde_json::json!({})).await;
    settled(&signed, revoked, "/keys?said=key_revoked").await
}

async fn change(signed: &Signed, id: Uuid, change: KeyChange) -> Response {
    let path = format!("/api/keys/{id}");
    let changed = signed.dashboard.edge.tell(&signed.visitor, Method::PATCH, &path, &change).await;
    settled(signed, changed, "/keys?said=key_changed").await
}

/// On to the list, or the list with what was wrong above it.
async fn settled(signed: &Signed, done: Result<(), EdgeError>, to: &str) -> Response {
    match done {
        Ok(()) => redirect(to),
        Err(error) => refused(signed, error, Sent::default()).await,
    }
}

/// The answer to the form is the one page that has the key: it is in no other, and in no address.
/// `once` is the form's mark, which is good again where nothing came of the form.
async fn shown_once(signed: &Signed, once: &str, made: Result<RawKey, EdgeError>, sent: Sent) -> Response {
    match made {
        Ok(raw) => show(signed, StatusCode::OK, Above { raw: Some(raw), ..Above::default() }).await,
        Err(error) => {
            signed.dashboard.answered.forget(once);
            refused(signed, error, sent).await
        }
    }
}

async fn refused(signed: &Signed, error: EdgeError, sent: Sent) -> Response {
    match error {
        EdgeError::Refused(problem) if ![StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND].contains(&problem.status) => {
            let words = Some(problem.words(signed.visitor.language));
            problem.dress(show(signed, problem.status, Above { problem: words, sent, ..Above::default() }).await)
        }
        error => signed.failed(&error),
    }
}

/// What no form of ours sends: a key is not to last for longer than somebody meant because of it.
struct Unread;

async fn unread(signed: &Signed, problem: &str, sent: Sent) -> Response {
    let problem = Some(problem.to_owned());
    show(signed, StatusCode::UNPROCESSABLE_ENTITY, Above { problem, sent, ..Above::default() }).await
}

/// RFC 3339, so many days from now. None: never.
fn ends(signed: &Signed, days: &str) -> Result<Option<String>, Unread> {
    if days.is_empty() {
        return Ok(None);
    }
    let days = days.parse::<i64>().ok().filter(|days| (1..=3_650).contains(days)).ok_or(Unread)?;
    Ok(Some(Timestamp(signed.now().0 + days * DAY).rfc3339()))
}

async fn show(signed: &Signed, status: StatusCode, above: Above) -> Response {
    let texts = signed.visitor.texts();
    let keys = match signed.dashboard.edge.get::<Vec<Key>>(&signed.visitor, "/api/keys").await {
        Ok(keys) => keys,
        Err(error) => return signed.failed(&error),
    };
    // Without it keys can be made all the same, for every model.
    let offer = signed.dashboard.edge.get::<Offer>(&signed.visitor, "/api/models").await.ok();
    let holding = |key: &&Key| key.state.holds();
    let made: HashSet<Uuid> = above.raw.iter().map(|raw| raw.row.id).collect();
    let over = keys.iter().filter(|key| !holding(key)).count();
    let body = html! {
        header.heading { h1 { (texts.keys) } p.soft { (texts.keys_words) } }
        (flash(texts, &above.said))
        @if let Some(problem) = &above.problem { (alert(problem)) }
        @if let Some(raw) = &above.raw {
            section.panel.once aria-labelledby="once" data-forget="/keys" {
                h2 #once { (texts.new_key) ": " bdi { (made_visible(&raw.row.label)) } }
                p { (texts.new_key_words) }
                (copyable(texts, texts.new_key, &raw.key))
                p.actions { a.button href="/connect" { (texts.connect) } a.button.plain href="/keys" { (texts.done) } }
            }
        }
        (key_forms::create(signed, offer.as_ref(), &above.sent, above.raw.is_none() && (keys.is_empty() || above.problem.is_some())))
        @if keys.iter().any(|key| holding(&key)) {
            ul.cards { @for key in keys.iter().filter(holding) { (key_forms::card(signed, key, made.contains(&key.id))) } }
        } @else {
            section.panel.empty { h2 { (texts.no_keys) } p.soft { (texts.no_keys_words) } }
        }
        @if over > 0 {
            details.over {
                summary { (texts.keys_over) " (" (over) ")" }
                ul.cards { @for key in keys.iter().filter(|key| !holding(key)) { (key_forms::card(signed, key, false)) } }
            }
        }
    };
    let page = Page { title: texts.keys, here: Here::Keys, scripts: &[], styles: &[], body };
    (status, frame::signed(signed, page)).into_response()
}
