//! [`QuotaStore`] over the functions of `migrations/postgres/0010_quota.sql` and `0018_larger_leases.sql`: each call one
//! statement, so that `request_count + leased ≤ limit` is judged and acted on under the lock of the counter's row.
//!
//! Days go over as numbers; counts as `bigint`, which every count of ours fits.

use async_trait::async_trait;
use tokio::sync::broadcast::error::RecvError;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Postgres;
use super::pool::{Statement, value};
use super::rows::{column, count};
use super::words::{self, Said};
use crate::admission::{Ask, Grant, OpenLease, Posting, QuotaStore, Settlement, Subject, Word};
use crate::units::{Day, EdgeId, KeyId, LeaseId, StoreError, UserId};

const GRANT: Statement = Statement {
    sql: "select granted, counted, live_edges, elsewhere
            from cfx.grant_lease($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    types: &[
        Type::UUID,
        Type::UUID,
        Type::UUID,
        Type::UUID,
        Type::INT4,
        Type::INT8,
        Type::INT8,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::BOOL_ARRAY,
    ],
};
const SETTLE: Statement = Statement {
    sql: "select cfx.settle_leases($1, $2, $3, $4, $5, $6)",
    types: &[
        Type::UUID_ARRAY,
        Type::UUID_ARRAY,
        Type::UUID_ARRAY,
        Type::INT4_ARRAY,
        Type::INT8_ARRAY,
        Type::BOOL_ARRAY,
    ],
};
const POST: Statement = Statement {
    sql: "select cfx.post_requests($1, $2, $3, $4, $5)",
    types: &[Type::UUID, Type::UUID, Type::UUID, Type::INT4, Type::INT8],
};
/// The two tables differ in nothing but names, and one of the two ids is null.
const USED: Statement = Statement {
    sql: "select request_count from public.usage_counters where user_id = $1 and day = date '1970-01-01' + $3
          union all
          select request_count from cfx.key_counters where key_id = $2 and day = date '1970-01-01' + $3",
    types: &[Type::UUID, Type::UUID, Type::INT4],
};
const BEAT: Statement = Statement { sql: "select cfx.beat($1) as live", types: &[Type::UUID] };
const DEPART: Statement = Statement { sql: "delete from cfx.edges where id = $1", types: &[Type::UUID] };
const OPEN_LEASES: Statement = Statement {
    sql: "select id, user_id, key_id, day - date '1970-01-01' as day, granted, used
            from cfx.quota_leases where edge = $1 order by id",
    types: &[Type::UUID],
};
/// As settled by their edges, by what was last reported.
const CLOSE_LEFT: Statement = Statement {
    sql: "select cfx.settle_leases(array_agg(id), array_agg(user_id), array_agg(key_id),
                                   array_agg(day - date '1970-01-01'), array_agg(used), array_agg(true)),
                 count(*) as closed
            from (select * from cfx.quota_leases where day < date '1970-01-01' + $1 order by id limit 10000) as lease
          having count(*) > 0",
    types: &[Type::INT4],
};
const RECALL: Statement = Statement { sql: "select cfx.say('quota_channel', $1)", types: &[Type::TEXT] };

#[async_trait]
impl QuotaStore for Postgres {
    async fn grant(&self, ask: Ask) -> Result<Grant, StoreError> {
        let (user, key) = columns(ask.subject);
        let reports = Reports::of(&ask.settled);
        let values = vec![
            value(ask.edge.0),
            value(ask.lease.0),
            value(user),
            value(key),
            value(ask.day.0),
            value(i64::from(ask.limit)),
            value(i64::from(ask.most)),
            value(reports.leases),
            value(reports.used),
            value(reports.closing),
        ];
        let rows = self.pool.query(&GRANT, values).await?;
        let row = rows.first().ok_or_else(|| StoreError("a grant was not answered".to_owned()))?;
        Ok(Grant {
            granted: count(row, "granted")?,
            counted: count(row, "counted")?,
            live_edges: count(row, "live_edges")?,
            elsewhere: count(row, "elsewhere")?,
        })
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), StoreError> {
        let subjects = settlements.iter().map(|settlement| columns(settlement.subject));
        let (users, keys): (Vec<_>, Vec<_>) = subjects.unzip();
        let days: Vec<_> = settlements.iter().map(|settlement| settlement.day.0).collect();
        let reports = Reports::of(&settlements);
        let values = vec![
            value(reports.leases),
            value(users),
            value(keys),
            value(days),
            value(reports.used),
            value(reports.closing),
        ];
        self.pool.query(&SETTLE, values).await?;
        Ok(())
    }

    async fn release(&self, posting: Posting) -> Result<(), StoreError> {
        self.change(posting, -i64::from(posting.count)).await
    }

    async fn post(&self, posting: Posting) -> Result<(), StoreError> {
        self.change(posting, i64::from(posting.count)).await
    }

    async fn used(&self, subject: Subject, day: Day) -> Result<u32, StoreError> {
        let (user, key) = columns(subject);
        let rows = self.pool.query(&USED, vec![value(user), value(key), value(day.0)]).await?;
        rows.first().map_or(Ok(0), |row| count(row, "request_count"))
    }

    async fn beat(&self, edge: EdgeId) -> Result<u32, StoreError> {
        let rows = self.pool.query(&BEAT, vec![value(edge.0)]).await?;
        rows.first().map_or(Ok(1), |row| count(row, "live"))
    }

    async fn depart(&self, edge: EdgeId) -> Result<(), StoreError> {
        self.pool.query(&DEPART, vec![value(edge.0)]).await?;
        Ok(())
    }

    async fn open_leases(&self, edge: EdgeId) -> Result<Vec<OpenLease>, StoreError> {
        self.pool.query(&OPEN_LEASES, vec![value(edge.0)]).await?.iter().map(open_lease).collect()
    }

    async fn recall(&self, edge: EdgeId, subject: Subject, day: Day) -> Result<(), StoreError> {
        self.pool.query(&RECALL, vec![value(words::recall(edge, subject, day))]).await?;
        Ok(())
    }

    async fn hear(&self, edge: EdgeId) -> Word {
        let mut words = self.words.lock().await;
        loop {
            let word = match words.recv().await {
                Ok(said) => Said::to(said, edge),
                Err(RecvError::Lagged(_)) => Some(Word::Missed),
                Err(RecvError::Closed) => std::future::pending().await,
            };
            if let Some(word) = word {
                return word;
            }
        }
    }

    fn hears(&self) -> bool {
        self.heard.hears()
    }
}

impl Postgres {
    /// Closes leases of days before `day` that no edge came back for, as they were last reported; gives how many.
    pub async fn close_leases_before(&self, day: Day) -> Result<u32, StoreError> {
        let closed = self.pool.query(&CLOSE_LEFT, vec![value(day.0)]).await?;
        closed.first().map_or(Ok(0), |row| count(row, "closed"))
    }

    async fn change(&self, posting: Posting, by: i64) -> Result<(), StoreError> {
        let (user, key) = columns(posting.subject);
        let values = vec![value(posting.id.0), value(user), value(key), value(posting.day.0), value(by)];
        self.pool.query(&POST, values).await?;
        Ok(())
    }
}

/// Settlements by column.
struct Reports {
    leases: Vec<Uuid>,
    used: Vec<i64>,
    closing: Vec<bool>,
}

impl Reports {
    fn of(settlements: &[Settlement]) -> Self {
        Self {
            leases: settlements.iter().map(|settlement| settlement.lease.0).collect(),
            used: settlements.iter().map(|settlement| i64::from(settlement.used)).collect(),
            closing: settlements.iter().map(|settlement| settlement.closes).collect(),
        }
    }
}

/// `user_id` and `key_id`, one of them null.
fn columns(subject: Subject) -> (Option<Uuid>, Option<Uuid>) {
    match subject {
        Subject::User(user) => (Some(user.0), None),
        Subject::Key(key) => (None, Some(key.0)),
    }
}

fn open_lease(row: &Row) -> Result<OpenLease, StoreError> {
    let subject = match column::<Option<Uuid>>(row, "user_id")? {
        Some(user) => Subject::User(UserId(user)),
        None => Subject::Key(KeyId(column(row, "key_id")?)),
    };
    Ok(OpenLease {
        lease: LeaseId(column(row, "id")?),
        subject,
        day: Day(column(row, "day")?),
        granted: count(row, "granted")?,
        used: count(row, "used")?,
    })
}
