//! The numbered files of `migrations/sqlite`, each applied once, in order, all missing ones in one transaction.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::storage::{Migration, Newer, Standing};

macro_rules! migration {
    ($version:literal, $name:literal) => {
        Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../../../migrations/sqlite/", $name, ".sql")),
        }
    };
}

/// In order of their versions.
pub(super) const ALL: &[Migration] = &[
    migration!(1, "0001_tables"),
    migration!(2, "0002_spend"),
    migration!(3, "0003_edges_and_keys"),
    migration!(4, "0004_identity"),
    migration!(5, "0005_usage"),
    migration!(6, "0006_log_filters"),
    migration!(7, "0007_renewed_sessions"),
];

/// Why a database cannot be brought to this program's form.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrationError {
    #[error(transparent)]
    Newer(#[from] Newer),
    #[error("migration {name}: {source}")]
    Failed { name: &'static str, source: rusqlite::Error },
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

/// Applies what is missing. Two processes may do this at once: the second finds nothing left to do.
pub(super) fn apply(connection: &mut Connection) -> Result<(), MigrationError> {
    if pending(connection)?.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "create table if not exists schema_migrations (
             version integer primary key, name text not null, applied_at text not null)",
    )?;
    // Asked again under the lock: another process may have been first.
    for migration in pending(&transaction)? {
        let failed = |source| MigrationError::Failed { name: migration.name, source };
        transaction.execute_batch(migration.sql).map_err(failed)?;
        transaction.execute(
            "insert into schema_migrations values (?1, ?2, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
            (migration.version, migration.name),
        )?;
    }
    transaction.commit()?;
    // What a migration wrote would stay in the log of writes, and that as large, until the last connection closes. Another
    // that reads may keep it from being done: then it is done at a later checkpoint.
    let _ = connection.query_row("pragma wal_checkpoint(truncate)", (), |_| Ok(()));
    Ok(())
}

/// What is missing, in order. An error where the database is newer than this program.
pub(super) fn pending(connection: &Connection) -> Result<Vec<Migration>, MigrationError> {
    let standing = status(connection)?;
    Ok(standing.into_iter().filter(|one| one.applied_at.is_none()).map(|one| one.migration).collect())
}

/// Every migration this program knows, in order, and when it was applied. Errors as for [`pending`].
pub(super) fn status(connection: &Connection) -> Result<Vec<Standing>, MigrationError> {
    let table = "select 1 from sqlite_master where type = 'table' and name = 'schema_migrations'";
    let mut applied: HashMap<u32, String> = HashMap::new();
    if connection.query_row(table, (), |_| Ok(())).optional()?.is_some() {
        let mut select = connection.prepare("select version, applied_at from schema_migrations")?;
        applied = select.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    }
    let known = ALL.last().map_or(0, |migration| migration.version);
    let found = applied.keys().copied().max().unwrap_or(0);
    if found > known {
        return Err(Newer { found, known }.into());
    }
    let standing =
        |migration: &Migration| Standing { migration: *migration, applied_at: applied.remove(&migration.version) };
    Ok(ALL.iter().map(standing).collect())
}

#[cfg(test)]
mod tests {
    use crate::storage::sqlite::Sqlite;

    #[test]
    fn what_migrations_wrote_is_in_the_file_and_not_in_the_log_of_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cfx.db");
        let store = Sqlite::open(&path).unwrap();
        let log = std::fs::metadata(path.with_extension("db-wal"));
        assert_eq!(log.map(|log| log.len()).ok(), Some(0));
        drop(store);
    }
}
