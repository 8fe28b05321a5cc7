//! How a page of a user's log is found without looking at the rest of it, whatever it is filtered by.
//!
//! Somebody may have a million rows and of what is asked for none, or a few a month. In each tree of
//! `migrations/sqlite/0006_log_filters.sql` rows lie together that are in the same company: of one status, stage, model
//! and key; in a second tree of one session, too; in a third with the error's text in the key's place. In a company they
//! are in the order of time. Companies are few. The first three parts of theirs are told by `usage_splits`, the last by
//! leaps through the tree from one to the next. Then they are merged: each row that a page shows is one search for the
//! next older one of its company.
//!
//! Judged one by one, in that third tree, is only a key or a session beside an error's text.

use std::sync::LazyLock;

use rusqlite::{Statement, ToSql};

use crate::ledger::{Cursor, Filter, Status};
use crate::storage::reach;
use crate::units::{Stage, Timestamp};

/// The most rows that are read at once.
const PAGE: u32 = 1_000;

/// Rows come in the order of their requests' ids, which begin with the millisecond they were created in: that is the
/// order they lie in.
const NEWEST: &str = "select * from request_logs
    where user_id = :user and request_id >= :first and request_id < :before
      and created_at >= :since and created_at < :until
    order by request_id desc limit :limit";

static BY_KIND: LazyLock<String> = LazyLock::new(|| {
    let tree = Tree { name: "request_logs_kind", within: "", last: "api_key_id" };
    tree.page(":key", "true", "")
});
static BY_SESSION: LazyLock<String> = LazyLock::new(|| {
    let tree = Tree { name: "request_logs_session", within: "and log.session_id = :session", last: "api_key_id" };
    tree.page(":key", "true", "")
});
static BY_ERROR: LazyLock<String> = LazyLock::new(|| {
    let within = "and log.error_message is not null";
    let tree = Tree { name: "request_logs_error", within, last: "error_message" };
    let by_whom = "and (:key is null or log.api_key_id = :key) and (:session is null or log.session_id = :session)";
    tree.page("null", "instr(lower(last), lower(:error)) > 0", by_whom)
});

/// The one whose tree has what is asked for.
pub(super) fn statement_for(filter: &Filter) -> &'static str {
    match filter {
        Filter { error: Some(_), .. } => &BY_ERROR,
        Filter { session_id: Some(_), .. } => &BY_SESSION,
        Filter { stage: None, model: None, status: None, key: None, .. } => NEWEST,
        _ => &BY_KIND,
    }
}

/// Gives a statement of [`statement_for`] what it asks with.
pub(super) fn bind(
    statement: &mut Statement<'_>,
    user: &str,
    filter: &Filter,
    before: Option<Cursor>,
    limit: u32,
) -> rusqlite::Result<()> {
    let (since, until) = reach::span(filter.since, filter.until);
    // A page ends at the row seen last, or where the time asked for does, whichever comes first.
    let end = first_id(Timestamp(until.0 + 1_000));
    let before = before.map_or(end.clone(), |cursor| end.min(cursor.request.0.to_string()));
    let values: [(&str, &dyn ToSql); 12] = [
        (":user", &user),
        (":first", &first_id(since)),
        (":before", &before),
        (":since", &since.rfc3339_micros()),
        (":until", &until.rfc3339_micros()),
        (":stage", &filter.stage.map(Stage::as_str)),
        (":model", &filter.model),
        (":status", &filter.status.map(Status::as_str)),
        (":key", &filter.key.map(|key| key.0.to_string())),
        (":session", &filter.session_id),
        (":error", &filter.error),
        (":limit", &limit.min(PAGE)),
    ];
    for (name, value) in values {
        // What a statement does not name was not asked for.
        if let Some(place) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(place, value)?;
        }
    }
    Ok(())
}

/// What sorts before every id of a request that was created at `time` or, in the same millisecond, before it; and after
/// all earlier ones.
pub(super) fn first_id(time: Timestamp) -> String {
    let millis = u64::try_from(time.0.div_euclid(1_000)).unwrap_or(0);
    format!("{:08x}-{:04x}", millis >> 16, millis & 0xffff)
}

/// A tree of rows by company: user, status, stage, model, the column `last`, request. `within` is what it asks for besides.
struct Tree {
    name: &'static str,
    within: &'static str,
    last: &'static str,
}

impl Tree {
    /// The newest rows of all companies that `passes`. `only` is the one that the last part of them is asked to be, where it
    /// is; by `judged` each row is.
    fn page(&self, only: &str, passes: &str, judged: &str) -> String {
        let last = self.last;
        let first_last = self.search("kind", &format!("min(log.{last})"), "");
        let next_last = self.search("company", &format!("min(log.{last})"), &format!("and log.{last} > company.last"));
        let newest = self.newest("company", ":before", judged);
        let next_older = self.newest("newest", "newest.request_id", judged);
        format!(
            "with recursive kind (status, stage, model) as (
                select status.name, split.stage, split.model
                  from (select distinct stage, model from usage_splits
                         where user_id = :user and day >= substr(:since, 1, 10) and day <= substr(:until, 1, 10)
                           and (:stage is null or stage = :stage) and (:model is null or model = :model)) as split
                 cross join (select 'success' as name union all select 'error'
                             union all select 'rate_limited' union all select 'cancelled') as status
                 where :status is null or status.name = :status
            ), company (status, stage, model, last) as (
                select status, stage, model, coalesce({only}, {first_last}) from kind
                union all
                select status, stage, model, {next_last} from company where {only} is null and last is not null
            ), newest (status, stage, model, last, request_id) as (
                select status, stage, model, last, {newest} from company where last is not null and {passes}
                union all
                select status, stage, model, last, {next_older} from newest where request_id is not null
                order by 5 desc limit :limit -- the newest of all companies is taken out first, and its next one put in
            )
            select log.* from newest
             cross join request_logs as log on log.user_id = :user and log.request_id = newest.request_id
             order by log.request_id desc"
        )
    }

    /// The newest row of a company before some id.
    fn newest(&self, company: &str, before: &str, judged: &str) -> String {
        let last = self.last;
        let rows = format!(
            "and log.{last} = {company}.last and log.request_id >= :first and log.request_id < {before}
             and log.created_at >= :since and log.created_at < :until {judged}
             order by log.request_id desc limit 1"
        );
        self.search(company, "log.request_id", &rows)
    }

    /// Searches the rows of a kind. A plus takes a column's affinity away: `coalesce`, by which they lie in the tree, has none,
    /// and no tree is searched for what may compare in another way than it is sorted.
    fn search(&self, kind: &str, what: &str, rows: &str) -> String {
        let Self { name, within, .. } = self;
        format!(
            "(select {what} from request_logs as log indexed by {name}
               where log.user_id = :user {within} and log.status = {kind}.status
                 and coalesce(log.stage, '') = +{kind}.stage and coalesce(log.model, '') = +{kind}.model {rows})"
        )
    }
}
