//! How the edge stands, for its operators: upstreams, breakers, certificates, configuration; and its accounts.

use axum::Extension;
use axum::extract::RawQuery;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::failure::{self, Failure};
use super::key_forms::proof;
use super::users::{self, Made};
use crate::control::api::{CertificateState, ConfigurationState, EdgeState, Reloaded, UpstreamState, User};
use crate::dashboard::form::{Form, SignedForm};
use crate::dashboard::frame::{self, Here, Page};
use crate::dashboard::parts::{alert, figure, flash};
use crate::dashboard::shown::{count, instant_text};
use crate::dashboard::signed::{Signed, redirect};
use crate::dashboard::texts::Texts;

pub(super) async fn page(Extension(signed): Extension<Signed>, RawQuery(query): RawQuery) -> Response {
    let query = Form::of_query(query.as_deref().unwrap_or_default());
    show(&signed, StatusCode::OK, query.text("said"), None, None).await
}

pub(super) async fn reload(SignedForm { signed, .. }: SignedForm) -> Response {
    let empty = serde_json::json!({});
    let done =
        signed.dashboard.edge.send::<Reloaded>(&signed.visitor, Method::POST, "/api/operator/reload", &empty).await;
    match done {
        // The problems stand on the page itself, for as long as they hold.
        Ok(done) => redirect(if done.ok { "/operator?said=reloaded" } else { "/operator?said=reload_failed" }),
        Err(error) => signed.failed(&error),
    }
}

/// Not theirs to see, where somebody is no operator. The edge would say the same.
pub(super) fn only_operators(signed: &Signed) -> Option<Response> {
    if signed.is_operator() {
        return None;
    }
    Some(failure::page(&signed.visitor, Some(&signed.me), StatusCode::FORBIDDEN, Failure::OperatorsOnly))
}

pub(super) async fn show(
    signed: &Signed,
    status: StatusCode,
    said: &str,
    made: Option<Made>,
    problem: Option<String>,
) -> Response {
    if let Some(answer) = only_operators(signed) {
        return answer;
    }
    let (edge, visitor) = (&signed.dashboard.edge, &signed.visitor);
    let (state, users) = tokio::join!(
        edge.get::<EdgeState>(visitor, "/api/operator/state"),
        edge.get::<Vec<User>>(visitor, "/api/operator/users")
    );
    let (state, users) = match (state, users) {
        (Ok(state), Ok(users)) => (state, users),
        (Err(error), _) | (_, Err(error)) => return signed.failed(&error),
    };
    let texts = visitor.texts();
    let body = html! {
        header.heading { h1 { (texts.operator) } p.soft { "cfx " (state.version) " · " (texts.running_since) " " (instant_text(texts, &state.started_at)) } }
        (flash(texts, said))
        @if let Some(problem) = &problem { (alert(problem)) }
        @if let Some(made) = &made { (users::shown_once(signed, made)) }
        @if let Some(degraded) = &state.degraded { p.notice.bad role="status" { (texts.degraded) ": " (degraded) } }
        (figures(signed, &state))
        (upstreams(texts, &state.upstreams))
        (configuration(signed, &state.configuration))
        (certificates(texts, &state.certificates))
        (users::section(signed, &users))
    };
    let page = Page { title: texts.operator, here: Here::Operator, scripts: &[], styles: &[], body };
    (status, frame::signed(signed, page)).into_response()
}

fn figures(signed: &Signed, state: &EdgeState) -> Markup {
    let (texts, language) = (signed.visitor.texts(), signed.visitor.language);
    html! {
        dl.figures {
            (figure(texts.in_flight, &count(language, state.streams_in_flight), &html! {}))
            (figure(texts.ledger_queued, &count(language, state.ledger_queued), &html! { (texts.ledger_queued_words) }))
            (figure(texts.ledger_dropped, &count(language, state.ledger_dropped), &html! { (texts.ledger_dropped_words) }))
            (figure(texts.ledger_quarantined, &count(language, state.ledger_quarantined), &html! { (texts.ledger_quarantined_words) }))
        }
    }
}

fn upstreams(texts: &Texts, upstreams: &[UpstreamState]) -> Markup {
    html! {
        section.panel aria-labelledby="upstreams" {
            h2 #upstreams { (texts.upstreams) }
            @if upstreams.is_empty() { p.soft { (texts.no_upstreams) } } @else {
                div.scroll tabindex="0" role="group" aria-labelledby="upstreams" {
                    table.stacks {
                        thead { tr {
                            th scope="col" { (texts.upstream) } th scope="col" { (texts.target) } th scope="col" { (texts.health) }
                            th scope="col" { (texts.breaker) } th.number scope="col" { (texts.in_flight) }
                        } }
                        tbody {
                            @for upstream in upstreams {
                                @for target in &upstream.targets {
                                    tr {
                                        td.breaks data-name=(texts.upstream) { (upstream.name) @if upstream.unrouted { " " span.soft { "(" (texts.unrouted) ")" } } }
                                        td.breaks data-name=(texts.target) { code { (target.address) } }
                                        td data-name=(texts.health) { (health(texts, target.healthy)) }
                                        td data-name=(texts.breaker) { (breaker(texts, &target.breaker)) }
                                        td.number data-name=(texts.in_flight) { (target.in_flight) }
                                    }
                                }
                                @for model in &upstream.models {
                                    tr {
                                        td.breaks data-name=(texts.upstream) { (upstream.name) }
                                        td.breaks data-name=(texts.model) { (texts.model) " " code { (model.model) } }
                                        td data-name=(texts.health) { span.soft { (texts.none) } }
                                        td data-name=(texts.breaker) { (breaker(texts, &model.breaker)) }
                                        td.number data-name=(texts.in_flight) { span.soft { (texts.none) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn health(texts: &Texts, healthy: bool) -> Markup {
    let (state, name) = if healthy { ("success", texts.healthy) } else { ("error", texts.unhealthy) };
    html! { span.status data-status=(state) { (name) } }
}

fn breaker(texts: &Texts, state: &str) -> Markup {
    let (colour, name) = match state {
        "closed" => ("success", texts.breaker_closed),
        "open" => ("error", texts.breaker_open),
        "half_open" => ("rate_limited", texts.breaker_half_open),
        other => ("cancelled", other),
    };
    html! { span.status data-status=(colour) { (name) } }
}

fn configuration(signed: &Signed, state: &ConfigurationState) -> Markup {
    let texts = signed.visitor.texts();
    let list = |title: &str, lines: &[String], class: &str| {
        html! { @if !lines.is_empty() { h3 { (title) } ul class=(class) { @for line in lines { li { code { (line) } } } } } }
    };
    html! {
        section.panel aria-labelledby="configuration" {
            div.split {
                h2 #configuration { (texts.configuration) }
                form method="post" action="/operator/reload" { (proof(signed)) button type="submit" { (texts.reload) } }
            }
            p { (texts.holds_since) " " (instant_text(texts, &state.since)) " · " code.breaks { (state.hash) } }
            @if state.problems.is_empty() { p.soft { (texts.no_problems) } } @else { (alert(texts.not_taken)) }
            (list(texts.problems, &state.problems, "lines problems"))
            (list(texts.warnings, &state.warnings, "lines"))
            (list(texts.needs_restart, &state.restart, "lines"))
        }
    }
}

fn certificates(texts: &Texts, certificates: &[CertificateState]) -> Markup {
    html! {
        section.panel aria-labelledby="certificates" {
            h2 #certificates { (texts.certificates) }
            @if certificates.is_empty() { p.soft { (texts.no_certificates) } } @else {
                div.scroll tabindex="0" role="group" aria-labelledby="certificates" {
                    table.stacks {
                        thead { tr { th scope="col" { (texts.names) } th scope="col" { (texts.ends) } th scope="col" { (texts.source) } } }
                        tbody { @for certificate in certificates {
                            tr {
                                td.breaks data-name=(texts.names) { (certificate.names.join(", ")) }
                                td data-name=(texts.ends) { (instant_text(texts, &certificate.expires_at)) }
                                td data-name=(texts.source) { (certificate.source) }
                            }
                        } }
                    }
                }
            }
        }
    }
}
