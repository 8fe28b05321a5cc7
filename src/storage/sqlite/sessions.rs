//! [`SessionStore`] over the table `sessions`.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row};

use super::accounts::account;
use crate::identity::{Renewal, Session, SessionStore, Shown, Signed};
use crate::storage::sqlite::{Sqlite, text};
use crate::units::{StoreError, Timestamp, UserId};

#[async_trait]
impl SessionStore for Sqlite {
    async fn open(&self, session: Session) -> Result<(), StoreError> {
        let open = move |connection: &Connection| {
            connection
                .prepare_cached("delete from sessions where expires_at <= ?1")?
                .execute([session.created_at.rfc3339_micros()])?;
            connection
                .prepare_cached(
                    "insert into sessions (token_hash, user_id, created_at, began_at, expires_at)
                     values (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute((
                    session.token_hash,
                    session.user.0.to_string(),
                    session.created_at.rfc3339_micros(),
                    session.began_at.rfc3339_micros(),
                    session.expires_at.rfc3339_micros(),
                ))
                .map(drop)
        };
        self.in_transaction(open).await
    }

    async fn signed(&self, token_hash: [u8; 32], now: Timestamp) -> Result<Option<Signed>, StoreError> {
        let select = move |connection: &mut Connection| {
            connection
                .prepare_cached(
                    "select accounts.*, sessions.token_hash, sessions.began_at, sessions.renewed_with,
                            sessions.renewed_until, sessions.token_hash = ?1 as is_present,
                            iif(sessions.token_hash = ?1, sessions.created_at, sessions.began_at) as made_at,
                            iif(sessions.token_hash = ?1, sessions.expires_at, sessions.renewed_until) as expires_at,
                            exists (select 1 from passwords where user_id = accounts.id) as has_password
                       from sessions join accounts on accounts.id = sessions.user_id
                      where (sessions.token_hash = ?1 and sessions.expires_at > ?2
                             or sessions.renewed_hash = ?1 and sessions.renewed_until > ?2)
                        and accounts.disabled_at is null",
                )?
                .query_row((token_hash, now.rfc3339_micros()), signed)
                .optional()
        };
        self.people.ask(select).await
    }

    async fn replace(&self, token_hash: [u8; 32], renewal: Renewal) -> Result<bool, StoreError> {
        let Renewal { session, salt } = renewal;
        let update = move |connection: &mut Connection| {
            connection
                .prepare_cached(
                    "update sessions set token_hash = ?1, created_at = ?3, began_at = ?4, expires_at = ?5,
                            renewed_hash = token_hash, renewed_with = ?7, renewed_until = min(?5, expires_at)
                      where token_hash = ?6 and user_id = ?2 and expires_at > ?3",
                )?
                .execute((
                    session.token_hash,
                    session.user.0.to_string(),
                    session.created_at.rfc3339_micros(),
                    session.began_at.rfc3339_micros(),
                    session.expires_at.rfc3339_micros(),
                    token_hash,
                    salt,
                ))
        };
        Ok(self.writer.run(update).await? == 1)
    }

    async fn arrived(&self, token_hash: [u8; 32], until: Timestamp) -> Result<(), StoreError> {
        let update = move |connection: &mut Connection| {
            connection
                .prepare_cached("update sessions set renewed_until = ?2 where token_hash = ?1 and renewed_until > ?2")?
                .execute((token_hash, until.rfc3339_micros()))
        };
        self.writer.run(update).await.map(drop)
    }

    async fn end(&self, token_hash: [u8; 32]) -> Result<bool, StoreError> {
        let delete = move |connection: &mut Connection| {
            connection
                .prepare_cached("delete from sessions where token_hash = ?1 or renewed_hash = ?1")?
                .execute([token_hash])
        };
        Ok(self.writer.run(delete).await? == 1)
    }
}

fn signed(row: &Row<'_>) -> rusqlite::Result<Signed> {
    let shown = match row.get::<_, Option<[u8; 32]>>("renewed_with")? {
        Some(salt) if !row.get::<_, bool>("is_present")? => Shown::Before(salt),
        Some(_) => Shown::Present(Some(text::time(row, "renewed_until")?)),
        None => Shown::Present(None),
    };
    Ok(Signed {
        shown,
        account: account(row)?,
        has_password: row.get("has_password")?,
        session: Session {
            token_hash: row.get("token_hash")?,
            user: UserId(text::uuid(row, "id")?),
            created_at: text::time(row, "made_at")?,
            began_at: text::time(row, "began_at")?,
            expires_at: text::time(row, "expires_at")?,
        },
    })
}
