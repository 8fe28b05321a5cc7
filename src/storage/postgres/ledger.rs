//! [`LedgerStore`] over the table `request_logs`: a batch is one statement, which also adds the rows that were new to
//! the day's sums in `usage_counters` and `usage_splits`, so that a batch sent again counts nothing twice.
//!
//! Two refusals are put right here. A row whose month has no partition yet has the month made, and the batch is sent again. A
//! batch with a row that is there already goes once more, by a statement that passes over such rows: to look for each row
//! before it is written took Postgres a fifth of what a row cost, and only what a lost answer or a restart sends again has any.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::Postgres;
use super::pool::{Fault, Statement, Value, value};
use super::rows::to_system;
use crate::ledger::{AppendError, LedgerStore, Row};
use crate::units::StoreError;

/// A batch, and what is to become of a row that is there already.
///
/// Counters are locked by user and day, as by everything else that touches more than one of them. The splits of a day are
/// written under the lock of its counter: all counters are through, because they are counted, before the first split is.
///
/// Arrays come apart in the list of what is selected: each in `from` would have its rows stored and read back.
macro_rules! append {
    ($when_there:literal) => {
        concat!(
            "with fresh as (
              insert into public.request_logs (
                  user_id, api_key_id, request_id, session_id, stage, stage_source, model, stream, body_bytes,
                  input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, total_tokens,
                  estimated, cost_nano_usd, latency_ms, ttft_ms, attempts, status, http_status, error_message,
                  created_at)
              select unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::uuid[]), unnest($4::text[]),
                     unnest($5::text[]), unnest($6::text[]), unnest($7::text[]), unnest($8::bool[]),
                     unnest($9::bigint[]), unnest($10::bigint[]), unnest($11::bigint[]), unnest($12::bigint[]),
                     unnest($13::bigint[]), unnest($14::bigint[]), unnest($15::bigint[]), unnest($16::bool[]),
                     unnest($17::bigint[]), unnest($18::bigint[]), unnest($19::bigint[]), unnest($20::integer[]),
                     unnest($21::text[]), unnest($22::integer[]), unnest($23::text[]), unnest($24::timestamptz[]) ",
            $when_there,
            " returning user_id, (created_at at time zone 'UTC')::date as day, coalesce(stage, '') as stage,
                        coalesce(model, '') as model, status, attempts, input_tokens, output_tokens, cost_nano_usd
          ), sums as materialized (
              select user_id, day, stage, model, count(*) as rows, count(*) filter (where status = 'success') as answered,
                     count(*) filter (where status = 'error') as failed,
                     count(*) filter (where attempts > 0) as reached_upstream,
                     coalesce(sum(input_tokens), 0) as input_tokens, coalesce(sum(output_tokens), 0) as output_tokens,
                     coalesce(sum(cost_nano_usd), 0) as cost_nano_usd
                from fresh group by user_id, day, stage, model
          ), counted as (
              insert into public.usage_counters as counter (
                  user_id, day, rows, answered, failed, reached_upstream, input_tokens, output_tokens, cost_nano_usd)
              select user_id, day, sum(rows), sum(answered), sum(failed), sum(reached_upstream), sum(input_tokens),
                     sum(output_tokens), sum(cost_nano_usd)
                from sums group by user_id, day order by user_id, day
              on conflict (user_id, day) do update
                 set rows = counter.rows + excluded.rows,
                     answered = counter.answered + excluded.answered,
                     failed = counter.failed + excluded.failed,
                     reached_upstream = counter.reached_upstream + excluded.reached_upstream,
                     input_tokens = counter.input_tokens + excluded.input_tokens,
                     output_tokens = counter.output_tokens + excluded.output_tokens,
                     cost_nano_usd = counter.cost_nano_usd + excluded.cost_nano_usd,
                     updated_at = now()
              returning 1
          )
          insert into cfx.usage_splits as split (
              user_id, day, stage, model, requests, answered, input_tokens, output_tokens, cost_nano_usd)
          select user_id, day, stage, model, rows, answered, input_tokens, output_tokens, cost_nano_usd
            from sums where (select count(*) from counted) > 0
          on conflict (user_id, day, stage, model) do update
             set requests = split.requests + excluded.requests,
                 answered = split.answered + excluded.answered,
                 input_tokens = split.input_tokens + excluded.input_tokens,
                 output_tokens = split.output_tokens + excluded.output_tokens,
                 cost_nano_usd = split.cost_nano_usd + excluded.cost_nano_usd"
        )
    };
}
/// Refuses the batch where a row is there.
const APPEND: Statement = Statement { sql: append!(""), types: BATCH };
const APPEND_NEW: Statement =
    Statement { sql: append!("on conflict (request_id, created_at) do nothing"), types: BATCH };
const BATCH: &[Type] = &[
    Type::UUID_ARRAY,
    Type::UUID_ARRAY,
    Type::UUID_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::BOOL_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::BOOL_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::INT4_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT4_ARRAY,
    Type::TEXT_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
];
const MAKE_MONTHS: Statement = Statement {
    sql: "select cfx.ensure_partitions(date '1970-01-01' + first.day, 1) from unnest($1::integer[]) as first (day)",
    types: &[Type::INT4_ARRAY],
};

#[async_trait]
impl LedgerStore for Postgres {
    async fn append(&self, rows: Arc<[Row]>) -> Result<(), AppendError> {
        let refusal = match self.write(&rows).await {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        };
        // What Postgres says of a row that fits no partition.
        if !refusal.is(&SqlState::CHECK_VIOLATION) {
            return Err(told(refusal));
        }
        let days: BTreeSet<i32> = rows.iter().map(|row| row.created_at.day().0).collect();
        self.pool.query(&MAKE_MONTHS, vec![value(days.into_iter().collect::<Vec<_>>())]).await.map_err(told)?;
        self.write(&rows).await.map_err(told)
    }
}

impl Postgres {
    async fn write(&self, rows: &[Row]) -> Result<(), Fault> {
        match self.pool.query(&APPEND, columns(rows)).await {
            Err(fault) if fault.is(&SqlState::UNIQUE_VIOLATION) => {
                self.pool.query(&APPEND_NEW, columns(rows)).await.map(drop)
            }
            answer => answer.map(drop),
        }
    }
}

fn told(fault: Fault) -> AppendError {
    if fault.is_final() {
        AppendError::Refused(StoreError::from(fault))
    } else {
        AppendError::Unavailable(StoreError::from(fault))
    }
}

/// The batch by column, in the order of [`BATCH`].
fn columns(rows: &[Row]) -> Vec<Value> {
    vec![
        column(rows, |row| row.user.0),
        column(rows, |row| row.key.0),
        column(rows, |row| row.request.0),
        column(rows, |row| row.session_id.clone()),
        column(rows, |row| row.stage.map(|stage| stage.as_str())),
        column(rows, |row| row.source.map(|source| source.as_str())),
        column(rows, |row| row.model.as_deref().map(str::to_owned)),
        column(rows, |row| row.stream),
        column(rows, |row| integer(row.body_bytes)),
        column(rows, |row| row.usage.map(|usage| integer(usage.input))),
        column(rows, |row| row.usage.map(|usage| integer(usage.cached_input))),
        column(rows, |row| row.usage.map(|usage| integer(usage.cache_write))),
        column(rows, |row| row.usage.map(|usage| integer(usage.output))),
        column(rows, |row| row.usage.map(|usage| integer(usage.reasoning))),
        column(rows, |row| row.usage.map(|usage| integer(usage.input.saturating_add(usage.output)))),
        column(rows, |row| row.estimated),
        column(rows, |row| row.cost.0),
        column(rows, |row| milliseconds(row.latency)),
        column(rows, |row| row.first_token.map(milliseconds)),
        column(rows, |row| i32::from(row.attempts)),
        column(rows, |row| row.status.as_str()),
        column(rows, |row| i32::from(row.http_status)),
        column(rows, |row| row.error.clone()),
        column(rows, |row| to_system(row.created_at)),
    ]
}

fn column<T: ToSql + Sync + Send + 'static>(rows: &[Row], of: impl Fn(&Row) -> T) -> Value
where
    Vec<T>: ToSql,
{
    value(rows.iter().map(of).collect::<Vec<T>>())
}

/// Postgres' integers are signed; no true figure reaches their end.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
