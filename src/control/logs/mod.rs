//! The requests themselves: page by page, live, and as files.

mod csv;
mod export;
mod filter;
mod tail;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::body::Id;
use super::caller::Caller;
use super::params::Params;
use super::refusal::Refusal;
use super::{Shared, api, describe};
use crate::ledger::Cursor;
use crate::units::{RequestId, Timestamp};

pub(super) use export::{EXPORTS, EXPORTS_PER_USER, export};
pub use filter::{LONGEST, NoFilter, Wanted, Wrong};
pub(super) use tail::{TAILS, TAILS_PER_USER, tail};

// The macro that gathers routes looks for these beside the handlers.
#[cfg(test)]
pub(super) use export::{__path_export, FileKind};
#[cfg(test)]
pub(super) use tail::__path_tail;

const USUAL_PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// `next` of the page before this one.
    #[param(max_length = 64)]
    before: Option<String>,
    /// Entries of a page: 50 where it is not given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<String>,
}

/// Your requests, newest first
#[utoipa::path(
    get, path = "/api/logs", tag = "logs", params(Wanted, Page),
    responses((status = 200, description = "One page", body = api::LogPage))
)]
pub(super) async fn list(
    State(control): State<Shared>,
    caller: Caller,
    Params(wanted, page): Params<Wanted, Page>,
) -> Result<Json<api::LogPage>, Refusal> {
    let filter = wanted.filter()?;
    let limit = page.limit()?;
    let before = page.before.as_deref().map(cursor).transpose()?;
    // One more than is shown, which tells whether there is another page.
    let reports = control.ports.reports.of(caller.account.id);
    let mut rows = reports.rows(&filter, before, limit + 1).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_last = rows.len() <= shown;
    rows.truncate(shown);
    let next = rows.last().filter(|_| !is_last).map(|row| cursor_text(row.created_at, row.request));
    Ok(Json(api::LogPage { entries: rows.into_iter().map(describe::log_entry).collect(), next }))
}

/// One request of yours
#[utoipa::path(
    get, path = "/api/logs/{request_id}", tag = "logs",
    params(("request_id" = uuid::Uuid, Path, description = "As the answer's X-CFX-Request-Id had it")),
    responses((status = 200, description = "All that is known of it", body = api::LogEntry))
)]
pub(super) async fn one(
    State(control): State<Shared>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<api::LogEntry>, Refusal> {
    let row = control.ports.reports.of(caller.account.id).row(RequestId(id)).await?;
    row.map(|row| Json(describe::log_entry(row))).ok_or_else(|| Refusal::not_found("request"))
}

impl Page {
    fn limit(&self) -> Result<u32, Refusal> {
        let Some(text) = &self.limit else { return Ok(USUAL_PAGE) };
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let limit = text.parse().ok().filter(|limit| plain && (1..=LARGEST_PAGE).contains(limit));
        limit.ok_or_else(|| {
            Refusal::parameter("limit", format!("`limit` must be a whole number from 1 to {LARGEST_PAGE}"))
        })
    }
}

/// Microseconds and the request's id: a place among rows that stays where it is whatever is written meanwhile.
pub fn cursor_text(created_at: Timestamp, request: RequestId) -> String {
    format!("{}.{}", created_at.0, request.0)
}

fn cursor(text: &str) -> Result<Cursor, Refusal> {
    parse_cursor(text).ok_or_else(|| Refusal::parameter("before", "`before` must be the `next` of a page"))
}

pub fn parse_cursor(text: &str) -> Option<Cursor> {
    let (micros, request) = text.split_once('.')?;
    let is_plain = !micros.is_empty() && micros.len() <= 17 && micros.bytes().all(|byte| byte.is_ascii_digit());
    let created_at = Timestamp(micros.parse().ok().filter(|_| is_plain)?);
    let request = (request.len() == 36).then(|| uuid::Uuid::try_parse(request).ok()).flatten()?;
    Some(Cursor { created_at, request: RequestId(request) })
}
