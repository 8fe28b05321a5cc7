//! What is read back of the ledger: a user's days, what they were spent on, and the rows themselves.
//!
//! Every answer is about one user, who is settled before anything can be asked: [`Reports`] is given out for a user by who
//! may see all of them, and for a session's token by who may see that session's user alone.
//!
//! Failure stance: a question that the store does not answer in time fails, and nothing else hangs on it. Whoever asked
//! can tell ([`took_too_long`]), because a narrower one may be answered.

use std::time::Duration;

use async_trait::async_trait;

use crate::ledger::Status;
use crate::units::{Day, KeyId, NanoUsd, RequestId, Stage, StageSource, StoreError, Timestamp, UserId};

/// How long a store works on one question.
pub const QUESTION_LIMIT: Duration = Duration::from_secs(2);
/// The whole text of the error of a question that was given up at [`QUESTION_LIMIT`].
pub const TOO_LONG: &str = "the question took longer than two seconds and was given up";

/// The whole text of the error of a question that was asked for a session which is not that user's, or no longer.
pub const SESSION_OVER: &str = "the session is over";

/// Whether a question failed because there was too much to look through: less time, or fewer filters, may help.
pub fn took_too_long(error: &StoreError) -> bool {
    error.0 == TOO_LONG
}

/// Whether a question failed because nobody is signed in by that session any more.
pub fn is_of_nobody(error: &StoreError) -> bool {
    error.0 == SESSION_OVER
}

/// Whose reports are read.
#[async_trait]
pub trait Reports: Send + Sync {
    /// The days between the two, both counted, on which anything was asked, oldest first.
    async fn days(&self, first: Day, last: Day) -> Result<Vec<DayUsage>, StoreError>;

    /// The same days together, by stage and model, the most expensive first, then the most asked.
    async fn split(&self, first: Day, last: Day) -> Result<Vec<Share>, StoreError>;

    /// The newest rows that pass `filter` and are older than `before`, newest first; `limit` at most, which is at most 1,000.
    async fn rows(&self, filter: &Filter, before: Option<Cursor>, limit: u32) -> Result<Vec<LogRow>, StoreError>;

    async fn row(&self, request: RequestId) -> Result<Option<LogRow>, StoreError>;

    /// The days from `first` to `today`, what today was spent on, and how soon the newest 1,000 answered requests were
    /// answered that began at `since` or later and before `until`.
    async fn overview(
        &self,
        first: Day,
        today: Day,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Overview, StoreError>;
}

/// Gives out the reports of any user: the edge's own store.
pub trait ReportStore: Send + Sync {
    fn of(&self, user: UserId) -> Box<dyn Reports>;
}

/// Gives out the reports of a user to whoever shows the token of a session of theirs (`cfx_session_…`), and to nobody else.
#[async_trait]
pub trait SessionReports: Send + Sync {
    /// None where the session is unknown or over, its account disabled, or another's than `user`'s. A store that finds that out
    /// only when it is asked something says so then ([`is_of_nobody`]).
    async fn of(&self, token: &str, user: UserId) -> Result<Option<Box<dyn Reports>>, StoreError>;
}

/// What [`Reports::overview`] answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overview {
    pub days: Vec<DayUsage>,
    pub split: Vec<Share>,
    pub pace: Pace,
}

/// One UTC day of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayUsage {
    pub day: Day,
    /// Admitted, as counted against the quota.
    pub requests: u64,
    /// Rows in the ledger, refused ones among them; the next two are of these.
    pub rows: u64,
    /// Ended in `success`.
    pub answered: u64,
    /// Ended in `error`.
    pub failed: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost: NanoUsd,
}

/// What one stage and model had of some days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// None: refused before it was known; as for the model.
    pub stage: Option<Stage>,
    pub model: Option<String>,
    /// Rows in the ledger.
    pub requests: u64,
    pub answered: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost: NanoUsd,
}

/// Which rows are wanted: all that pass every one that is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    pub stage: Option<Stage>,
    /// The alias, exactly.
    pub model: Option<String>,
    pub status: Option<Status>,
    pub key: Option<KeyId>,
    /// Exactly.
    pub session_id: Option<String>,
    /// Part of `error_message`, whatever the case of ASCII letters.
    pub error: Option<String>,
    /// From then on.
    pub since: Option<Timestamp>,
    /// Before then.
    pub until: Option<Timestamp>,
}

/// Where a page ended: the last row's own time and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub created_at: Timestamp,
    pub request: RequestId,
}

/// A row of `request_logs` as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    pub request: RequestId,
    pub created_at: Timestamp,
    pub key: KeyId,
    pub session_id: Option<String>,
    pub stage: Option<Stage>,
    pub source: Option<StageSource>,
    pub model: Option<String>,
    pub stream: bool,
    pub body_bytes: u64,
    pub status: Status,
    pub http_status: u16,
    pub input_tokens: Option<u64>,
    pub cached_input_tokens: Option<u64>,
    pub cache_write_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub total_tokens: Option<u64>,
    pub estimated: bool,
    pub cost: NanoUsd,
    pub latency_ms: u64,
    pub first_token_ms: Option<u64>,
    pub attempts: u8,
    pub error: Option<String>,
}

/// How soon answers came and were whole. In milliseconds; None where there were none to tell from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// Of how many requests.
    pub requests: u64,
    pub latency_p50: Option<u64>,
    pub latency_p95: Option<u64>,
    /// Streams only.
    pub first_token_p50: Option<u64>,
    pub first_token_p95: Option<u64>,
}

impl Pace {
    /// Of answered requests, each with its latency and, where it was a stream, the time to its first token.
    pub fn of(answers: &[(u64, Option<u64>)]) -> Self {
        let mut latency: Vec<u64> = answers.iter().map(|(latency, _)| *latency).collect();
        let mut first_token: Vec<u64> = answers.iter().filter_map(|(_, first_token)| *first_token).collect();
        latency.sort_unstable();
        first_token.sort_unstable();
        Self {
            requests: u64::try_from(answers.len()).unwrap_or(u64::MAX),
            latency_p50: quantile(&latency, 50),
            latency_p95: quantile(&latency, 95),
            first_token_p50: quantile(&first_token, 50),
            first_token_p95: quantile(&first_token, 95),
        }
    }
}

/// The smallest value that `percent` of all do not pass.
fn quantile(sorted: &[u64], percent: usize) -> Option<u64> {
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_nineteen_in_twenty_are_not_slower_than_the_pace_says() {
        assert_eq!(Pace::of(&[]), Pace::default());
        let one = Pace::of(&[(7, None)]);
        assert_eq!((one.latency_p50, one.latency_p95, one.first_token_p50), (Some(7), Some(7), None));
        let answers: Vec<_> = (1..=100).rev().map(|n| (n, (n <= 20).then_some(n))).collect();
        let pace = Pace::of(&answers);
        assert_eq!((pace.requests, pace.latency_p50, pace.latency_p95), (100, Some(50), Some(95)));
        assert_eq!((pace.first_token_p50, pace.first_token_p95), (Some(10), Some(19)));
    }
}
