//! [`AccountStore`] over the tables `cfx.accounts` and `cfx.passwords`.

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Postgres;
use super::pool::{Statement, value};
use super::rows::{column, optional_count, optional_time, time, to_system};
use crate::identity::{Account, AccountStore, Change, Email, PasswordHash, Role};
use crate::units::{StoreError, UserId};

const CREATE: Statement = Statement {
    sql: "with made as (
              insert into cfx.accounts (id, email, created_at, disabled_at, daily_requests, role)
              values ($1, $2, $3, $4, $5, $6) on conflict do nothing returning id
          ), chosen as (
              insert into cfx.passwords (user_id, hash) select id, $7 from made where $7 is not null
          )
          select id from made",
    types: &[Type::UUID, Type::TEXT, Type::TIMESTAMPTZ, Type::TIMESTAMPTZ, Type::INT8, Type::TEXT, Type::TEXT],
};
const LIST: Statement = Statement {
    sql: "select id, email, created_at, disabled_at, daily_requests, role from cfx.accounts order by email collate \"C\"",
    types: &[],
};
const FIND: Statement = Statement {
    sql: "select id, email, created_at, disabled_at, daily_requests, role from cfx.accounts where email = $1",
    types: &[Type::TEXT],
};
const BY_ID: Statement = Statement {
    sql: "select id, email, created_at, disabled_at, daily_requests, role from cfx.accounts where id = $1",
    types: &[Type::UUID],
};
const CHANGE: Statement = Statement {
    sql: "with changed as (
              update cfx.accounts
                 set disabled_at = case when $2 then $3 else disabled_at end,
                     daily_requests = case when $4 then $5 else daily_requests end,
                     role = coalesce($6, role)
               where id = $1
              returning id
          ), ended as (
              delete from cfx.sessions as session using changed
               where session.user_id = changed.id and $2 and $3 is not null
          ), withdrawn as (
              delete from cfx.links as link using changed
               where link.user_id = changed.id and $2 and $3 is not null
          )
          select id from changed",
    types: &[Type::UUID, Type::BOOL, Type::TIMESTAMPTZ, Type::BOOL, Type::INT8, Type::TEXT],
};
const PASSWORD: Statement =
    Statement { sql: "select hash from cfx.passwords where user_id = $1", types: &[Type::UUID] };
const SET_PASSWORD: Statement = Statement {
    sql: "with account as (
              select id from cfx.accounts where id = $1
          ), chosen as (
              insert into cfx.passwords (user_id, hash) select id, $2 from account
              on conflict (user_id) do update set hash = excluded.hash, changed_at = now()
          ), ended as (
              delete from cfx.sessions as session using account
               where session.user_id = account.id and session.token_hash is distinct from $3
                 and (session.renewed_hash is null or session.renewed_hash is distinct from $3)
          ), withdrawn as (
              delete from cfx.links as link using account where link.user_id = account.id
          )
          select id from account",
    types: &[Type::UUID, Type::TEXT, Type::BYTEA],
};

#[async_trait]
impl AccountStore for Postgres {
    async fn create(&self, account: Account, password: Option<PasswordHash>) -> Result<bool, StoreError> {
        let values = vec![
            value(account.id.0),
            value(account.email.as_str().to_owned()),
            value(to_system(account.created_at)),
            value(account.disabled_at.map(to_system)),
            value(account.daily_requests.map(i64::from)),
            value(account.role.as_str()),
            value(password.map(|hash| hash.as_str().to_owned())),
        ];
        Ok(!self.people.query(&CREATE, values).await?.is_empty())
    }

    async fn list(&self) -> Result<Vec<Account>, StoreError> {
        Ok(self.people.query(&LIST, vec![]).await?.iter().filter_map(readable).collect())
    }

    async fn find(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        let rows = self.people.query(&FIND, vec![value(email.as_str().to_owned())]).await?;
        rows.first().map(account).transpose()
    }

    async fn by_id(&self, user: UserId) -> Result<Option<Account>, StoreError> {
        self.people.query(&BY_ID, vec![value(user.0)]).await?.first().map(account).transpose()
    }

    async fn change(&self, user: UserId, change: Change) -> Result<bool, StoreError> {
        let values = vec![
            value(user.0),
            value(change.disabled_at.is_some()),
            value(change.disabled_at.flatten().map(to_system)),
            value(change.daily_requests.is_some()),
            value(change.daily_requests.flatten().map(i64::from)),
            value(change.role.map(Role::as_str)),
        ];
        let changed = !self.people.query(&CHANGE, values).await?.is_empty();
        if changed {
            // Whichever keys are theirs.
            self.heard.note_change(None);
        }
        Ok(changed)
    }

    async fn password(&self, user: UserId) -> Result<Option<PasswordHash>, StoreError> {
        let rows = self.people.query(&PASSWORD, vec![value(user.0)]).await?;
        rows.first().map(|row| column(row, "hash").map(PasswordHash::stored)).transpose()
    }

    async fn set_password(
        &self,
        user: UserId,
        password: PasswordHash,
        keep: Option<[u8; 32]>,
    ) -> Result<bool, StoreError> {
        let values =
            vec![value(user.0), value(password.as_str().to_owned()), value(keep.map(|token_hash| token_hash.to_vec()))];
        Ok(!self.people.query(&SET_PASSWORD, values).await?.is_empty())
    }
}

fn readable(row: &Row) -> Option<Account> {
    let told = |error: &StoreError| {
        let user = column::<Uuid>(row, "id").ok();
        tracing::error!(?user, %error, "an account that cannot be read is left out of the list");
    };
    account(row).inspect_err(told).ok()
}

/// Of a row with the columns that every question above asks for.
pub(super) fn account(row: &Row) -> Result<Account, StoreError> {
    Ok(Account {
        id: UserId(column(row, "id")?),
        email: Email::kept(column(row, "email")?).map_err(|error| StoreError(error.to_string()))?,
        created_at: time(row, "created_at")?,
        disabled_at: optional_time(row, "disabled_at")?,
        daily_requests: optional_count(row, "daily_requests")?,
        role: role(column(row, "role")?)?,
    })
}

pub(super) fn role(name: &str) -> Result<Role, StoreError> {
    Role::parse(name).ok_or_else(|| StoreError(format!("{name:?} is not a role")))
}
