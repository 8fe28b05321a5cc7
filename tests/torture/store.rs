//! What the store says at the end, whichever it is.

use std::ops::RangeInclusive;
use std::path::Path;

use crate::harness::process::DATABASE_URL;
use crate::harness::rows;

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
}

impl Row {
    pub fn was_stopped(&self) -> bool {
        self.error == "edge stopped"
    }
}

/// The quota's count is that of the requests: what a killed edge left open is settled by the OPENs of its spool.
pub fn assert_quota(counted: i64, admitted: RangeInclusive<usize>) {
    let counted = usize::try_from(counted).expect("a count");
    assert!(admitted.contains(&counted), "{counted} counted by the quota, {admitted:?} by the rows");
}

pub fn read(data: &Path) -> Found {
    match DATABASE_URL.get() {
        Some(url) => from_postgres(url),
        None => from_sqlite(data),
    }
}

fn from_sqlite(data: &Path) -> Found {
    let store = rows::Store::open(data);
    let rows = store.rows().into_iter().map(|row| Row {
        request: row.text("request_id").to_string(),
        status: row.text("status").to_string(),
        error: row.text("error_message").to_string(),
        attempts: row.number("attempts"),
    });
    Found { rows: rows.collect(), counted: store.counted_requests() }
}

fn from_postgres(url: &str) -> Found {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("the store");
        tokio::spawn(connection);
        let logs = "select request_id::text, status, coalesce(error_message, ''), attempts::bigint from request_logs";
        let rows = client.query(logs, &[]).await.expect("request_logs");
        let counters = "select coalesce(sum(request_count), 0)::bigint from usage_counters";
        let counted = client.query_one(counters, &[]).await.expect("usage_counters").get(0);
        let rows = rows.iter().map(|row| Row {
            request: row.get(0),
            status: row.get(1),
            error: row.get(2),
            attempts: row.get(3),
        });
        Found { rows: rows.collect(), counted }
    })
}
