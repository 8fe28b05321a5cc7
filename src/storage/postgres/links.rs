//! [`LinkStore`] over the table `cfx.links`.

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Postgres;
use super::accounts::role;
use super::pool::{Statement, value};
use super::rows::{column, to_system};
use crate::identity::{Email, Link, LinkStore, Purpose};
use crate::units::{StoreError, Timestamp, UserId};

/// As with sessions, what is over goes by the hundred.
const PUT: Statement = Statement {
    sql: "with forgotten as (
              delete from cfx.links where token_hash in (
                  select token_hash from cfx.links where expires_at <= $5
                   order by expires_at limit 100 for update skip locked)
          )
          insert into cfx.links (token_hash, user_id, email, role, created_at, expires_at)
          values ($1, $2, $3, $4, $5, $6)",
    types: &[Type::BYTEA, Type::UUID, Type::TEXT, Type::TEXT, Type::TIMESTAMPTZ, Type::TIMESTAMPTZ],
};
const LOOK: Statement = Statement {
    sql: "select user_id, email, role from cfx.links where token_hash = $1 and expires_at > $2",
    types: &[Type::BYTEA, Type::TIMESTAMPTZ],
};
/// Of two who delete the same row at once the second waits for the first and then finds it gone.
const TAKE: Statement = Statement {
    sql: "delete from cfx.links where token_hash = $1 and expires_at > $2 returning user_id, email, role",
    types: &[Type::BYTEA, Type::TIMESTAMPTZ],
};

#[async_trait]
impl LinkStore for Postgres {
    async fn put(&self, link: Link) -> Result<(), StoreError> {
        let (user, email, role) = match link.purpose {
            Purpose::SignIn(user) => (Some(user.0), None, None),
            Purpose::Invitation { email, role } => (None, email, Some(role.as_str())),
        };
        let values = vec![
            value(link.token_hash.to_vec()),
            value(user),
            value(email.map(|email| email.as_str().to_owned())),
            value(role),
            value(to_system(link.created_at)),
            value(to_system(link.expires_at)),
        ];
        self.people.query(&PUT, values).await?;
        Ok(())
    }

    async fn look(&self, token_hash: [u8; 32], now: Timestamp) -> Result<Option<Purpose>, StoreError> {
        self.purpose(&LOOK, token_hash, now).await
    }

    async fn take(&self, token_hash: [u8; 32], now: Timestamp) -> Result<Option<Purpose>, StoreError> {
        self.purpose(&TAKE, token_hash, now).await
    }
}

impl Postgres {
    async fn purpose(
        &self,
        statement: &'static Statement,
        token_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<Purpose>, StoreError> {
        let rows = self.people.query(statement, vec![value(token_hash.to_vec()), value(to_system(now))]).await?;
        rows.first().map(purpose).transpose()
    }
}

fn purpose(row: &Row) -> Result<Purpose, StoreError> {
    if let Some(user) = column::<Option<Uuid>>(row, "user_id")? {
        return Ok(Purpose::SignIn(UserId(user)));
    }
    let email = column::<Option<&str>>(row, "email")?.map(Email::kept).transpose();
    Ok(Purpose::Invitation {
        email: email.map_err(|error| StoreError(error.to_string()))?,
        role: role(column(row, "role")?)?,
    })
}
