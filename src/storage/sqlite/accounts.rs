//! [`AccountStore`] over the table `accounts`.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row};

use crate::identity::{Account, AccountStore, Email};
use crate::storage::sqlite::{Sqlite, text};
use crate::units::{StoreError, UserId};

#[async_trait]
impl AccountStore for Sqlite {
    async fn create(&self, account: Account) -> Result<bool, StoreError> {
        let insert = move |connection: &mut rusqlite::Connection| {
            connection
                .prepare_cached(
                    "insert into accounts (id, email, created_at, disabled_at, daily_requests)
                     values (?1, ?2, ?3, ?4, ?5) on conflict (email) do nothing",
                )?
                .execute((
                    account.id.0.to_string(),
                    account.email.as_str(),
                    account.created_at.rfc3339_micros(),
                    account.disabled_at.map(|time| time.rfc3339_micros()),
                    account.daily_requests,
                ))
        };
        let inserted = self.writer.run(insert).await?;
        self.note_change();
        Ok(inserted == 1)
    }

    async fn list(&self) -> Result<Vec<Account>, StoreError> {
        let select = |connection: &mut rusqlite::Connection| {
            connection.prepare_cached("select * from accounts order by email")?.query_map((), account)?.collect()
        };
        self.reader.run(select).await
    }

    async fn find(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        let email = email.clone();
        let select = move |connection: &mut rusqlite::Connection| {
            connection
                .prepare_cached("select * from accounts where email = ?1")?
                .query_row([email.as_str()], account)
                .optional()
        };
        self.reader.run(select).await
    }
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: UserId(text::uuid(row, "id")?),
        email: text::read(row.get("email")?, "an e-mail address", |email| Email::parse(email).ok())?,
        created_at: text::time(row, "created_at")?,
        disabled_at: text::optional_time(row, "disabled_at")?,
        daily_requests: row.get("daily_requests")?,
    })
}
