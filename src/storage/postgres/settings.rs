//! [`PepperStore`] over the table `cfx.settings`.

use async_trait::async_trait;
use tokio_postgres::types::Type;

use super::Postgres;
use super::pool::{Statement, value};
use super::rows::column;
use crate::admission::PepperStore;
use crate::units::StoreError;

/// The update changes nothing; it makes the row that stands, or that another edge wrote a moment ago, the answer.
const FINGERPRINT: Statement = Statement {
    sql: "insert into cfx.settings as kept (name, value) values ('pepper_fingerprint', $1)
          on conflict (name) do update set value = kept.value returning value",
    types: &[Type::TEXT],
};

#[async_trait]
impl PepperStore for Postgres {
    async fn pepper_fingerprint(&self, fresh: &str) -> Result<String, StoreError> {
        let rows = self.pool.query(&FINGERPRINT, vec![value(fresh.to_owned())]).await?;
        let row = rows.first().ok_or_else(|| StoreError("the fingerprint was not answered".to_owned()))?;
        column(row, "value")
    }
}
