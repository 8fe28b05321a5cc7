//! The newest requests, narrowed by a form whose answer is an address; older ones by the page; new ones as they end.

use std::sync::Arc;

use axum::Extension;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::filter::{Wanted, after};
use crate::control::api::Key;
use crate::dashboard::assets::TAIL;
use crate::dashboard::frame::{self, Here, Page};
use crate::dashboard::limits;
use crate::dashboard::parts::{self, alert, status_name};
use crate::dashboard::shown::{count, duration, instant, money};
use crate::dashboard::signed::Signed;
use crate::dashboard::texts::{Texts, fill};
use crate::identity::made_visible;
use crate::ledger::{LogRow, Status, is_of_nobody, took_too_long};
use crate::units::{Stage, StoreError};

const ROWS: u32 = 50;

/// What the form offers beside the stages and endings there are.
struct Known {
    keys: Vec<Key>,
    models: Arc<[String]>,
}

pub(super) async fn page(Extension(signed): Extension<Signed>, RawQuery(query): RawQuery) -> Response {
    let wanted = Wanted::of(query.as_deref().unwrap_or_default());
    let edge = &signed.dashboard.edge;
    let (rows, keys, models) = tokio::join!(
        read(&signed, &wanted),
        // Without these two requests are listed all the same, keys by their id.
        edge.get::<Vec<Key>>(&signed.visitor, "/api/keys"),
        edge.model_names(&signed.visitor)
    );
    match rows {
        Err(answer) => answer,
        Ok(Err(error)) if is_of_nobody(&error) => signed.unread(&error),
        Ok(rows) => shown(&signed, &wanted, rows, &Known { keys: keys.unwrap_or_default(), models }),
    }
}

async fn read(signed: &Signed, wanted: &Wanted) -> Result<Result<Vec<LogRow>, StoreError>, Response> {
    if wanted.problem.is_some() {
        return Ok(Ok(Vec::new()));
    }
    // One more than is shown tells whether there are older ones.
    Ok(signed.reports().await?.rows(&wanted.filter, wanted.before, ROWS + 1).await)
}

fn shown(signed: &Signed, wanted: &Wanted, rows: Result<Vec<LogRow>, StoreError>, known: &Known) -> Response {
    let texts = signed.visitor.texts();
    let status = match &rows {
        Ok(_) if wanted.problem.is_some() => StatusCode::BAD_REQUEST,
        Ok(_) => StatusCode::OK,
        Err(error) => {
            tracing::warn!(%error, "requests could not be read");
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    let body = html! {
        header.heading { h1 { (texts.logs) } p.soft { (texts.logs_words) } }
        (form(signed, wanted, known))
        @if let Some(problem) = wanted.problem { (alert(&problem.words(texts))) } @else {
            @match &rows {
                Err(error) if took_too_long(error) => (alert(&limits::too_much(signed.visitor.language, texts.logs_too_much))),
                Err(_) => (alert(texts.logs_unread)),
                Ok(rows) => (listed(signed, wanted, rows, known)),
            }
        }
    };
    let page = Page { title: texts.logs, here: Here::Logs, scripts: &[&*TAIL], styles: &[], body };
    (status, frame::signed(signed, page)).into_response()
}

fn form(signed: &Signed, wanted: &Wanted, known: &Known) -> Markup {
    let texts = signed.visitor.texts();
    html! {
        details.panel.filters open[wanted.is_narrowed() || wanted.problem.is_some()] {
            summary { (texts.filter) }
            form.grid method="get" action="/logs" {
                div { label for="stage" { (texts.stage) }
                    select #stage name="stage" {
                        option value="" { (texts.any) }
                        @for stage in Stage::ALL { option value=(stage.as_str()) selected[wanted.typed("stage") == stage.as_str()] { (stage.as_str()) } }
                    } }
                div { label for="status" { (texts.status) }
                    select #status name="status" {
                        option value="" { (texts.any) }
                        @for status in Status::ALL { option value=(status.as_str()) selected[wanted.typed("status") == status.as_str()] { (status_name(texts, status)) } }
                    } }
                div { label for="model" { (texts.model) }
                    input #model type="text" name="model" value=(wanted.typed("model")) list="models" autocomplete="off";
                    datalist #models { @for model in &*known.models { option value=(model) {} } } }
                div { label for="key" { (texts.key) }
                    select #key name="key" {
                        option value="" { (texts.any) }
                        @for key in &known.keys { option value=(key.id) selected[wanted.typed("key") == key.id.to_string()] { (made_visible(&key.label)) } }
                    } }
                div { label for="session" { (texts.session) } input #session type="text" name="session" value=(wanted.typed("session")) autocomplete="off"; }
                div { label for="error" { (texts.error_text) } input #error type="text" name="error" value=(wanted.typed("error")) autocomplete="off"; }
                div { label for="from" { (texts.from) " (UTC)" } input #from type="date" name="from" value=(wanted.first_day()); }
                div { label for="until" { (texts.until) " (UTC)" } input #until type="date" name="until" value=(wanted.last_day()); }
                p.actions { button type="submit" { (texts.show) } a.button.plain href="/logs" { (texts.clear) } }
            }
        }
    }
}

fn listed(signed: &Signed, wanted: &Wanted, rows: &[LogRow], known: &Known) -> Markup {
    let texts = signed.visitor.texts();
    let shown = rows.get(..ROWS as usize).unwrap_or(rows);
    let older = rows.get(ROWS as usize).and(shown.last()).map(|last| wanted.query(&[("before", &after(last))]));
    let export = |format: &str| format!("/api/logs/export?{}", wanted.query(&[("format", format)]));
    html! {
        section.panel.logs aria-label=(texts.logs) {
            div.split.tools {
                p {
                    // Only the newest page can grow at its head.
                    @if wanted.before.is_none() {
                        button.plain #tail type="button" hidden aria-pressed="false" data-url=(format!("/api/logs/tail?{}", wanted.query(&[])))
                            data-follow=(texts.follow) data-pause=(texts.pause) { (texts.follow) }
                        span #tail-state .hint role="status" data-open=(texts.following) data-lost=(texts.tail_lost) data-refused=(texts.tail_refused) data-waiting=(texts.tail_waiting) {}
                        span #tail-gap .hint role="status" hidden data-words=(texts.tail_gap) {}
                    } @else { a href=(format!("/logs?{}", wanted.query(&[]))) { (texts.newest) } }
                }
                p { (texts.export) " " a href=(export("csv")) download { "CSV" } " · " a href=(export("jsonl")) download { "JSON Lines" } }
            }
            @if shown.is_empty() {
                div.empty #none {
                    h2 { @if wanted.is_narrowed() { (texts.none_match) } @else { (texts.no_requests) } }
                    p.soft { @if wanted.is_narrowed() { (texts.none_match_words) } @else { (texts.no_requests_words) } }
                }
            }
            div.scroll tabindex="0" role="group" aria-label=(texts.logs) hidden[shown.is_empty()] {
                table.stacks.brief {
                    thead { tr {
                        th scope="col" { (texts.time) } th scope="col" { (texts.status) } th scope="col" { (texts.stage) }
                        th scope="col" { (texts.model) } th scope="col" { (texts.key) } th.number scope="col" { (texts.tokens) }
                        th.number scope="col" { (texts.cost) } th.number scope="col" { (texts.duration) }
                    } }
                    tbody #rows { @for row in shown { (line(signed, row, known)) } }
                }
            }
            template #row { (blank(texts)) }
            @if let Some(older) = older {
                p.actions { a.button.plain href=(format!("/logs?{older}")) rel="next" { (texts.older) } }
            }
        }
        p.hint { (fill(texts.rows_shown, &[("n", &shown.len().to_string())])) }
    }
}

fn line(signed: &Signed, row: &LogRow, known: &Known) -> Markup {
    let (texts, language) = (signed.visitor.texts(), signed.visitor.language);
    let label = known.keys.iter().find(|key| key.id == row.key.0).map(|key| made_visible(&key.label));
    html! {
        tr {
            td data-name=(texts.time) { a href=(format!("/logs/{}", row.request.0)) { (instant(texts, row.created_at)) } }
            td data-name=(texts.status) { (parts::status(texts, row.status)) " " span.soft { (row.http_status) } }
            td data-name=(texts.stage) { (parts::stage(texts, row.stage)) }
            td.breaks data-name=(texts.model) { @match &row.model { Some(model) => bdi { (model) }, None => span.soft { (texts.unknown) } } }
            td.breaks data-name=(texts.key) { @match label { Some(label) => bdi { (label) }, None => span.soft { (texts.key_gone) } } }
            td.number data-name=(texts.tokens) { (parts::maybe(texts, language, row.total_tokens, count)) @if row.estimated { " ≈" } }
            td.number data-name=(texts.cost) { (money(language, row.cost)) }
            td.number data-name=(texts.duration) { (duration(language, row.latency_ms)) }
        }
    }
}

/// A row that the script fills with a request that has just ended, by the names of the control API's fields.
fn blank(texts: &Texts) -> Markup {
    html! {
        tr.fresh {
            td data-name=(texts.time) { a data-link="/logs/" { time data-field="created_at" {} } }
            td data-name=(texts.status) { span.status data-field="status"
                data-success=(texts.status_success) data-error=(texts.status_error)
                data-rate_limited=(texts.status_rate_limited) data-cancelled=(texts.status_cancelled) {}
                " " span.soft data-field="http_status" {} }
            td data-name=(texts.stage) { span.stage data-field="stage" {} }
            td.breaks data-name=(texts.model) { bdi data-field="model" {} }
            td.breaks data-name=(texts.key) { bdi data-field="key_id" data-unknown=(texts.key_gone) {} }
            td.number data-name=(texts.tokens) { span data-field="total_tokens" {} }
            td.number data-name=(texts.cost) { span data-field="cost_usd" {} }
            td.number data-name=(texts.duration) { span data-field="latency_ms" {} }
        }
    }
}
