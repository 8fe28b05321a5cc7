//! [`LinkStore`] over the table `links`.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::identity::{Email, Link, LinkStore, Purpose, Role};
use crate::storage::sqlite::{Sqlite, text};
use crate::units::{StoreError, Timestamp, UserId};

#[async_trait]
impl LinkStore for Sqlite {
    async fn put(&self, link: Link) -> Result<(), StoreError> {
        let put = move |connection: &Connection| {
            let (user, email, role) = match &link.purpose {
                Purpose::SignIn(user) => (Some(user.0.to_string()), None, None),
                Purpose::Invitation { email, role } => (None, email.as_ref().map(Email::as_str), Some(role.as_str())),
            };
            connection
                .prepare_cached("delete from links where expires_at <= ?1")?
                .execute([link.created_at.rfc3339_micros()])?;
            connection
                .prepare_cached(
                    "insert into links (token_hash, user_id, email, role, created_at, expires_at)
                     values (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute((
                    link.token_hash,
                    user,
                    email,
                    role,
                    link.created_at.rfc3339_micros(),
                    link.expires_at.rfc3339_micros(),
                ))
                .map(drop)
        };
        self.in_transaction(put).await
    }

    async fn look(&self, token_hash: [u8; 32], now: Timestamp) -> Result<Option<Purpose>, StoreError> {
        let select = move |connection: &mut Connection| {
            connection
                .prepare_cached("select user_id, email, role from links where token_hash = ?1 and expires_at > ?2")?
                .query_row((token_hash, now.rfc3339_micros()), purpose)
                .optional()
        };
        self.people.ask(select).await
    }

    async fn take(&self, token_hash: [u8; 32], now: Timestamp) -> Result<Option<Purpose>, StoreError> {
        let delete = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "delete from links where token_hash = ?1 and expires_at > ?2 returning user_id, email, role",
                )?
                .query_row((token_hash, now.rfc3339_micros()), purpose)
                .optional()
        };
        self.in_transaction(delete).await
    }
}

fn purpose(row: &Row<'_>) -> rusqlite::Result<Purpose> {
    if row.get::<_, Option<String>>("user_id")?.is_some() {
        return Ok(Purpose::SignIn(UserId(text::uuid(row, "user_id")?)));
    }
    let email: Option<String> = row.get("email")?;
    let email = email.map(|email| text::read(email, "an e-mail address", |email| Email::kept(email).ok()));
    Ok(Purpose::Invitation { email: email.transpose()?, role: text::read(row.get("role")?, "a role", Role::parse)? })
}
