//! [`KeyStore`] and [`KeyRegistry`] over the table `api_keys`.
//!
//! Triggers on it say to all edges what changed, whoever changed it; changes are what the listener heard, so that
//! asking for them costs nothing. What this process changes itself it notes at once, whether it listens or not.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Postgres;
use super::pool::{Statement, Value, value};
use super::rows::{column, optional_count, optional_time, stages, time, to_system};
use crate::admission::{
    Changes, KeyHash, KeyRegistry, KeyRow, KeyStatus, KeyStore, NewKey, Principal, PublicId, StoredKey,
};
use crate::units::{KeyId, StoreError, Timestamp, UserId};

const FIND: Statement = Statement {
    sql: "select key.id, key.user_id, key.key_hash, key.label, key.status, key.stages, key.models, key.daily_requests,
                 key.expires_at, key.retires_at, coalesce(key.replaces, key.id) as counter, account.email,
                 account.disabled_at, account.daily_requests as user_daily_requests
            from public.api_keys as key join cfx.accounts as account on account.id = key.user_id
           where key.public_id = $1",
    types: &[Type::TEXT],
};
const LIST: Statement = Statement {
    sql: "select key.id, key.user_id, key.prefix, key.label, key.status, key.stages, key.models, key.daily_requests,
                 key.created_at, key.expires_at, key.retires_at, key.last_used_at, account.email
            from public.api_keys as key join cfx.accounts as account on account.id = key.user_id
           where $1::uuid is null or key.user_id = $1
           order by key.created_at desc, key.id",
    types: &[Type::UUID],
};
/// One statement for a whole batch. Keys in one order, so that two edges that mark the same ones do not wait for each
/// other in a circle.
const MARK_USED: Statement = Statement {
    sql: "with used as (
              select mark.id, max(mark.at) as at from unnest($1::uuid[], $2::timestamptz[]) as mark (id, at)
               group by mark.id
          ), held as (
              select key.id, used.at from public.api_keys as key join used on used.id = key.id
               where key.last_used_at is null or key.last_used_at < used.at
               order by key.id for no key update of key
          )
          update public.api_keys as key set last_used_at = greatest(key.last_used_at, held.at)
            from held where key.id = held.id",
    types: &[Type::UUID_ARRAY, Type::TIMESTAMPTZ_ARRAY],
};
const CREATE: Statement = Statement {
    sql: "insert into public.api_keys (id, user_id, public_id, prefix, key_hash, label, stages, models, daily_requests,
                                       created_at, expires_at)
          select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
           where $12 is null or cfx.room_for_key($2, $12, $10)
          returning public_id",
    types: &[
        Type::UUID,
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::INT8,
    ],
};
/// Both or neither: without an active old key there is nothing to insert from. `replaces` names the first of all that
/// followed one another, whose counter they run on.
const ROTATE: Statement = Statement {
    sql: "with ended as (
              update public.api_keys
                 set status = case when $13::timestamptz is null then 'revoked' else status end,
                     revoked_at = case when $13::timestamptz is null then $10 else revoked_at end,
                     retires_at = $13
               where id = $12 and status = 'active' and retires_at is null
                 and ($14 is null or cfx.room_for_key($2, $14, $10))
              returning coalesce(replaces, id) as first, public_id
          ), made as (
              insert into public.api_keys (id, user_id, public_id, prefix, key_hash, label, stages, models,
                                           daily_requests, created_at, expires_at, replaces)
              select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, ended.first from ended
              returning public_id
          )
          select public_id from ended union all select public_id from made",
    types: &[
        Type::UUID,
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::UUID,
        Type::TIMESTAMPTZ,
        Type::INT8,
    ],
};
/// Where the key itself can be used, it is one of those that are counted.
const CHANGE: Statement = Statement {
    sql: "update public.api_keys
             set label = coalesce($2, label), expires_at = case when $3 then $4 else expires_at end
           where id = $1 and status = 'active'
             and ($6 is null or not $3 or expires_at is null or expires_at >= $4
                  or cfx.room_for_key(user_id, $6 + case when expires_at > $5 and (retires_at is null or retires_at > $5)
                                                         then 1 else 0 end, $5))
          returning public_id",
    types: &[Type::UUID, Type::TEXT, Type::BOOL, Type::TIMESTAMPTZ, Type::TIMESTAMPTZ, Type::INT8],
};
const REVOKE: Statement = Statement {
    sql: "update public.api_keys set status = 'revoked', revoked_at = $2
           where id = $1 and status = 'active'
          returning public_id",
    types: &[Type::UUID, Type::TIMESTAMPTZ],
};

#[async_trait]
impl KeyStore for Postgres {
    async fn find(&self, public_id: &str) -> Result<Option<StoredKey>, StoreError> {
        let rows = self.pool.query(&FIND, vec![value(public_id.to_owned())]).await?;
        rows.first().map(stored_key).transpose()
    }

    async fn changes(&self, since: Option<u64>) -> Result<Changes, StoreError> {
        Ok(self.heard.changes(since))
    }

    async fn mark_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        let keys: Vec<_> = used.iter().map(|(key, _)| key.0).collect();
        let times: Vec<_> = used.iter().map(|(_, at)| to_system(*at)).collect();
        self.pool.query(&MARK_USED, vec![value(keys), value(times)]).await?;
        Ok(())
    }
}

#[async_trait]
impl KeyRegistry for Postgres {
    async fn create(&self, key: NewKey, most: Option<u32>) -> Result<bool, StoreError> {
        let mut values = new_key(key);
        values.push(value(most.map(i64::from)));
        self.note_changed(&self.people.query(&CREATE, values).await?)
    }

    async fn list(&self, user: Option<UserId>) -> Result<Vec<KeyRow>, StoreError> {
        self.people.query(&LIST, vec![value(user.map(|user| user.0))]).await?.iter().map(key_row).collect()
    }

    async fn rotate(
        &self,
        old: KeyId,
        new: NewKey,
        retires_at: Option<Timestamp>,
        most: Option<u32>,
    ) -> Result<bool, StoreError> {
        let mut values = new_key(new);
        values.extend([value(old.0), value(retires_at.map(to_system)), value(most.map(i64::from))]);
        self.note_changed(&self.people.query(&ROTATE, values).await?)
    }

    async fn change(
        &self,
        key: KeyId,
        label: Option<String>,
        expires_at: Option<Option<Timestamp>>,
        now: Timestamp,
        most: Option<u32>,
    ) -> Result<bool, StoreError> {
        let values = vec![
            value(key.0),
            value(label),
            value(expires_at.is_some()),
            value(expires_at.flatten().map(to_system)),
            value(to_system(now)),
            value(most.map(i64::from)),
        ];
        self.note_changed(&self.people.query(&CHANGE, values).await?)
    }

    async fn revoke(&self, key: KeyId, at: Timestamp) -> Result<bool, StoreError> {
        self.note_changed(&self.people.query(&REVOKE, vec![value(key.0), value(to_system(at))]).await?)
    }
}

impl Postgres {
    /// Notes the keys whose public ids are given. False where there are none.
    fn note_changed(&self, rows: &[Row]) -> Result<bool, StoreError> {
        for row in rows {
            self.heard.note_change(PublicId::parse(column(row, "public_id")?));
        }
        Ok(!rows.is_empty())
    }
}

/// The first eleven parameters of [`CREATE`] and [`ROTATE`].
fn new_key(key: NewKey) -> Vec<Value> {
    let stages = key.stages.map(|stages| stages.iter().map(|stage| stage.as_str()).collect::<Vec<_>>());
    vec![
        value(key.id.0),
        value(key.user.0),
        value(key.public_id),
        value(key.prefix),
        value(key.hash.to_hex()),
        value(key.label),
        value(stages),
        value(key.models),
        value(key.daily_requests.map(i64::from)),
        value(to_system(key.created_at)),
        value(key.expires_at.map(to_system)),
    ]
}

fn stored_key(row: &Row) -> Result<StoredKey, StoreError> {
    let hash: &str = column(row, "key_hash")?;
    let owner_disabled = optional_time(row, "disabled_at")?.is_some();
    Ok(StoredKey {
        hash: KeyHash::from_hex(hash).ok_or_else(|| StoreError("a key's hash cannot be read".to_owned()))?,
        active: status(row)? == KeyStatus::Active && !owner_disabled,
        retires_at: optional_time(row, "retires_at")?,
        principal: Principal {
            user: UserId(column(row, "user_id")?),
            email: Arc::from(column::<&str>(row, "email")?),
            key: KeyId(column(row, "id")?),
            counter: KeyId(column(row, "counter")?),
            label: column(row, "label")?,
            stages: stages(row, "stages")?,
            models: column(row, "models")?,
            daily_requests: optional_count(row, "daily_requests")?,
            user_daily_requests: optional_count(row, "user_daily_requests")?,
            expires_at: optional_time(row, "expires_at")?,
        },
    })
}

fn key_row(row: &Row) -> Result<KeyRow, StoreError> {
    Ok(KeyRow {
        id: KeyId(column(row, "id")?),
        user: UserId(column(row, "user_id")?),
        email: column(row, "email")?,
        prefix: column(row, "prefix")?,
        label: column(row, "label")?,
        status: status(row)?,
        stages: stages(row, "stages")?,
        models: column(row, "models")?,
        daily_requests: optional_count(row, "daily_requests")?,
        created_at: time(row, "created_at")?,
        expires_at: optional_time(row, "expires_at")?,
        retires_at: optional_time(row, "retires_at")?,
        last_used_at: optional_time(row, "last_used_at")?,
    })
}

fn status(row: &Row) -> Result<KeyStatus, StoreError> {
    let name: &str = column(row, "status")?;
    KeyStatus::parse(name).ok_or_else(|| StoreError(format!("{name:?} is not a key's status")))
}
