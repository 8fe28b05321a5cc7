//! The numbered files of `migrations/sqlite`, each applied once, in order, all missing ones in one transaction.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

/// One file of `migrations/sqlite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    pub version: u32,
    pub name: &'static str,
    sql: &'static str,
}

/// In order of their versions.
pub(super) const ALL: &[Migration] = &[
    Migration { version: 1, name: "0001_tables", sql: include_str!("../../../migrations/sqlite/0001_tables.sql") },
    Migration {
        version: 3,
        name: "0003_edges_and_keys",
        sql: include_str!("../../../migrations/sqlite/0003_edges_and_keys.sql"),
    },
];

/// Why a database cannot be brought to this program's form.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrationError {
    #[error(
        "the database is at schema version {found}, this cfx knows versions up to {known}: run a newer cfx, or restore \
         the copy made before the upgrade"
    )]
    Newer { found: u32, known: u32 },
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
    Ok(transaction.commit()?)
}

/// What is missing, in order. An error where the database is newer than this program.
pub(super) fn pending(connection: &Connection) -> Result<Vec<Migration>, MigrationError> {
    let table = "select 1 from sqlite_master where type = 'table' and name = 'schema_migrations'";
    let found: u32 = match connection.query_row(table, (), |_| Ok(())).optional()? {
        None => 0,
        Some(()) => {
            connection.query_row("select coalesce(max(version), 0) from schema_migrations", (), |row| row.get(0))?
        }
    };
    let known = ALL.last().map_or(0, |migration| migration.version);
    if found > known {
        return Err(MigrationError::Newer { found, known });
    }
    Ok(ALL.iter().filter(|migration| migration.version > found).copied().collect())
}
