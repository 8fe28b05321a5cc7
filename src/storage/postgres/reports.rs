//! [`Reports`] over the database: the same questions for the edge, which may see every user, and for the dashboard, which
//! row-level security lets see one.
//!
//! On the edge they have connections of their own: however much there is to look through, neither a key's look-up nor a
//! lease waits for it.

use async_trait::async_trait;
use tokio_postgres::types::Type;

use super::Postgres;

use super::pool::{Statement, Value, value};
use super::questions::Questions;
use super::rows::{column, to_system};
use crate::ledger::{Cursor, DayUsage, Filter, LogRow, Overview, ReportStore, Reports, Share, Status};
use crate::storage::log_rows::{day_usage, log_row, pace, share};
use crate::storage::reach;
use crate::units::{Day, RequestId, Stage, StoreError, Timestamp, UserId};

/// The most rows that are read at once.
const PAGE: u32 = 1_000;

pub(super) const DAYS: Statement = Statement {
    sql: "select (day - date '1970-01-01')::bigint as day, greatest(request_count, reached_upstream) as requests,
                 greatest(rows, answered) as rows, answered, failed, input_tokens, output_tokens, cost_nano_usd
            from public.usage_counters
           where user_id = $1 and day >= date '1970-01-01' + $2 and day <= date '1970-01-01' + $3
             and (request_count > 0 or rows > 0 or answered > 0)
           order by usage_counters.day",
    types: &[Type::UUID, Type::INT4, Type::INT4],
};
pub(super) const SPLIT: Statement = Statement {
    sql: "select stage, model, sum(requests)::bigint as requests, sum(answered)::bigint as answered,
                 sum(input_tokens)::bigint as input_tokens, sum(output_tokens)::bigint as output_tokens,
                 sum(cost_nano_usd)::bigint as cost_nano_usd
            from cfx.usage_splits
           where user_id = $1 and day >= date '1970-01-01' + $2 and day <= date '1970-01-01' + $3
           group by stage, model
           order by 7 desc, 3 desc, stage, model",
    types: &[Type::UUID, Type::INT4, Type::INT4],
};

macro_rules! columns {
    () => {
        "log.request_id, log.created_at, log.api_key_id, log.session_id, log.stage, log.stage_source, log.model, log.stream,
         log.body_bytes, log.status, log.http_status::bigint, log.input_tokens, log.cached_input_tokens, log.cache_write_tokens,
         log.output_tokens, log.reasoning_tokens, log.total_tokens, log.estimated, log.cost_nano_usd, log.latency_ms,
         log.ttft_ms, log.attempts::bigint, log.error_message"
    };
}
/// What is not asked for is null, and gone once the server plans for the values. The bound on the time alone lets it leave
/// out months, and begin in the tree where the last page ended.
macro_rules! in_time {
    () => {
        "log.user_id = $1 and log.created_at >= $2 and log.created_at < $3
         and ($4 is null or (log.created_at <= $4 and (log.created_at, log.request_id) < ($4, $5)))"
    };
}
macro_rules! of_kind {
    () => {
        "($6 is null or log.stage = $6) and ($7 is null or log.model = $7) and ($8 is null or log.status = $8)"
    };
}
macro_rules! by_whom {
    () => {
        "($9 is null or log.api_key_id = $9) and ($10 is null or log.session_id = $10)"
    };
}
/// Whole rows of those that a page was found to be of.
macro_rules! rows_of {
    ($page:expr) => {
        concat!(
            "select ",
            columns!(),
            " from (",
            $page,
            ") as page
               join public.request_logs as log
                 on log.request_id = page.request_id and log.created_at = page.created_at and log.user_id = $1
              order by log.created_at desc, log.request_id desc"
        )
    };
}
const FILTER: &[Type] = &[
    Type::UUID,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::UUID,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::UUID,
    Type::TEXT,
    Type::INT8,
    Type::TEXT,
];

pub(super) const ROWS: Statement = Statement {
    sql: concat!(
        "select ",
        columns!(),
        " from public.request_logs as log where ",
        in_time!(),
        " and ",
        of_kind!(),
        " and ",
        by_whom!(),
        " and $12 is null
          order by log.created_at desc, log.request_id desc limit $11"
    ),
    types: FILTER,
};
/// By stage, model or status. Somebody may have a million rows, and of what is asked none, or a few a month: so each company
/// of the three that they can come in, by what the days were spent on, is asked for its newest rows, which lie together in the
/// tree. These companies are few: a stage has its models, a status is one of four.
pub(super) const ROWS_BY_KIND: Statement = Statement {
    sql: rows_of!(concat!(
        "select newest.request_id, newest.created_at
           from (select distinct split.stage, split.model from cfx.usage_splits as split
                  where split.user_id = $1
                    and split.day >= ($2 at time zone 'UTC')::date and split.day <= ($3 at time zone 'UTC')::date
                    and ($6 is null or split.stage = $6) and ($7 is null or split.model = $7)) as kind
          cross join unnest(array['success', 'error', 'rate_limited', 'cancelled']) as status (name)
          cross join lateral (
                select log.request_id, log.created_at from public.request_logs as log
                 where ",
        in_time!(),
        " and log.status = status.name
                   and case when log.stage is null then '' else log.stage end = kind.stage
                   and case when log.model is null then '' else log.model end = kind.model
                   and ",
        by_whom!(),
        " and $12 is null
                 order by log.created_at desc, log.request_id desc limit $11) as newest
          where $8 is null or status.name = $8
          order by newest.created_at desc, newest.request_id desc limit $11"
    )),
    types: FILTER,
};
/// The page is found in the tree of rows with an error before any whole row is read. Lower case by the rules of C: letters
/// of ASCII alone, as in the embedded store.
pub(super) const ROWS_BY_ERROR: Statement = Statement {
    sql: rows_of!(concat!(
        "select log.request_id, log.created_at from public.request_logs as log where ",
        in_time!(),
        " and ",
        of_kind!(),
        " and ",
        by_whom!(),
        " and log.error_message is not null
            and position(lower($12 collate \"C\") in lower(log.error_message collate \"C\")) > 0
          order by log.created_at desc, log.request_id desc limit $11"
    )),
    types: FILTER,
};
const ROW: Statement = Statement {
    sql: concat!(
        "select ",
        columns!(),
        " from public.request_logs as log where log.user_id = $1 and log.request_id = $2"
    ),
    types: &[Type::UUID, Type::UUID],
};
const OVERVIEW: Statement = Statement {
    sql: "select * from cfx.overview($1, date '1970-01-01' + $2, date '1970-01-01' + $3, $4, $5)",
    types: &[Type::UUID, Type::INT4, Type::INT4, Type::TIMESTAMPTZ, Type::TIMESTAMPTZ],
};

/// What one user's questions are asked of.
pub(super) struct Reading {
    pub(super) questions: Questions,
    pub(super) user: UserId,
}

impl ReportStore for Postgres {
    fn of(&self, user: UserId) -> Box<dyn Reports> {
        Box::new(Reading { questions: Questions::of_any(self.log.clone()).for_user(&self.askers, user), user })
    }
}

#[async_trait]
impl Reports for Reading {
    async fn days(&self, first: Day, last: Day) -> Result<Vec<DayUsage>, StoreError> {
        self.questions.ask(&DAYS, self.between(first, last)).await?.iter().map(day_usage).collect()
    }

    async fn split(&self, first: Day, last: Day) -> Result<Vec<Share>, StoreError> {
        self.questions.ask(&SPLIT, self.between(first, last)).await?.iter().map(share).collect()
    }

    async fn rows(&self, filter: &Filter, before: Option<Cursor>, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        let texts = [&filter.model, &filter.session_id, &filter.error];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) || filter.model.as_deref() == Some("") {
            // No column can hold it, and to be asked for it is an error to the server; or it stands for none.
            return Ok(Vec::new());
        }
        let values = filter_values(self.user, filter, before, limit);
        let rows = self.questions.ask(statement_for(filter), values).await?;
        rows.iter().map(log_row).collect()
    }

    async fn row(&self, request: RequestId) -> Result<Option<LogRow>, StoreError> {
        let rows = self.questions.ask(&ROW, vec![value(self.user.0), value(request.0)]).await?;
        rows.first().map(log_row).transpose()
    }

    async fn overview(
        &self,
        first: Day,
        today: Day,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Overview, StoreError> {
        let mut values = self.between(first, today);
        values.extend([since, until].map(|time| value(to_system(reach::time(time)))));
        let mut overview = Overview::default();
        for row in &self.questions.ask(&OVERVIEW, values).await? {
            match column(row, "part")? {
                "day" => overview.days.push(day_usage(row)?),
                "share" => overview.split.push(share(row)?),
                _ => overview.pace = pace(row)?,
            }
        }
        Ok(overview)
    }
}

impl Reading {
    fn between(&self, first: Day, last: Day) -> Vec<Value> {
        vec![value(self.user.0), value(reach::day(first).0), value(reach::day(last).0)]
    }
}

/// The one that finds the page without looking through whatever else the user has. A session is short whatever is asked of
/// it, and rows with an error are few.
pub(super) fn statement_for(filter: &Filter) -> &'static Statement {
    let by_kind = filter.stage.is_some() || filter.model.is_some() || filter.status.is_some();
    match filter {
        Filter { error: Some(_), .. } => &ROWS_BY_ERROR,
        Filter { session_id: None, .. } if by_kind => &ROWS_BY_KIND,
        _ => &ROWS,
    }
}

/// The parameters that [`FILTER`] lists.
pub(super) fn filter_values(user: UserId, filter: &Filter, before: Option<Cursor>, limit: u32) -> Vec<Value> {
    let (since, until) = reach::span(filter.since, filter.until);
    vec![
        value(user.0),
        value(to_system(since)),
        value(to_system(until)),
        value(before.map(|cursor| to_system(reach::time(cursor.created_at)))),
        value(before.map(|cursor| cursor.request.0)),
        value(filter.stage.map(Stage::as_str)),
        value(filter.model.clone()),
        value(filter.status.map(Status::as_str)),
        value(filter.key.map(|key| key.0)),
        value(filter.session_id.clone()),
        value(i64::from(limit.min(PAGE))),
        value(filter.error.clone()),
    ]
}
