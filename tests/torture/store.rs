//! Where the rows go, and what is found there at the end.

use std::fmt;
use std::path::Path;

use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::harness::process::DATABASE_URL;
use crate::harness::rows;
use crate::postgres::Database;

/// The edge's store.
pub enum Store {
    /// The file in its folder.
    Sqlite,
    /// A database that is dropped at the end.
    Postgres(Runtime, Database),
}

impl Store {
    /// As `TORTURE_STORE` says; the embedded one where it says nothing.
    pub fn chosen() -> Self {
        match std::env::var("TORTURE_STORE").unwrap_or_default().as_str() {
            "" | "sqlite" => Self::Sqlite,
            "postgres" => {
                let runtime = Runtime::new().expect("a runtime");
                let database = runtime.block_on(Database::fresh());
                DATABASE_URL.set(database.url()).expect("set once");
                Self::Postgres(runtime, database)
            }
            other => panic!("TORTURE_STORE={other} is neither sqlite nor postgres"),
        }
    }

    pub fn read(&self, data: &Path) -> Found {
        match self {
            Self::Sqlite => from_sqlite(data),
            Self::Postgres(runtime, database) => runtime.block_on(from_postgres(database)),
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres(..) => "postgres",
        })
    }
}

pub struct Found {
    pub rows: Vec<Row>,
    /// What all counters say together.
    pub counted: i64,
}

#[derive(Debug)]
pub struct Row {
    pub request: String,
    pub status: String,
    pub error: String,
    pub attempts: i64,
    /// Whether its tokens are the edge's guess: without an answer, so that the edge takes it for read by the upstream.
    pub estimated: bool,
    pub latency: i64,
}

impl Row {
    pub fn was_stopped(&self) -> bool {
        self.error == "edge stopped"
    }

    /// When it came, in milliseconds since the epoch, as its id says.
    pub fn began(&self) -> u64 {
        let id = Uuid::parse_str(&self.request).expect("a UUID");
        let (seconds, nanos) = id.get_timestamp().expect("a UUIDv7").to_unix();
        seconds * 1_000 + u64::from(nanos) / 1_000_000
    }

    /// When it had ended, as its edge says.
    pub fn ended(&self) -> u64 {
        self.began() + u64::try_from(self.latency).expect("no time before its beginning")
    }
}

fn from_sqlite(data: &Path) -> Found {
    let store = rows::Store::open(data);
    let rows = store.rows().into_iter().map(|row| Row {
        request: row.text("request_id").to_string(),
        status: row.text("status").to_string(),
        error: row.text("error_message").to_string(),
        attempts: row.number("attempts"),
        estimated: row.number("estimated") != 0,
        latency: row.number("latency_ms"),
    });
    Found { rows: rows.collect(), counted: store.counted_requests() }
}

async fn from_postgres(database: &Database) -> Found {
    let client = database.connect().await;
    let logs = "select request_id::text, status, coalesce(error_message, ''), attempts::bigint, estimated, \
                latency_ms::bigint from request_logs";
    let rows = client.query(logs, &[]).await.expect("request_logs");
    let counters = "select coalesce(sum(request_count), 0)::bigint from usage_counters";
    let counted = client.query_one(counters, &[]).await.expect("usage_counters").get(0);
    let rows = rows.iter().map(|row| Row {
        request: row.get(0),
        status: row.get(1),
        error: row.get(2),
        attempts: row.get(3),
        estimated: row.get(4),
        latency: row.get(5),
    });
    Found { rows: rows.collect(), counted }
}
