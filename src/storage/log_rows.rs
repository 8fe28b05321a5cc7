//! How rows of the log, and sums over them, are read back: under one name in every database, each with its own way to read
//! a column.

use crate::ledger::{DayUsage, LogRow, Pace, Share, Status};
use crate::units::{Day, KeyId, NanoUsd, RequestId, Stage, StageSource, Timestamp};

/// A row of an answer. An error where the database does not hold what we write there.
pub(super) trait Columns {
    type Error;

    fn text(&self, name: &str) -> Result<Option<String>, Self::Error>;
    /// Of 64 bits.
    fn number(&self, name: &str) -> Result<Option<i64>, Self::Error>;
    fn flag(&self, name: &str) -> Result<bool, Self::Error>;
    fn id(&self, name: &str) -> Result<uuid::Uuid, Self::Error>;
    fn time(&self, name: &str) -> Result<Timestamp, Self::Error>;
    fn day(&self, name: &str) -> Result<Day, Self::Error>;
    fn unreadable(text: String, what: &'static str) -> Self::Error;
}

pub(super) fn day_usage<R: Columns>(row: &R) -> Result<DayUsage, R::Error> {
    Ok(DayUsage {
        day: row.day("day")?,
        requests: count(row, "requests")?,
        rows: count(row, "rows")?,
        answered: count(row, "answered")?,
        failed: count(row, "failed")?,
        input_tokens: count(row, "input_tokens")?,
        output_tokens: count(row, "output_tokens")?,
        cost: cost(row)?,
    })
}

pub(super) fn share<R: Columns>(row: &R) -> Result<Share, R::Error> {
    Ok(Share {
        stage: stage(row)?,
        model: model(row)?,
        requests: count(row, "requests")?,
        answered: count(row, "answered")?,
        input_tokens: count(row, "input_tokens")?,
        output_tokens: count(row, "output_tokens")?,
        cost: cost(row)?,
    })
}

pub(super) fn log_row<R: Columns>(row: &R) -> Result<LogRow, R::Error> {
    let status = row.text("status")?.unwrap_or_default();
    Ok(LogRow {
        request: RequestId(row.id("request_id")?),
        created_at: row.time("created_at")?,
        key: KeyId(row.id("api_key_id")?),
        session_id: row.text("session_id")?,
        stage: stage(row)?,
        source: row.text("stage_source")?.as_deref().and_then(StageSource::parse),
        model: model(row)?,
        stream: row.flag("stream")?,
        body_bytes: count(row, "body_bytes")?,
        status: Status::parse(&status).ok_or_else(|| R::unreadable(status, "a status"))?,
        http_status: u16::try_from(count(row, "http_status")?).unwrap_or_default(),
        input_tokens: optional(row, "input_tokens")?,
        cached_input_tokens: optional(row, "cached_input_tokens")?,
        cache_write_tokens: optional(row, "cache_write_tokens")?,
        output_tokens: optional(row, "output_tokens")?,
        reasoning_tokens: optional(row, "reasoning_tokens")?,
        total_tokens: optional(row, "total_tokens")?,
        estimated: row.flag("estimated")?,
        cost: cost(row)?,
        latency_ms: count(row, "latency_ms")?,
        first_token_ms: optional(row, "ttft_ms")?,
        attempts: u8::try_from(count(row, "attempts")?).unwrap_or(u8::MAX),
        error: row.text("error_message")?,
    })
}

/// Latency and, of a stream, the time to its first token.
pub(super) fn answer<R: Columns>(row: &R) -> Result<(u64, Option<u64>), R::Error> {
    Ok((count(row, "latency_ms")?, optional(row, "ttft_ms")?))
}

pub(super) fn pace<R: Columns>(row: &R) -> Result<Pace, R::Error> {
    Ok(Pace {
        requests: count(row, "requests")?,
        latency_p50: optional(row, "latency_p50")?,
        latency_p95: optional(row, "latency_p95")?,
        first_token_p50: optional(row, "first_token_p50")?,
        first_token_p95: optional(row, "first_token_p95")?,
    })
}

/// None, too, where a later cfx wrote one that this one does not know.
fn stage<R: Columns>(row: &R) -> Result<Option<Stage>, R::Error> {
    Ok(row.text("stage")?.as_deref().and_then(Stage::parse))
}

fn model<R: Columns>(row: &R) -> Result<Option<String>, R::Error> {
    Ok(row.text("model")?.filter(|model| !model.is_empty()))
}

fn cost<R: Columns>(row: &R) -> Result<NanoUsd, R::Error> {
    Ok(NanoUsd(row.number("cost_nano_usd")?.unwrap_or_default()))
}

/// What is never negative, and never null.
fn count<R: Columns>(row: &R, name: &str) -> Result<u64, R::Error> {
    Ok(optional(row, name)?.unwrap_or_default())
}

fn optional<R: Columns>(row: &R, name: &str) -> Result<Option<u64>, R::Error> {
    Ok(row.number(name)?.map(i64::unsigned_abs))
}
