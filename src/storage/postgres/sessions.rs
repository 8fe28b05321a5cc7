//! [`SessionStore`] over the table `cfx.sessions`.

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Postgres;
use super::accounts::account;
use super::pool::{Statement, Value, value};
use super::rows::{column, time, to_system};
use crate::identity::{Renewal, Session, SessionStore, Shown, Signed};
use crate::units::{StoreError, Timestamp, UserId};

/// What is over goes by the hundred, so that nobody who signs in waits for a great clearing-up; rows that somebody else is
/// clearing away are passed over.
const OPEN: Statement = Statement {
    sql: "with forgotten as (
              delete from cfx.sessions where token_hash in (
                  select token_hash from cfx.sessions where expires_at <= $3
                   order by expires_at limit 100 for update skip locked)
          )
          insert into cfx.sessions (token_hash, user_id, created_at, began_at, expires_at) values ($1, $2, $3, $4, $5)",
    types: SESSION,
};
const SIGNED: Statement = Statement {
    sql: "select account.id, account.email, account.created_at, account.disabled_at, account.daily_requests, account.role,
                 session.token_hash, session.began_at, session.renewed_with, session.renewed_until,
                 session.token_hash = $1 as is_present,
                 case when session.token_hash = $1 then session.created_at else session.began_at end as made_at,
                 case when session.token_hash = $1 then session.expires_at else session.renewed_until end as expires_at,
                 exists (select from cfx.passwords as password where password.user_id = account.id) as has_password
            from cfx.sessions as session join cfx.accounts as account on account.id = session.user_id
           where (session.token_hash = $1 and session.expires_at > $2
                  or session.renewed_hash = $1 and session.renewed_until > $2)
             and account.disabled_at is null",
    types: &[Type::BYTEA, Type::TIMESTAMPTZ],
};
const REPLACE: Statement = Statement {
    sql: "update cfx.sessions set token_hash = $1, created_at = $3, began_at = $4, expires_at = $5,
                 renewed_hash = token_hash, renewed_with = $7, renewed_until = least($5, expires_at)
           where token_hash = $6 and user_id = $2 and expires_at > $3
          returning user_id",
    types: &[
        Type::BYTEA,
        Type::UUID,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::BYTEA,
        Type::BYTEA,
    ],
};
const ARRIVED: Statement = Statement {
    sql: "update cfx.sessions set renewed_until = $2 where token_hash = $1 and renewed_until > $2",
    types: &[Type::BYTEA, Type::TIMESTAMPTZ],
};
const END: Statement = Statement {
    sql: "delete from cfx.sessions where token_hash = $1 or renewed_hash = $1 returning user_id",
    types: &[Type::BYTEA],
};
const SESSION: &[Type] = &[Type::BYTEA, Type::UUID, Type::TIMESTAMPTZ, Type::TIMESTAMPTZ, Type::TIMESTAMPTZ];

#[async_trait]
impl SessionStore for Postgres {
    async fn open(&self, session: Session) -> Result<(), StoreError> {
        self.people.query(&OPEN, values(&session)).await?;
        Ok(())
    }

    async fn signed(&self, token_hash: [u8; 32], now: Timestamp) -> Result<Option<Signed>, StoreError> {
        let rows = self.people.query(&SIGNED, vec![value(token_hash.to_vec()), value(to_system(now))]).await?;
        rows.first().map(signed).transpose()
    }

    async fn replace(&self, token_hash: [u8; 32], renewal: Renewal) -> Result<bool, StoreError> {
        let mut values = values(&renewal.session);
        values.extend([value(token_hash.to_vec()), value(renewal.salt.to_vec())]);
        Ok(!self.people.query(&REPLACE, values).await?.is_empty())
    }

    async fn arrived(&self, token_hash: [u8; 32], until: Timestamp) -> Result<(), StoreError> {
        self.people.query(&ARRIVED, vec![value(token_hash.to_vec()), value(to_system(until))]).await?;
        Ok(())
    }

    async fn end(&self, token_hash: [u8; 32]) -> Result<bool, StoreError> {
        Ok(!self.people.query(&END, vec![value(token_hash.to_vec())]).await?.is_empty())
    }
}

/// The parameters that [`SESSION`] lists.
fn values(session: &Session) -> Vec<Value> {
    vec![
        value(session.token_hash.to_vec()),
        value(session.user.0),
        value(to_system(session.created_at)),
        value(to_system(session.began_at)),
        value(to_system(session.expires_at)),
    ]
}

fn signed(row: &Row) -> Result<Signed, StoreError> {
    let bytes = |bytes: &[u8]| <[u8; 32]>::try_from(bytes);
    let odd = |_| StoreError("a session's hash has another length".to_owned());
    let salt: Option<&[u8]> = column(row, "renewed_with")?;
    let shown = match salt {
        Some(salt) if !column::<bool>(row, "is_present")? => Shown::Before(bytes(salt).map_err(odd)?),
        Some(_) => Shown::Present(Some(time(row, "renewed_until")?)),
        None => Shown::Present(None),
    };
    Ok(Signed {
        shown,
        account: account(row)?,
        has_password: column(row, "has_password")?,
        session: Session {
            token_hash: bytes(column(row, "token_hash")?).map_err(odd)?,
            user: UserId(column(row, "id")?),
            created_at: time(row, "made_at")?,
            began_at: time(row, "began_at")?,
            expires_at: time(row, "expires_at")?,
        },
    })
}
