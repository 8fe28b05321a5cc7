//! [`ReportStore`] over the embedded tables.
//!
//! Questions have a connection and a thread of their own, which can only read: however much there is to look through, a
//! key's look-up does not stand behind it. How a page of the log is found is told in [`pages`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OptionalExtension};

use super::pages::{self, first_id};
use super::worker::Worker;
use crate::ledger::{
    Cursor, DayUsage, Filter, LogRow, Overview, Pace, QUESTION_LIMIT, ReportStore, Reports, Share, TOO_LONG,
};
use crate::storage::log_rows::{answer, day_usage, log_row, share};
use crate::storage::reach;
use crate::storage::sqlite::Sqlite;
use crate::units::{Day, RequestId, StoreError, Timestamp, UserId};

/// How long a question stands in the queue.
const WAIT: Duration = Duration::from_secs(5);
/// Steps of SQLite's machine between two looks at the clock: some tens of microseconds.
const STEPS: i32 = 1_000;

/// The plus keeps it out of the trees by status: they have no order of time over stages and models.
pub(super) const PACE: &str = "select latency_ms, iif(stream, ttft_ms, null) as ttft_ms from request_logs
    where user_id = ?1 and request_id >= ?2 and created_at >= ?3 and created_at < ?4 and +status = 'success'
    order by request_id desc limit 1000";

/// What one user's questions are asked of.
pub(super) struct Reading {
    pub(super) questions: Arc<Worker>,
    pub(super) user: UserId,
}

impl ReportStore for Sqlite {
    fn of(&self, user: UserId) -> Box<dyn Reports> {
        Box::new(Reading { questions: Arc::clone(&self.questions), user })
    }
}

impl Reading {
    /// Asks within the limits of time.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection, String) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let user = self.user.0.to_string();
        let bounded = move |connection: &mut Connection| {
            let end = Instant::now() + QUESTION_LIMIT;
            connection.progress_handler(STEPS, Some(move || Instant::now() > end))?;
            match question(connection, user) {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(None),
                answer => answer.map(Some),
            }
        };
        let answer = tokio::time::timeout(WAIT, self.questions.ask(bounded)).await;
        let busy = |_| StoreError(format!("the database had other questions to answer for {WAIT:?}"));
        answer.map_err(busy)??.ok_or_else(|| StoreError(TOO_LONG.to_owned()))
    }
}

#[async_trait]
impl Reports for Reading {
    async fn days(&self, first: Day, last: Day) -> Result<Vec<DayUsage>, StoreError> {
        let (first, last) = (reach::day(first).iso(), reach::day(last).iso());
        let select = move |connection: &Connection, user: String| {
            connection
                .prepare_cached(
                    "select day, max(request_count, reached_upstream) as requests, max(rows, answered) as rows, answered,
                            failed, input_tokens, output_tokens, cost_nano_usd
                       from usage_counters
                      where user_id = ?1 and day >= ?2 and day <= ?3
                        and (request_count > 0 or rows > 0 or answered > 0)
                      order by day",
                )?
                .query_map((user, first, last), |row| day_usage(row))?
                .collect()
        };
        self.ask(select).await
    }

    async fn split(&self, first: Day, last: Day) -> Result<Vec<Share>, StoreError> {
        let (first, last) = (reach::day(first).iso(), reach::day(last).iso());
        let select = move |connection: &Connection, user: String| {
            connection
                .prepare_cached(
                    "select stage, model, sum(requests) as requests, sum(answered) as answered,
                            sum(input_tokens) as input_tokens, sum(output_tokens) as output_tokens,
                            sum(cost_nano_usd) as cost_nano_usd
                       from usage_splits
                      where user_id = ?1 and day >= ?2 and day <= ?3
                      group by stage, model
                      order by 7 desc, 3 desc, stage, model",
                )?
                .query_map((user, first, last), |row| share(row))?
                .collect()
        };
        self.ask(select).await
    }

    async fn rows(&self, filter: &Filter, before: Option<Cursor>, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        if filter.model.as_deref() == Some("") {
            return Ok(Vec::new()); // it stands for none
        }
        let filter = filter.clone();
        let select = move |connection: &Connection, user: String| {
            let mut statement = connection.prepare_cached(pages::statement_for(&filter))?;
            pages::bind(&mut statement, &user, &filter, before, limit)?;
            statement.raw_query().mapped(|row| log_row(row)).collect()
        };
        self.ask(select).await
    }

    async fn row(&self, request: RequestId) -> Result<Option<LogRow>, StoreError> {
        let select = move |connection: &Connection, user: String| {
            connection
                .prepare_cached("select * from request_logs where user_id = ?1 and request_id = ?2")?
                .query_row((user, request.0.to_string()), |row| log_row(row))
                .optional()
        };
        self.ask(select).await
    }

    async fn overview(
        &self,
        first: Day,
        today: Day,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Overview, StoreError> {
        let days = self.days(first, today).await?;
        let split = self.split(today, today).await?;
        Ok(Overview { days, split, pace: self.pace(since, until).await? })
    }
}

impl Reading {
    async fn pace(&self, since: Timestamp, until: Timestamp) -> Result<Pace, StoreError> {
        let (since, until) = reach::span(Some(since), Some(until));
        let select = move |connection: &Connection, user: String| {
            let answers: Vec<(u64, Option<u64>)> = connection
                .prepare_cached(PACE)?
                .query_map((user, first_id(since), since.rfc3339_micros(), until.rfc3339_micros()), |row| answer(row))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Pace::of(&answers))
        };
        self.ask(select).await
    }
}
