//! Keys that were made for minutes go for good when nobody asks for them any more.

use tokio_postgres::types::Type;

use super::Postgres;
use super::pool::{Statement, value};
use super::rows::{count, to_system};
use crate::admission::ShortLived;
use crate::units::{StoreError, Timestamp};

const FORGET: Statement = Statement {
    sql: "with gone as (
              delete from public.api_keys where id in (
                  select id from public.api_keys
                   where label = $1 and expires_at < $2 and expires_at - created_at = make_interval(secs => $3)
                   limit 1000 for update skip locked)
              returning id
          )
          select count(*) as gone from gone",
    types: &[Type::TEXT, Type::TIMESTAMPTZ, Type::FLOAT8],
};

impl Postgres {
    /// Deletes up to a thousand such keys that ended before then, and yields how many.
    pub async fn forget_keys(&self, which: ShortLived, ended_before: Timestamp) -> Result<u32, StoreError> {
        let values =
            vec![value(which.label.to_owned()), value(to_system(ended_before)), value(which.life.as_secs_f64())];
        let gone = self.pool.query(&FORGET, values).await?;
        gone.first().map_or(Ok(0), |row| count(row, "gone"))
    }
}
