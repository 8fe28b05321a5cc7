//! A question to a stage, answered as it streams: by the browser itself, at `/v1`, with a key that holds for a quarter of an
//! hour. A cookie means nothing there.

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use maud::html;

use super::connect::asked_as;
use super::failure;
use super::key_forms::proof;
use crate::control::api::{Offer, RawKey};
use crate::dashboard::assets::PLAYGROUND;
use crate::dashboard::edge::EdgeError;
use crate::dashboard::form::SignedForm;
use crate::dashboard::frame::{self, Here, Page};
use crate::dashboard::limits;
use crate::dashboard::signed::Signed;

pub(super) async fn page(Extension(signed): Extension<Signed>) -> Response {
    let texts = signed.visitor.texts();
    let offer = match signed.dashboard.edge.get::<Offer>(&signed.visitor, "/api/models").await {
        Ok(offer) => offer,
        Err(error) => return signed.failed(&error),
    };
    let body = html! {
        header.heading { h1 { (texts.playground) } p.soft { (texts.playground_words) } }
        noscript { p.notice.bad { (texts.playground_needs_script) } }
        form.panel.fields #playground method="post" action="/playground/key"
            data-ready=(limits::playground_key(signed.visitor.language)) data-key=(texts.play_key) data-waiting=(texts.play_waiting) data-streaming=(texts.play_streaming)
            data-done=(texts.play_done) data-stopped=(texts.play_stopped) data-failed=(texts.play_failed) data-none=(texts.none) data-tokens=(texts.tokens_today) {
            (proof(&signed))
            label for="model" { (texts.play_model) }
            select #model name="model" {
                optgroup label=(texts.stages) { @for stage in &offer.stages { option value=(asked_as(&stage.name)) { (asked_as(&stage.name)) " — " (stage.model) } } }
                @if offer.direct && !offer.models.is_empty() {
                    optgroup label=(texts.models) { @for model in &offer.models { option value=(model.alias) data-direct { (model.alias) } } }
                }
            }
            label for="question" { (texts.question) }
            textarea #question name="question" rows="5" required {}
            p.actions {
                button #send type="submit" disabled { (texts.send) }
                button #stop .plain type="button" hidden { (texts.stop) }
                span #play-state .hint role="status" {}
            }
        }
        section.panel aria-labelledby="answer-title" {
            h2 #answer-title { (texts.answer) }
            pre #answer .answer tabindex="0" aria-live="off" aria-labelledby="answer-title" data-empty=(texts.answer_empty) {}
            dl.facts {
                div { dt { (texts.stage) } dd #play-stage { (texts.none) } }
                div { dt { (texts.model) } dd #play-model .breaks { (texts.none) } }
                div { dt { (texts.tokens) } dd #play-tokens { (texts.none) } }
                div { dt { (texts.cost) } dd #play-cost { (texts.none) } }
                div { dt { (texts.to_first_token) } dd #play-first { (texts.none) } }
                div { dt { (texts.request) } dd { a #play-request href="/logs" { (texts.none) } } }
            }
            details { summary { (texts.headers) } pre #play-headers .headers tabindex="0" role="region" aria-label=(texts.headers) {} }
        }
    };
    frame::signed(
        &signed,
        Page { title: texts.playground, here: Here::Playground, scripts: &[&*PLAYGROUND], styles: &[], body },
    )
}

/// A fresh key for the page's script, which keeps it in memory alone.
pub(super) async fn key(SignedForm { signed, .. }: SignedForm) -> Response {
    let empty = serde_json::json!({});
    match signed.dashboard.edge.send::<RawKey>(&signed.visitor, Method::POST, "/api/keys/playground", &empty).await {
        Ok(raw) => Json(serde_json::json!({ "key": raw.key, "expires_at": raw.row.expires_at })).into_response(),
        Err(EdgeError::Refused(problem)) => {
            problem.dress(failure::told(problem.status, &problem.words(signed.visitor.language)))
        }
        Err(EdgeError::Away) => failure::told(StatusCode::BAD_GATEWAY, signed.visitor.texts().away_words),
    }
}
