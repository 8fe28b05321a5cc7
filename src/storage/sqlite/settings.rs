//! [`PepperStore`] over the table `settings`.

use async_trait::async_trait;
use rusqlite::Connection;

use crate::admission::PepperStore;
use crate::storage::sqlite::Sqlite;
use crate::units::StoreError;

const PEPPER: &str = "pepper_fingerprint";

#[async_trait]
impl PepperStore for Sqlite {
    async fn pepper_fingerprint(&self, fresh: &str) -> Result<String, StoreError> {
        let fresh = fresh.to_owned();
        let settle = move |connection: &Connection| {
            connection
                .prepare_cached("insert into settings (name, value) values (?1, ?2) on conflict (name) do nothing")?
                .execute((PEPPER, fresh))?;
            connection
                .prepare_cached("select value from settings where name = ?1")?
                .query_row([PEPPER], |row| row.get(0))
        };
        self.in_transaction(settle).await
    }
}
