//! [`LedgerStore`] over the table `request_logs`, and the day's sums over its rows in `usage_counters` and `usage_splits`.
//!
//! All change in one transaction, and the sums by the rows really inserted, so that a batch sent again counts once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, Statement, TransactionBehavior, params};

use crate::ledger::{AppendError, LedgerStore, Row, Status};
use crate::storage::sqlite::Sqlite;
use crate::units::{Day, StoreError, UserId};

const INSERT: &str = "insert into request_logs (
        user_id, api_key_id, request_id, session_id, stage, stage_source, model, stream, body_bytes, input_tokens,
        cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, total_tokens, estimated,
        cost_nano_usd, latency_ms, ttft_ms, attempts, status, http_status, error_message, created_at)
    values (
        ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
        ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)
    on conflict (user_id, request_id) do nothing";

const SPEND: &str = "insert into usage_counters (
        user_id, day, rows, answered, failed, reached_upstream, input_tokens, output_tokens, cost_nano_usd, updated_at)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    on conflict (user_id, day) do update set
        rows = rows + excluded.rows,
        answered = answered + excluded.answered,
        failed = failed + excluded.failed,
        reached_upstream = reached_upstream + excluded.reached_upstream,
        input_tokens = input_tokens + excluded.input_tokens,
        output_tokens = output_tokens + excluded.output_tokens,
        cost_nano_usd = cost_nano_usd + excluded.cost_nano_usd,
        updated_at = excluded.updated_at";

const SPLIT: &str = "insert into usage_splits (
        user_id, day, stage, model, requests, answered, input_tokens, output_tokens, cost_nano_usd)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    on conflict (user_id, day, stage, model) do update set
        requests = requests + excluded.requests,
        answered = answered + excluded.answered,
        input_tokens = input_tokens + excluded.input_tokens,
        output_tokens = output_tokens + excluded.output_tokens,
        cost_nano_usd = cost_nano_usd + excluded.cost_nano_usd";

/// What one user's rows of one day in a batch add up to, in all or of one stage and model.
#[derive(Debug, Clone, Copy, Default)]
struct Spend {
    rows: i64,
    answered: i64,
    failed: i64,
    reached_upstream: i64,
    input: i64,
    output: i64,
    cost: i64,
}

#[async_trait]
impl LedgerStore for Sqlite {
    async fn append(&self, rows: Arc<[Row]>) -> Result<(), AppendError> {
        let insert_all = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            match write(&transaction, &rows) {
                Ok(()) => transaction.commit().map(|()| None),
                Err(error) if is_final(&error) => Ok(Some(StoreError(error.to_string()))),
                Err(error) => Err(error),
            }
        };
        match self.writer.run(insert_all).await {
            Ok(None) => Ok(()),
            Ok(Some(refusal)) => Err(AppendError::Refused(refusal)),
            Err(error) => Err(AppendError::Unavailable(error)),
        }
    }
}

fn write(connection: &Connection, rows: &[Row]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(INSERT)?;
    let mut spent: HashMap<(UserId, Day), Spend> = HashMap::new();
    let mut split: HashMap<(UserId, Day, &str, &str), Spend> = HashMap::new();
    for row in rows {
        if insert(&mut statement, row)? {
            let (user, day) = (row.user, row.created_at.day());
            let stage = row.stage.map_or("", |stage| stage.as_str());
            spent.entry((user, day)).or_default().add(row);
            split.entry((user, day, stage, row.model.as_deref().unwrap_or_default())).or_default().add(row);
        }
    }
    let mut statement = connection.prepare_cached(SPEND)?;
    spent.iter().try_for_each(|((user, day), spend)| keep(&mut statement, *user, *day, *spend))?;
    let mut statement = connection.prepare_cached(SPLIT)?;
    split.iter().try_for_each(|((user, day, stage, model), spend)| {
        let user = user.0.as_hyphenated().to_string();
        let Spend { rows, answered, input, output, cost, .. } = spend;
        statement.execute((user, day.iso(), stage, model, rows, answered, input, output, cost)).map(drop)
    })
}

/// Whether the file would say no to the same row every time.
fn is_final(error: &rusqlite::Error) -> bool {
    let no = [ErrorCode::ConstraintViolation, ErrorCode::TypeMismatch, ErrorCode::TooBig];
    error.sqlite_error_code().is_some_and(|code| no.contains(&code))
}

impl Spend {
    fn add(&mut self, row: &Row) {
        let usage = row.usage.unwrap_or_default();
        self.rows += 1;
        self.answered += i64::from(row.status == Status::Success);
        self.failed += i64::from(row.status == Status::Error);
        self.reached_upstream += i64::from(row.attempts > 0);
        self.input = self.input.saturating_add(integer(usage.input));
        self.output = self.output.saturating_add(integer(usage.output));
        self.cost = self.cost.saturating_add(row.cost.0);
    }
}

fn keep(statement: &mut Statement<'_>, user: UserId, day: Day, spend: Spend) -> rusqlite::Result<()> {
    let user = user.0.as_hyphenated().to_string();
    let Spend { rows, answered, failed, reached_upstream, input, output, cost } = spend;
    statement.execute((user, day.iso(), rows, answered, failed, reached_upstream, input, output, cost)).map(drop)
}

/// False where the row is there already. Values by position, in the order of the columns above: by name each of them
/// costs a search per row.
fn insert(statement: &mut Statement<'_>, row: &Row) -> rusqlite::Result<bool> {
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
        .map(|inserted| inserted == 1)
}

/// SQLite's integers are signed; no true figure reaches their end.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
