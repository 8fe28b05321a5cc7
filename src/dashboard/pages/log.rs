//! One request: when what happened, what it used, and in plain words why it failed.

use axum::Extension;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use uuid::Uuid;

use super::failure::{self, Failure};
use crate::control::api::Key;
use crate::dashboard::frame::{self, Here, Page};
use crate::dashboard::parts::{self, maybe};
use crate::dashboard::shown::{bytes, count, duration, instant, money};
use crate::dashboard::signed::Signed;
use crate::dashboard::texts::{Texts, reasons};
use crate::identity::made_visible;
use crate::ledger::{LogRow, Status};
use crate::units::{RequestId, StageSource};

pub(super) async fn page(Extension(signed): Extension<Signed>, Path(id): Path<String>) -> Response {
    let not_found = || failure::page(&signed.visitor, Some(&signed.me), StatusCode::NOT_FOUND, Failure::NotFound);
    let Ok(id) = Uuid::parse_str(&id) else { return not_found() };
    let row = match signed.reports().await {
        Ok(reports) => reports.row(RequestId(id)).await,
        Err(answer) => return answer,
    };
    match row {
        Ok(Some(row)) => {
            let keys = signed.dashboard.edge.get::<Vec<Key>>(&signed.visitor, "/api/keys").await.unwrap_or_default();
            shown(&signed, &row, &keys)
        }
        Ok(None) => not_found(),
        Err(error) => signed.unread(&error),
    }
}

fn shown(signed: &Signed, row: &LogRow, keys: &[Key]) -> Response {
    let texts = signed.visitor.texts();
    let body = html! {
        header.heading {
            p { a href="/logs" { "← " (texts.logs) } }
            h1 { (texts.request) }
            p.soft { code.breaks { (row.request.0) } }
        }
        section.panel aria-labelledby="outcome" {
            div.split {
                h2 #outcome { (parts::status(texts, row.status)) " " span.soft { "HTTP " (row.http_status) } }
                p.soft { (instant(texts, row.created_at)) }
            }
            p { (why(signed, row)) }
            @if let Some(error) = &row.error { p.soft { (texts.error_text) ": " code.breaks { (error) } } }
        }
        (timeline(signed, row))
        (facts(signed, row, keys))
    };
    frame::signed(signed, Page { title: texts.request, here: Here::Logs, scripts: &[], styles: &[], body })
}

/// Why it ended as it did. A row may stand for many refusals: `daily_quota_exceeded ×190, overloaded ×2`.
fn why(signed: &Signed, row: &LogRow) -> Markup {
    let (texts, language) = (signed.visitor.texts(), signed.visitor.language);
    let codes =
        row.error.as_deref().unwrap_or_default().split(", ").map(|code| code.split(" ×").next().unwrap_or(code));
    let known: Vec<_> = codes.filter_map(|code| reasons::reason(language, code)).collect();
    if known.is_empty() {
        return html! { (match row.status {
            Status::Success => texts.ended_success,
            Status::Error => texts.ended_error,
            Status::RateLimited => texts.ended_rate_limited,
            Status::Cancelled => texts.ended_cancelled,
        }) };
    }
    html! { @for reason in known { (reason) " " } }
}

/// From the request's head to the answer's end, as a line; the same as a list below it.
fn timeline(signed: &Signed, row: &LogRow) -> Markup {
    let (texts, language) = (signed.visitor.texts(), signed.visitor.language);
    let permille = |part: u64| part.min(row.latency_ms).saturating_mul(1_000).checked_div(row.latency_ms).unwrap_or(0);
    let first = row.first_token_ms.map(permille);
    html! {
        section.panel aria-labelledby="timeline" {
            h2 #timeline { (texts.timeline) }
            svg.timeline viewBox="0 0 1000 24" preserveAspectRatio="none" aria-hidden="true" {
                rect.ground y="8" width="1000" height="8" {}
                @match first {
                    Some(first) => {
                        rect.waiting y="8" width=(first) height="8" {}
                        rect.answering y="8" x=(first) width=(1_000 - first) height="8" {}
                        rect.mark x=(first.min(996)) width="4" height="24" {}
                    }
                    None => rect.waiting y="8" width="1000" height="8" {},
                }
                rect.mark width="4" height="24" {}
                rect.mark x="996" width="4" height="24" {}
            }
            ol.moments {
                li { span.name { (texts.admitted) } span.value { (duration(language, 0)) } }
                li.waiting { span.name { (texts.first_byte) } span.value { (maybe(texts, language, row.first_token_ms, duration)) } }
                li.answering { span.name { (texts.end) } span.value { (duration(language, row.latency_ms)) } }
            }
        }
    }
}

fn facts(signed: &Signed, row: &LogRow, keys: &[Key]) -> Markup {
    let (texts, language) = (signed.visitor.texts(), signed.visitor.language);
    let key = keys.iter().find(|key| key.id == row.key.0);
    let number = |number: Option<u64>| maybe(texts, language, number, count);
    let text = |text: Option<&str>| match text {
        Some(text) => html! { bdi { (made_visible(text)) } },
        None => html! { span.soft { (texts.none) } },
    };
    let fact = |name: &str, value: Markup| html! { div { dt { (name) } dd { (value) } } };
    html! {
        section.panel aria-labelledby="facts" {
            h2 #facts { (texts.details) }
            dl.facts.many {
                (fact(texts.stage, html! { (parts::stage(texts, row.stage)) " " span.soft { (source(texts, row.source)) } }))
                (fact(texts.model, text(row.model.as_deref())))
                (fact(texts.key, text(Some(key.map_or(texts.key_gone, |key| key.label.as_str())))))
                (fact(texts.session, text(row.session_id.as_deref())))
                (fact(texts.kind, html! { (if row.stream { texts.streamed } else { texts.whole }) }))
                (fact(texts.body, html! { (bytes(language, row.body_bytes)) }))
                (fact(texts.attempts, html! { (row.attempts) }))
                (fact(texts.cost, html! { (money(language, row.cost)) }))
                (fact(texts.input_tokens, number(row.input_tokens)))
                (fact(texts.cached_tokens, number(row.cached_input_tokens)))
                (fact(texts.cache_write_tokens, number(row.cache_write_tokens)))
                (fact(texts.output_tokens, number(row.output_tokens)))
                (fact(texts.reasoning_tokens, number(row.reasoning_tokens)))
                (fact(texts.total_tokens, number(row.total_tokens)))
            }
            @if row.estimated { p.hint { (texts.estimated) } }
        }
    }
}

fn source(texts: &Texts, source: Option<StageSource>) -> &'static str {
    match source {
        Some(StageSource::Header) => texts.by_header,
        Some(StageSource::Model) => texts.by_model,
        Some(StageSource::Inferred) => texts.by_inference,
        Some(StageSource::Default) => texts.by_default,
        None => "",
    }
}
