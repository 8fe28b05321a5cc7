//! Keys that were made for minutes go for good when nobody asks for them any more.

use rusqlite::Connection;

use crate::admission::ShortLived;
use crate::storage::sqlite::Sqlite;
use crate::units::{StoreError, Timestamp};

impl Sqlite {
    /// Deletes up to a thousand such keys that ended before then, and yields how many. They are looked for where nobody's key is
    /// waited for.
    pub async fn forget_keys(&self, which: ShortLived, ended_before: Timestamp) -> Result<u32, StoreError> {
        let life = i64::try_from(which.life.as_secs()).unwrap_or(i64::MAX);
        let select = move |connection: &mut Connection| {
            connection
                .prepare_cached(
                    "select id from api_keys
                      where label = ?1 and expires_at < ?2 and unixepoch(expires_at) - unixepoch(created_at) = ?3
                      limit 1000",
                )?
                .query_map((which.label, ended_before.rfc3339_micros(), life), |row| row.get("id"))?
                .collect::<rusqlite::Result<Vec<String>>>()
        };
        let past = self.people.ask(select).await?;
        if past.is_empty() {
            return Ok(0);
        }
        let delete = move |connection: &Connection| {
            let mut delete = connection.prepare_cached("delete from api_keys where id = ?1")?;
            past.iter().map(|id| delete.execute([id])).sum::<rusqlite::Result<usize>>()
        };
        let gone = self.in_transaction(delete).await?;
        Ok(u32::try_from(gone).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::Disk;
    use crate::storage::conformance_of_keys::only_past_keys_of_minutes_go;

    #[tokio::test]
    async fn only_those_of_minutes_that_are_long_past_go() {
        let disk = Disk::new();
        let store = disk.open();
        let forget = Arc::clone(&store);
        only_past_keys_of_minutes_go(&*store, move |which, before| {
            let store = Arc::clone(&forget);
            async move { store.forget_keys(which, before).await.unwrap() }
        })
        .await;
    }
}
