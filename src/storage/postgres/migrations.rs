//! The numbered files of `migrations/postgres`, each applied once, in order, all missing ones in one transaction.
//!
//! Every statement is either inside that transaction or complete in itself, so that a pooler that hands out
//! connections by the transaction may stand in between.
//!
//! Failure stance: closed. A database that is not as this program's files would have made it is not worked on; the
//! error says what was found and what to do.

use sha2::{Digest, Sha256};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient, IsolationLevel};

use crate::storage::postgres::told;
use crate::storage::{Migration, Newer, Standing};

/// The first version whose views can be read with the reader's rights, and which the tests run on.
const OLDEST_SERVER: i32 = 150_000;

/// A file, and a condition that holds once it was applied, by which a database that only half remembers is found out.
pub(super) struct Known {
    pub(super) migration: Migration,
    trace: &'static str,
}

macro_rules! known {
    ($version:literal, $name:literal, $trace:literal) => {
        Known {
            migration: Migration {
                version: $version,
                name: $name,
                sql: include_str!(concat!("../../../migrations/postgres/", $name, ".sql")),
            },
            trace: $trace,
        }
    };
}

/// In order.
pub(super) const ALL: &[Known] = &[
    // Roles belong to the server: that they are there says nothing about this database.
    known!(1, "0001_roles", "null::boolean"),
    known!(2, "0002_tables", "to_regclass('public.request_logs') is not null"),
    known!(3, "0003_partitions", "to_regprocedure('cfx.ensure_partitions(date, integer)') is not null"),
    known!(4, "0004_access", "to_regprocedure('cfx.session_user_id()') is not null"),
    known!(5, "0005_key_notices", "to_regprocedure('cfx.keys_changed()') is not null"),
    known!(10, "0010_quota", "to_regprocedure('cfx.beat(uuid)') is not null"),
    known!(11, "0011_identity", "to_regclass('cfx.passwords') is not null"),
    known!(12, "0012_usage", "to_regclass('cfx.usage_splits') is not null"),
    known!(13, "0013_own_channels", "to_regprocedure('cfx.say(text, text)') is not null"),
    known!(14, "0014_log_filters", "to_regclass('public.request_logs_kind') is not null"),
    known!(15, "0015_key_room", "to_regprocedure('cfx.room_for_key(uuid, bigint, timestamptz)') is not null"),
    known!(
        16,
        "0016_kept_plans",
        "to_regprocedure('cfx.overview(uuid, date, date, timestamptz, timestamptz)') is not null"
    ),
    known!(17, "0017_renewed_sessions", "to_regclass('cfx.sessions_renewed') is not null"),
    // Another form of what is there already: that it is there says nothing.
    known!(18, "0018_larger_leases", "null::boolean"),
];

/// Why a database cannot be brought to this program's form.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error("the server is Postgres {0}, cfx needs 15 or later: point DATABASE_URL at a newer server")]
    OldServer(String),
    #[error(transparent)]
    Newer(#[from] Newer),
    #[error(
        "cfx.schema_migrations names {found}, which this cfx does not know: the database belongs to another program or \
         to a build of its own; point DATABASE_URL at the right one, or run the cfx that made it"
    )]
    Foreign { found: String },
    #[error(
        "migration {name} was applied to this database in another form than this cfx has it (checksum {applied}, here \
         {here}): run the cfx that applied it, or restore a copy that this one made"
    )]
    Changed { name: &'static str, applied: String, here: String },
    #[error(
        "the database is half migrated: {finding}. Restore a whole copy, or point DATABASE_URL at an empty database"
    )]
    HalfApplied { finding: String },
    #[error(
        "the role {role} may not bring the database to this version's form ({said}): let the database's owner run \
         `cfx migrate` (it makes roles, so with CREATEROLE the first time), or put the owner's login into DATABASE_URL"
    )]
    NoRights { role: String, said: String },
    #[error(
        "the server takes no writes ({said}): it is a standby, or was set read-only; point DATABASE_URL at the primary"
    )]
    ReadOnly { said: String },
    #[error(
        "another session holds what the migration needs for more than a minute ({said}): see pg_locks, then try again"
    )]
    Locked { said: String },
    #[error("migration {name}: {said}")]
    Failed { name: &'static str, said: String },
    #[error("{}", told(.0))]
    Database(#[from] tokio_postgres::Error),
}

impl MigrationError {
    /// Whether trying again later may help. All else needs a person.
    pub fn is_passing(&self) -> bool {
        match self {
            MigrationError::Locked { .. } => true,
            MigrationError::Database(error) => error.code().is_none_or(is_passing),
            _ => false,
        }
    }
}

/// Applies what is missing, and yields it. Two edges may do this at once: the second waits and finds nothing to do.
pub async fn apply(client: &mut Client) -> Result<Vec<Migration>, MigrationError> {
    if pending(client).await?.is_empty() {
        return Ok(Vec::new());
    }
    let role = client.query_typed("select quote_ident(current_user::text)", &[]).await?;
    let role: String = role.first().map_or_else(|| Ok(String::new()), |row| row.try_get(0))?;
    apply_as_one(client).await.map_err(|error| explain(error, role))
}

/// What is missing, in order. An error where the database is not in a form that [`apply`] could go on from.
pub async fn pending(client: &(impl GenericClient + Sync)) -> Result<Vec<Migration>, MigrationError> {
    let standing = status(client).await?;
    Ok(standing.into_iter().filter(|one| one.applied_at.is_none()).map(|one| one.migration).collect())
}

/// Every migration this program knows, in order, and when it was applied. Errors as for [`pending`].
pub async fn status(client: &(impl GenericClient + Sync)) -> Result<Vec<Standing>, MigrationError> {
    let server = "select current_setting('server_version_num')::integer, current_setting('server_version'),
                         quote_ident(current_user::text)";
    let server = client.query_typed_one(server, &[]).await?;
    let (number, version, role): (i32, String, String) = (server.try_get(0)?, server.try_get(1)?, server.try_get(2)?);
    if number < OLDEST_SERVER {
        return Err(MigrationError::OldServer(version));
    }
    standing(client).await.map_err(|error| explain(error, role))
}

async fn standing(client: &(impl GenericClient + Sync)) -> Result<Vec<Standing>, MigrationError> {
    loop {
        let records = read_records(client).await?;
        let judged = judge(&records, &read_traces(client).await?);
        // Read one after the other, the two also differ where another edge migrated in between. That shows in the
        // records, which only grow, so that this ends.
        if matches!(judged, Err(MigrationError::HalfApplied { .. })) && read_records(client).await? != records {
            continue;
        }
        return judged;
    }
}

/// One row of `cfx.schema_migrations`.
#[derive(PartialEq)]
struct Record {
    version: i32,
    name: String,
    checksum: String,
    applied_at: String,
}

/// By version; none where the table is not there.
async fn read_records(client: &(impl GenericClient + Sync)) -> Result<Vec<Record>, tokio_postgres::Error> {
    // From the catalogue itself: what a look-up by name found missing is remembered as missing for a while.
    let table = "select 1 from pg_catalog.pg_class as class
                 join pg_catalog.pg_namespace as schema on schema.oid = class.relnamespace
                 where class.relname = 'schema_migrations' and schema.nspname = 'cfx'";
    if client.query_typed(table, &[]).await?.is_empty() {
        return Ok(Vec::new());
    }
    let select = "select version, name, checksum,
                         to_char(applied_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
                  from cfx.schema_migrations order by version";
    let rows = match client.query_typed(select, &[]).await {
        // Made a moment ago: a commit is visible a little before other sessions are told to forget what they remember.
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(Vec::new()),
        rows => rows?,
    };
    let record = |row: &tokio_postgres::Row| {
        Ok(Record {
            version: row.try_get(0)?,
            name: row.try_get(1)?,
            checksum: row.try_get(2)?,
            applied_at: row.try_get(3)?,
        })
    };
    rows.iter().map(record).collect()
}

/// The trace of each migration, in order.
async fn read_traces(client: &(impl GenericClient + Sync)) -> Result<Vec<Option<bool>>, tokio_postgres::Error> {
    let traces: Vec<_> = ALL.iter().map(|known| format!("({}, {})", known.migration.version, known.trace)).collect();
    let select = format!("select there from (values {}) as trace (version, there) order by version", traces.join(", "));
    client.query_typed(&select, &[]).await?.iter().map(|row| row.try_get(0)).collect()
}

/// Holds what the database remembers, and what it shows, against the files.
fn judge(records: &[Record], traces: &[Option<bool>]) -> Result<Vec<Standing>, MigrationError> {
    let known = ALL.last().map_or(0, |known| known.migration.version);
    let found = records.last().and_then(|record| u32::try_from(record.version).ok()).unwrap_or(0);
    if found > known {
        return Err(Newer { found, known }.into());
    }
    if let Some(record) = records.iter().find(|record| ALL.iter().all(|known| !is_of(record, &known.migration))) {
        return Err(MigrationError::Foreign { found: record.name.clone() });
    }
    let half = |finding: String| Err(MigrationError::HalfApplied { finding });
    let mut standing = Vec::with_capacity(ALL.len());
    for (Known { migration, .. }, trace) in ALL.iter().zip(traces) {
        let name = migration.name;
        let record = records.iter().find(|record| is_of(record, migration));
        match record {
            Some(_) if *trace == Some(false) => {
                return half(format!(
                    "cfx.schema_migrations says that {name} was applied, but what it makes is not there"
                ));
            }
            Some(record) if record.checksum != checksum(migration) => {
                let (applied, here) = (record.checksum.clone(), checksum(migration));
                return Err(MigrationError::Changed { name, applied, here });
            }
            None if *trace == Some(true) => {
                return half(format!(
                    "what {name} makes is there, but cfx.schema_migrations does not say that it was applied"
                ));
            }
            None if found > migration.version => {
                return half(format!("cfx.schema_migrations goes up to version {found}, and {name} is not in it"));
            }
            _ => {}
        }
        let applied_at = record.map(|record| record.applied_at.clone());
        standing.push(Standing { migration: *migration, applied_at });
    }
    Ok(standing)
}

fn is_of(record: &Record, migration: &Migration) -> bool {
    u32::try_from(record.version) == Ok(migration.version) && record.name == migration.name
}

/// SHA-256 of the file, its first 16 hexadecimal digits: it tells edits apart, it defends against nobody.
pub(super) fn checksum(migration: &Migration) -> String {
    let digest = Sha256::digest(migration.sql);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

async fn apply_as_one(client: &mut Client) -> Result<Vec<Migration>, MigrationError> {
    // Read committed, whatever the role's default: what the other edge committed while this one waited must be seen.
    let transaction = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    transaction.batch_execute("set local lock_timeout = '60s'; set local statement_timeout = 0").await?;
    transaction.batch_execute(MEMORY).await?;
    transaction.batch_execute(LOCK).await?;
    // Asked again under the lock: another edge may have been first.
    let missing = pending(&transaction).await?;
    for migration in &missing {
        let failed = |error: tokio_postgres::Error| in_migration(migration.name, error);
        transaction.batch_execute(migration.sql).await.map_err(failed)?;
        let insert = "insert into cfx.schema_migrations (version, name, checksum) values ($1::text::integer, $2, $3)";
        let (version, checksum) = (migration.version.to_string(), checksum(migration));
        transaction
            .query_typed(insert, &[(&version, Type::TEXT), (&migration.name, Type::TEXT), (&checksum, Type::TEXT)])
            .await?;
    }
    transaction.commit().await?;
    Ok(missing)
}

/// Asks before it makes: a role that may not make a schema may still work on one that is there. Who makes them while
/// another edge does waits until that one is done, is told that they are there, and looks again.
const MEMORY: &str = "do $$
begin
    loop
        begin
            if to_regnamespace('cfx') is null then
                create schema cfx;
            end if;
            if to_regclass('cfx.schema_migrations') is null then
                create table cfx.schema_migrations (
                    version    integer primary key,
                    name       text not null,
                    checksum   text not null,
                    applied_at timestamptz not null default now()
                );
            end if;
            exit;
        exception when unique_violation or duplicate_schema or duplicate_table then
            null;
        end;
    end loop;
end
$$";

/// One edge at a time. Of all locks this one because it takes the right to write to the table: an advisory lock can be held
/// by whoever can log in. Readers go on.
const LOCK: &str = "lock table cfx.schema_migrations in share row exclusive mode";

/// An error of one file; those that are not the file's fault stay what they are, for [`explain`].
fn in_migration(name: &'static str, error: tokio_postgres::Error) -> MigrationError {
    let of_the_place =
        [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::LOCK_NOT_AVAILABLE];
    match error.code() {
        Some(code) if !of_the_place.contains(code) && !is_passing(code) => {
            MigrationError::Failed { name, said: told(&error) }
        }
        _ => MigrationError::Database(error),
    }
}

/// Whether the server may answer otherwise later, by the class of its answer: the connection, a conflict with another
/// transaction, a lack of room, an operator who stops or starts it.
fn is_passing(code: &SqlState) -> bool {
    ["08", "40", "53", "57"].iter().any(|class| code.code().starts_with(class))
}

/// Says of an error from the server what it means here.
fn explain(error: MigrationError, role: String) -> MigrationError {
    let MigrationError::Database(error) = error else { return error };
    let said = told(&error);
    match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => MigrationError::NoRights { role, said },
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => MigrationError::ReadOnly { said },
        Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => MigrationError::Locked { said },
        _ => MigrationError::Database(error),
    }
}
