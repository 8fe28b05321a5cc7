//! [`LedgerStore`] over the table `request_logs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Statement, params};

use crate::ledger::{AppendError, LedgerStore, Row};
use crate::storage::sqlite::Sqlite;

const INSERT: &str = "insert into request_logs (
        user_id, api_key_id, request_id, session_id, stage, stage_source, model, stream, body_bytes, input_tokens,
        cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, total_tokens, estimated,
        cost_nano_usd, latency_ms, ttft_ms, attempts, status, http_status, error_message, created_at)
    values (
        ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
        ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)
    on conflict (request_id) do nothing";

#[async_trait]
impl LedgerStore for Sqlite {
    async fn append(&self, rows: Arc<[Row]>) -> Result<(), AppendError> {
        let refused = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&refused);
        let insert_all = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(INSERT)?;
            let inserted = rows.iter().try_for_each(|row| insert(&mut statement, row));
            inserted.inspect_err(|error| told.store(is_of_a_row(error), Ordering::Relaxed))
        };
        let appended = self.in_transaction(insert_all).await;
        appended.map_err(|error| match refused.load(Ordering::Relaxed) {
            true => AppendError::Refused(error),
            false => AppendError::Unavailable(error),
        })
    }
}

/// Whether a statement failed by what a row says: it would fail again. All else is the file's or the disk's.
fn is_of_a_row(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    matches!(error.sqlite_error_code(), Some(ConstraintViolation | TooBig | TypeMismatch))
}

/// Values by position, in the order of the columns above: by name each of them costs a search per row.
fn insert(statement: &mut Statement<'_>, row: &Row) -> rusqlite::Result<()> {
    let usage = row.usage;
    statement
        .execute(params![
            row.user.0.as_hyphenated().encode_lower(&mut [0; 36]) as &str,
            row.key.0.as_hyphenated().encode_lower(&mut [0; 36]) as &str,
            row.request.0.as_hyphenated().encode_lower(&mut [0; 36]) as &str,
            row.session_id,
            row.stage.map(|stage| stage.as_str()),
            row.source.map(|source| source.as_str()),
            row.model.as_deref(),
            row.stream,
            integer(row.body_bytes),
            usage.map(|usage| integer(usage.input)),
            usage.map(|usage| integer(usage.cached_input)),
            usage.map(|usage| integer(usage.cache_write)),
            usage.map(|usage| integer(usage.output)),
            usage.map(|usage| integer(usage.reasoning)),
            usage.map(|usage| integer(usage.input.saturating_add(usage.output))),
            row.estimated,
            row.cost.0,
            milliseconds(row.latency),
            row.first_token.map(milliseconds),
            row.attempts,
            row.status.as_str(),
            row.http_status,
            row.error,
            row.created_at.rfc3339_micros(),
        ])
        .map(drop)
}

/// SQLite's integers are signed; no true figure reaches their end.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
