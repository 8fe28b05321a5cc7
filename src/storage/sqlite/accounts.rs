//! [`AccountStore`] over the tables `accounts` and `passwords`.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::identity::{Account, AccountStore, Change, Email, PasswordHash, Role};
use crate::storage::sqlite::{Sqlite, text};
use crate::units::{StoreError, UserId};

#[async_trait]
impl AccountStore for Sqlite {
    async fn create(&self, account: Account, password: Option<PasswordHash>) -> Result<bool, StoreError> {
        let create = move |connection: &Connection| {
            let made = insert(connection, &account)?;
            if let (true, Some(password)) = (made, password) {
                choose(connection, &account.id.0.to_string(), &password)?;
            }
            Ok(made)
        };
        let made = self.in_transaction(create).await?;
        self.note_change();
        Ok(made)
    }

    async fn list(&self) -> Result<Vec<Account>, StoreError> {
        let select = |connection: &mut Connection| {
            let mut select = connection.prepare_cached("select * from accounts order by email")?;
            let accounts = select.query_map((), |row| Ok(readable(row)))?;
            accounts.filter_map(Result::transpose).collect()
        };
        self.people.ask(select).await
    }

    async fn find(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        self.one("select * from accounts where email = ?1", email.as_str().to_owned()).await
    }

    async fn by_id(&self, user: UserId) -> Result<Option<Account>, StoreError> {
        self.one("select * from accounts where id = ?1", user.0.to_string()).await
    }

    async fn change(&self, user: UserId, change: Change) -> Result<bool, StoreError> {
        let user = user.0.to_string();
        let apply = move |connection: &Connection| {
            let changed = connection
                .prepare_cached(
                    "update accounts set disabled_at = iif(?2, ?3, disabled_at),
                            daily_requests = iif(?4, ?5, daily_requests), role = coalesce(?6, role)
                      where id = ?1",
                )?
                .execute((
                    &user,
                    change.disabled_at.is_some(),
                    change.disabled_at.flatten().map(|time| time.rfc3339_micros()),
                    change.daily_requests.is_some(),
                    change.daily_requests.flatten(),
                    change.role.map(Role::as_str),
                ))?;
            if change.disabled_at.flatten().is_some() {
                connection.prepare_cached("delete from sessions where user_id = ?1")?.execute([&user])?;
                withdraw_links(connection, &user)?;
            }
            Ok(changed == 1)
        };
        let changed = self.in_transaction(apply).await?;
        self.note_change();
        Ok(changed)
    }

    async fn password(&self, user: UserId) -> Result<Option<PasswordHash>, StoreError> {
        let select = move |connection: &mut Connection| {
            connection
                .prepare_cached("select hash from passwords where user_id = ?1")?
                .query_row([user.0.to_string()], |row| row.get(0).map(PasswordHash::stored))
                .optional()
        };
        self.people.ask(select).await
    }

    async fn set_password(
        &self,
        user: UserId,
        password: PasswordHash,
        keep: Option<[u8; 32]>,
    ) -> Result<bool, StoreError> {
        let user = user.0.to_string();
        let set = move |connection: &Connection| {
            let known = connection.prepare_cached("select 1 from accounts where id = ?1")?.exists([&user])?;
            if known {
                choose(connection, &user, &password)?;
                connection
                    .prepare_cached(
                        "delete from sessions where user_id = ?1 and token_hash is not ?2
                            and (renewed_hash is null or renewed_hash is not ?2)",
                    )?
                    .execute((&user, keep))?;
                withdraw_links(connection, &user)?;
            }
            Ok(known)
        };
        self.in_transaction(set).await
    }
}

impl Sqlite {
    async fn one(&self, select: &'static str, by: String) -> Result<Option<Account>, StoreError> {
        self.people.ask(move |connection| connection.prepare_cached(select)?.query_row([by], account).optional()).await
    }
}

/// False where the address, or the id, is taken.
fn insert(connection: &Connection, account: &Account) -> rusqlite::Result<bool> {
    let inserted = connection
        .prepare_cached(
            "insert into accounts (id, email, created_at, disabled_at, daily_requests, role)
             values (?1, ?2, ?3, ?4, ?5, ?6) on conflict do nothing",
        )?
        .execute((
            account.id.0.to_string(),
            account.email.as_str(),
            account.created_at.rfc3339_micros(),
            account.disabled_at.map(|time| time.rfc3339_micros()),
            account.daily_requests,
            account.role.as_str(),
        ))?;
    Ok(inserted == 1)
}

fn choose(connection: &Connection, user: &str, password: &PasswordHash) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "insert into passwords (user_id, hash, changed_at) values (?1, ?2, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
             on conflict (user_id) do update set hash = excluded.hash, changed_at = excluded.changed_at",
        )?
        .execute((user, password.as_str()))
        .map(drop)
}

/// Whoever holds one could sign in past a password that was chosen because the one before was known.
fn withdraw_links(connection: &Connection, user: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("delete from links where user_id = ?1")?.execute([user]).map(drop)
}

fn readable(row: &Row<'_>) -> Option<Account> {
    let told = |error: &rusqlite::Error| {
        let user: Option<String> = row.get("id").ok();
        tracing::error!(?user, %error, "an account that cannot be read is left out of the list");
    };
    account(row).inspect_err(told).ok()
}

/// Of a row with every column of `accounts`.
pub(super) fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: UserId(text::uuid(row, "id")?),
        email: text::read(row.get("email")?, "an e-mail address", |email| Email::kept(email).ok())?,
        created_at: text::time(row, "created_at")?,
        disabled_at: text::optional_time(row, "disabled_at")?,
        daily_requests: row.get("daily_requests")?,
        role: text::read(row.get("role")?, "a role", Role::parse)?,
    })
}
