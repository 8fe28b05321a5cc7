//! [`KeyStore`] and [`KeyRegistry`] over the table `api_keys`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::admission::{
    Changed, Changes, KeyHash, KeyRegistry, KeyRow, KeyStatus, KeyStore, NewKey, Principal, StoredKey,
};
use crate::storage::sqlite::{Sqlite, text};
use crate::units::{KeyId, StoreError, Timestamp, UserId};

const WITH_OWNER: &str = "select api_keys.*, accounts.email, accounts.disabled_at,
           accounts.daily_requests as user_daily_requests, coalesce(api_keys.replaces, api_keys.id) as counter
      from api_keys join accounts on accounts.id = api_keys.user_id";

#[async_trait]
impl KeyStore for Sqlite {
    async fn find(&self, public_id: &str) -> Result<Option<StoredKey>, StoreError> {
        let public_id = public_id.to_owned();
        let select = move |connection: &mut Connection| {
            connection
                .prepare_cached(&format!("{WITH_OWNER} where api_keys.public_id = ?1"))?
                .query_row([public_id], stored_key)
                .optional()
        };
        self.reader.ask(select).await
    }

    /// The file tells that somebody wrote to it, not what: any key may have changed.
    async fn changes(&self, since: Option<u64>) -> Result<Changes, StoreError> {
        let version = |connection: &mut Connection| {
            connection.prepare_cached("pragma data_version")?.query_row((), |row| row.get::<_, u32>(0))
        };
        let version = self.writer.run(version).await?;
        let mark = u64::from(version) << 32 ^ self.own_changes.load(Ordering::Relaxed);
        let what = if since == Some(mark) { Changed::Keys(Vec::new()) } else { Changed::Any };
        Ok(Changes { what, mark })
    }

    async fn mark_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        let used: Vec<_> = used.iter().map(|(key, at)| (key.0.to_string(), at.rfc3339_micros())).collect();
        let update = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "update api_keys set last_used_at = max(coalesce(last_used_at, ''), ?2) where id = ?1",
            )?;
            used.into_iter().try_for_each(|key| statement.execute(key).map(drop))
        };
        self.in_transaction(update).await
    }
}

#[async_trait]
impl KeyRegistry for Sqlite {
    async fn create(&self, key: NewKey, most: Option<u32>) -> Result<bool, StoreError> {
        let create = move |connection: &Connection| {
            let fits = has_room(connection, &key, most)?;
            if fits {
                insert(connection, &key)?;
            }
            Ok(fits)
        };
        let created = self.in_transaction(create).await?;
        self.note_change();
        Ok(created)
    }

    async fn list(&self, user: Option<UserId>) -> Result<Vec<KeyRow>, StoreError> {
        let user = user.map(|user| user.0.to_string());
        let select = move |connection: &mut Connection| {
            connection
                .prepare_cached(&format!(
                    "{WITH_OWNER} where ?1 is null or user_id = ?1 order by api_keys.created_at desc, api_keys.id"
                ))?
                .query_map([user], key_row)?
                .collect()
        };
        self.people.ask(select).await
    }

    async fn rotate(
        &self,
        old: KeyId,
        new: NewKey,
        retires_at: Option<Timestamp>,
        most: Option<u32>,
    ) -> Result<bool, StoreError> {
        let replace = move |connection: &Connection| {
            let replaced = has_room(connection, &new, most)? && retire(connection, old, new.created_at, retires_at)?;
            if replaced {
                insert(connection, &new)?;
                follow(connection, old, new.id)?;
            }
            Ok(replaced)
        };
        let replaced = self.in_transaction(replace).await?;
        self.note_change();
        Ok(replaced)
    }

    async fn change(
        &self,
        key: KeyId,
        label: Option<String>,
        expires_at: Option<Option<Timestamp>>,
        now: Timestamp,
        most: Option<u32>,
    ) -> Result<bool, StoreError> {
        let change = move |connection: &Connection| {
            let fits = match expires_at {
                Some(end) => has_room_for_end(connection, key, end, now, most)?,
                None => true,
            };
            Ok(fits && update(connection, key, label, expires_at)?)
        };
        let changed = self.in_transaction(change).await?;
        self.note_change();
        Ok(changed)
    }

    async fn revoke(&self, key: KeyId, at: Timestamp) -> Result<bool, StoreError> {
        let revoked = self.writer.run(move |connection| revoke(connection, key, at)).await?;
        self.note_change();
        Ok(revoked)
    }
}

/// Whether fewer than `most` of the user's keys can be used when this one is created.
fn has_room(connection: &Connection, key: &NewKey, most: Option<u32>) -> rusqlite::Result<bool> {
    let Some(most) = most else { return Ok(true) };
    connection
        .prepare_cached(
            "select count(*) < ?2 from api_keys
              where user_id = ?1 and status = 'active'
                and (expires_at is null or expires_at > ?3) and (retires_at is null or retires_at > ?3)",
        )?
        .query_row((key.user.0.to_string(), most, key.created_at.rfc3339_micros()), |row| row.get(0))
}

/// Whether this key may have this end: it is no later one, or fewer than `most` others of its user's can be used at `now`.
fn has_room_for_end(
    connection: &Connection,
    key: KeyId,
    end: Option<Timestamp>,
    now: Timestamp,
    most: Option<u32>,
) -> rusqlite::Result<bool> {
    let Some(most) = most else { return Ok(true) };
    connection
        .prepare_cached(
            "select coalesce(own.expires_at is null or own.expires_at >= ?2, false) or ?4 > (
                 select count(*) from api_keys as other
                  where other.user_id = own.user_id and other.id <> own.id and other.status = 'active'
                    and (other.expires_at is null or other.expires_at > ?3)
                    and (other.retires_at is null or other.retires_at > ?3))
               from api_keys as own where own.id = ?1",
        )?
        .query_row((key.0.to_string(), end.map(|end| end.rfc3339_micros()), now.rfc3339_micros(), most), |row| {
            row.get(0)
        })
        .optional()
        .map(|fits| fits.unwrap_or(true))
}

fn update(
    connection: &Connection,
    key: KeyId,
    label: Option<String>,
    expires_at: Option<Option<Timestamp>>,
) -> rusqlite::Result<bool> {
    let end = expires_at.flatten().map(|time| time.rfc3339_micros());
    let updated = connection
        .prepare_cached(
            "update api_keys set label = coalesce(?2, label), expires_at = iif(?3, ?4, expires_at)
              where id = ?1 and status = 'active'",
        )?
        .execute((key.0.to_string(), label, expires_at.is_some(), end))?;
    Ok(updated == 1)
}

fn insert(connection: &Connection, key: &NewKey) -> rusqlite::Result<()> {
    let stages = key.stages.as_ref().map(|stages| text::json(stages.iter().map(|stage| stage.as_str())));
    let models = key.models.as_ref().map(|models| text::json(models.iter().map(String::as_str)));
    connection
        .prepare_cached(
            "insert into api_keys (id, user_id, public_id, prefix, key_hash, label, stages, models, daily_requests,
                                   created_at, expires_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute((
            key.id.0.to_string(),
            key.user.0.to_string(),
            &key.public_id,
            &key.prefix,
            key.hash.to_hex(),
            &key.label,
            stages,
            models,
            key.daily_requests,
            key.created_at.rfc3339_micros(),
            key.expires_at.map(|time| time.rfc3339_micros()),
        ))
        .map(drop)
}

fn revoke(connection: &Connection, key: KeyId, at: Timestamp) -> rusqlite::Result<bool> {
    let revoked = connection
        .prepare_cached("update api_keys set status = 'revoked', revoked_at = ?2 where id = ?1 and status = 'active'")?
        .execute((key.0.to_string(), at.rfc3339_micros()))?;
    Ok(revoked == 1)
}

/// Ends a key at `retires_at`, or `now`. False where it has its end already.
fn retire(
    connection: &Connection,
    key: KeyId,
    now: Timestamp,
    retires_at: Option<Timestamp>,
) -> rusqlite::Result<bool> {
    let end = retires_at.unwrap_or(now).rfc3339_micros();
    let sql = match retires_at {
        Some(_) => "update api_keys set retires_at = ?2 where id = ?1 and status = 'active' and retires_at is null",
        None => {
            "update api_keys set status = 'revoked', revoked_at = ?2
              where id = ?1 and status = 'active' and retires_at is null"
        }
    };
    Ok(connection.prepare_cached(sql)?.execute((key.0.to_string(), end))? == 1)
}

/// Lets `new` run on the counter that `old` runs on.
fn follow(connection: &Connection, old: KeyId, new: KeyId) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "update api_keys set replaces = (select coalesce(replaces, id) from api_keys where id = ?1) where id = ?2",
        )?
        .execute((old.0.to_string(), new.0.to_string()))
        .map(drop)
}

fn stored_key(row: &Row<'_>) -> rusqlite::Result<StoredKey> {
    let owner_disabled: Option<String> = row.get("disabled_at")?;
    let email: String = row.get("email")?;
    Ok(StoredKey {
        hash: text::read(row.get("key_hash")?, "a key's hash", KeyHash::from_hex)?,
        active: status(row)? == KeyStatus::Active && owner_disabled.is_none(),
        retires_at: text::optional_time(row, "retires_at")?,
        principal: Principal {
            user: UserId(text::uuid(row, "user_id")?),
            email: Arc::from(email),
            key: KeyId(text::uuid(row, "id")?),
            counter: KeyId(text::uuid(row, "counter")?),
            label: row.get("label")?,
            stages: text::stages(row, "stages")?,
            models: text::list(row, "models")?,
            daily_requests: row.get("daily_requests")?,
            user_daily_requests: row.get("user_daily_requests")?,
            expires_at: text::optional_time(row, "expires_at")?,
        },
    })
}

fn key_row(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow {
        id: KeyId(text::uuid(row, "id")?),
        user: UserId(text::uuid(row, "user_id")?),
        email: row.get("email")?,
        prefix: row.get("prefix")?,
        label: row.get("label")?,
        status: status(row)?,
        stages: text::stages(row, "stages")?,
        models: text::list(row, "models")?,
        daily_requests: row.get("daily_requests")?,
        created_at: text::time(row, "created_at")?,
        expires_at: text::optional_time(row, "expires_at")?,
        retires_at: text::optional_time(row, "retires_at")?,
        last_used_at: text::optional_time(row, "last_used_at")?,
    })
}

fn status(row: &Row<'_>) -> rusqlite::Result<KeyStatus> {
    text::read(row.get("status")?, "a key's status", KeyStatus::parse)
}
