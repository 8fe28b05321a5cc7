//! [`AccountStore`] over the table `cfx.accounts`.

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Postgres;
use super::pool::{Statement, value};
use super::rows::{column, optional_count, optional_time, time, to_system};
use crate::identity::{Account, AccountStore, Email};
use crate::units::{StoreError, UserId};

const CREATE: Statement = Statement {
    sql: "insert into cfx.accounts (id, email, created_at, disabled_at, daily_requests)
          values ($1, $2, $3, $4, $5) on conflict (email) do nothing returning id",
    types: &[Type::UUID, Type::TEXT, Type::TIMESTAMPTZ, Type::TIMESTAMPTZ, Type::INT8],
};
const LIST: Statement = Statement {
    sql: "select id, email, created_at, disabled_at, daily_requests from cfx.accounts order by email collate \"C\"",
    types: &[],
};
const FIND: Statement = Statement {
    sql: "select id, email, created_at, disabled_at, daily_requests from cfx.accounts where email = $1",
    types: &[Type::TEXT],
};

#[async_trait]
impl AccountStore for Postgres {
    async fn create(&self, account: Account) -> Result<bool, StoreError> {
        let values = vec![
            value(account.id.0),
            value(account.email.as_str().to_owned()),
            value(to_system(account.created_at)),
            value(account.disabled_at.map(to_system)),
            value(account.daily_requests.map(i64::from)),
        ];
        Ok(!self.pool.query(&CREATE, values).await?.is_empty())
    }

    async fn list(&self) -> Result<Vec<Account>, StoreError> {
        self.pool.query(&LIST, vec![]).await?.iter().map(account).collect()
    }

    async fn find(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        let rows = self.pool.query(&FIND, vec![value(email.as_str().to_owned())]).await?;
        rows.first().map(account).transpose()
    }
}

fn account(row: &Row) -> Result<Account, StoreError> {
    Ok(Account {
        id: UserId(column(row, "id")?),
        email: Email::parse(column(row, "email")?).map_err(|error| StoreError(error.to_string()))?,
        created_at: time(row, "created_at")?,
        disabled_at: optional_time(row, "disabled_at")?,
        daily_requests: optional_count(row, "daily_requests")?,
    })
}
