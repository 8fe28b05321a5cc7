//! All requests that pass a filter, as a file. It is read page by page while it is sent, so that a million rows take no
//! more memory than some hundreds.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::caller::Caller;
use super::super::params::Params;
use super::super::places::Place;
use super::super::refusal::{Code, Refusal};
use super::super::{Shared, describe};
use super::{Wanted, csv};
use crate::ledger::{Cursor, Filter, LogRow, Reports};
use crate::units::StoreError;

pub(in crate::control) const EXPORTS_PER_USER: usize = 1;
pub(in crate::control) const EXPORTS: usize = 8;

const PAGE: u32 = 1_000;
const MOST_ROWS: usize = 1_000_000;

/// Of which form the file is.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::control) struct FileKind {
    /// `csv`, which is what it is where it is not given, or `jsonl`.
    #[param(pattern = "^(csv|jsonl)$")]
    format: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    JsonLines,
}

struct Export {
    reports: Box<dyn Reports>,
    filter: Filter,
    format: Format,
    next: Next,
    /// That were sent.
    rows: usize,
    _place: Place,
}

/// What is sent next.
enum Next {
    /// What was read before the head.
    Page(Vec<LogRow>),
    Behind(Cursor),
    Nothing,
}

/// Your requests as a file, newest first
///
/// At most a million. In CSV, texts that a spreadsheet would take for formulas have an apostrophe before them.
#[utoipa::path(
    get, path = "/api/logs/export", tag = "logs", params(Wanted, FileKind),
    responses(
        (status = 200, description = "The whole file; it is cut where it cannot be read to its end",
         body = String, content_type = "text/csv"),
        (status = 429, description = "An export of yours is under way, or many of others"),
    )
)]
pub(in crate::control) async fn export(
    State(control): State<Shared>,
    caller: Caller,
    Params(wanted, kind): Params<Wanted, FileKind>,
) -> Result<Response, Refusal> {
    let filter = wanted.filter()?;
    let format = kind.format()?;
    let Some(place) = control.exports.take(caller.account.id) else {
        let message = "an export of yours is under way, or as many as may be";
        return Err(Refusal::new(Code::TooManyStreams, message).retry_after(Duration::from_secs(10)));
    };
    let reports = control.ports.reports.of(caller.account.id);
    // Before the head: a store that does not answer is a status yet.
    let first = reports.rows(&filter, None, PAGE).await?;
    let export = Export { reports, filter, format, next: Next::Page(first), rows: 0, _place: place };
    let head = matches!(format, Format::Csv).then(|| Ok(Bytes::from_static(csv::HEAD.as_bytes())));
    let pages = stream::try_unfold(export, Export::next);
    let body = Body::from_stream(futures_util::StreamExt::chain(stream::iter(head), pages));
    let name = format!("attachment; filename=\"cfx-logs-{}.{}\"", caller.now.day().iso(), format.suffix());
    Ok(([(CONTENT_TYPE, format.content_type().to_owned()), (CONTENT_DISPOSITION, name)], body).into_response())
}

impl Export {
    /// The next piece of the file. An error cuts the connection: what is not whole must not look it.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        let mut page = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Page(page) => page,
            Next::Behind(cursor) => self.reports.rows(&self.filter, Some(cursor), PAGE).await?,
            Next::Nothing => return Ok(None),
        };
        let is_full = page.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
        page.truncate(MOST_ROWS - self.rows);
        let Some(last) = page.last() else { return Ok(None) };
        self.rows += page.len();
        if is_full && self.rows < MOST_ROWS {
            self.next = Next::Behind(Cursor { created_at: last.created_at, request: last.request });
        }
        let text: String = page.into_iter().map(|row| self.format.line(row)).collect();
        Ok(Some((text.into(), self)))
    }
}

impl FileKind {
    fn format(&self) -> Result<Format, Refusal> {
        match self.format.as_deref() {
            None | Some("csv") => Ok(Format::Csv),
            Some("jsonl") => Ok(Format::JsonLines),
            Some(_) => Err(Refusal::parameter("format", "`format` must be csv or jsonl")),
        }
    }
}

impl Format {
    fn line(self, row: LogRow) -> String {
        let entry = describe::log_entry(row);
        match self {
            Format::Csv => csv::line(&entry),
            // String keys and finite numbers only: there is nothing that could fail.
            Format::JsonLines => serde_json::to_string(&entry).unwrap_or_default() + "\n",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::JsonLines => "jsonl",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Format::Csv => "text/csv; charset=utf-8",
            Format::JsonLines => "application/jsonl",
        }
    }
}
