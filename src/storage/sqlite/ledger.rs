//! [`LedgerStore`] over the table `request_logs`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Statement, named_params};

use crate::ledger::{LedgerStore, Row};
use crate::storage::sqlite::Sqlite;
use crate::units::StoreError;

const INSERT: &str = "insert into request_logs (
        user_id, api_key_id, request_id, session_id, stage, stage_source, model, stream, body_bytes, input_tokens,
        cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, total_tokens, estimated,
        cost_nano_usd, latency_ms, ttft_ms, attempts, status, http_status, error_message, created_at)
    values (
        :user_id, :api_key_id, :request_id, :session_id, :stage, :stage_source, :model, :stream, :body_bytes,
        :input_tokens, :cached_input_tokens, :cache_write_tokens, :output_tokens, :reasoning_tokens, :total_tokens,
        :estimated, :cost_nano_usd, :latency_ms, :ttft_ms, :attempts, :status, :http_status, :error_message,
        :created_at)
    on conflict (request_id) do nothing";

#[async_trait]
impl LedgerStore for Sqlite {
    async fn append(&self, rows: Arc<[Row]>) -> Result<(), StoreError> {
        let insert_all = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(INSERT)?;
            rows.iter().try_for_each(|row| insert(&mut statement, row))
        };
        self.in_transaction(insert_all).await
    }
}

fn insert(statement: &mut Statement<'_>, row: &Row) -> rusqlite::Result<()> {
    let usage = row.usage;
    statement
        .execute(named_params! {
            ":user_id": row.user.0.to_string(),
            ":api_key_id": row.key.0.to_string(),
            ":request_id": row.request.0.to_string(),
            ":session_id": row.session_id,
            ":stage": row.stage.map(|stage| stage.as_str()),
            ":stage_source": row.source.map(|source| source.as_str()),
            ":model": row.model.as_deref(),
            ":stream": row.stream,
            ":body_bytes": integer(row.body_bytes),
            ":input_tokens": usage.map(|usage| integer(usage.input)),
            ":cached_input_tokens": usage.map(|usage| integer(usage.cached_input)),
            ":cache_write_tokens": usage.map(|usage| integer(usage.cache_write)),
            ":output_tokens": usage.map(|usage| integer(usage.output)),
            ":reasoning_tokens": usage.map(|usage| integer(usage.reasoning)),
            ":total_tokens": usage.map(|usage| integer(usage.input.saturating_add(usage.output))),
            ":estimated": row.estimated,
            ":cost_nano_usd": row.cost.0,
            ":latency_ms": milliseconds(row.latency),
            ":ttft_ms": row.first_token.map(milliseconds),
            ":attempts": row.attempts,
            ":status": row.status.as_str(),
            ":http_status": row.http_status,
            ":error_message": row.error,
            ":created_at": row.created_at.rfc3339_micros(),
        })
        .map(drop)
}

/// SQLite's integers are signed; no true figure reaches their end.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
