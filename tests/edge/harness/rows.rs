//! What the store says, read beside the running edge.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use super::client::PATIENCE;

/// The embedded store, opened for reading.
pub struct Store(Connection);

/// One row of `request_logs`, by column.
#[derive(Debug, Clone)]
pub struct Row(BTreeMap<String, Value>);

impl Store {
    pub fn open(data: &Path) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(data.join("cfx.db"), flags).expect("the store opens");
        connection.busy_timeout(PATIENCE).expect("a busy timeout");
        Self(connection)
    }

    /// The ledger, oldest first.
    pub fn rows(&self) -> Vec<Row> {
        let mut query =
            self.0.prepare("select * from request_logs order by created_at, request_id").expect("request_logs");
        let names: Vec<String> = query.column_names().map(ToString::to_string).collect();
        let read = |row: &rusqlite::Row<'_>| {
            let cell = |(at, name): (usize, &String)| Ok((name.clone(), row.get::<_, Value>(at)?));
            names.iter().enumerate().map(cell).collect::<rusqlite::Result<BTreeMap<_, _>>>().map(Row)
        };
        query.query_map([], read).and_then(Iterator::collect).expect("rows")
    }

    /// Rows, without reading them.
    pub fn count(&self) -> usize {
        let count = self.0.query_row("select count(*) from request_logs", [], |row| row.get::<_, i64>(0));
        count.ok().and_then(|count| usize::try_from(count).ok()).expect("request_logs")
    }

    /// What all users' counters of all days say together.
    pub fn counted_requests(&self) -> i64 {
        self.0
            .query_row("select coalesce(sum(request_count), 0) from usage_counters", [], |row| row.get(0))
            .expect("usage_counters")
    }

    /// Everything any text column of any table holds, for tests that look for what must not be there.
    pub fn all_text(&self) -> String {
        let mut names = self.0.prepare("select name from sqlite_master where type = 'table'").expect("tables");
        let names: Vec<String> = names.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("tables");
        let mut text = String::new();
        for name in names {
            let mut query = self.0.prepare(&format!("select * from \"{name}\"")).expect("a table");
            let columns = query.column_count();
            let mut rows = query.query([]).expect("rows");
            while let Ok(Some(row)) = rows.next() {
                for column in 0..columns {
                    if let Ok(cell) = row.get::<_, String>(column) {
                        text += &cell;
                        text.push('\n');
                    }
                }
            }
        }
        text
    }
}

impl Row {
    pub fn text(&self, column: &str) -> &str {
        match self.cell(column) {
            Value::Text(text) => text,
            Value::Null => "",
            other => panic!("{column} is {other:?}"),
        }
    }

    pub fn number(&self, column: &str) -> i64 {
        match self.cell(column) {
            Value::Integer(number) => *number,
            other => panic!("{column} is {other:?}"),
        }
    }

    /// Whether the column holds nothing.
    pub fn is_null(&self, column: &str) -> bool {
        matches!(self.cell(column), Value::Null)
    }

    pub fn flag(&self, column: &str) -> bool {
        self.number(column) == 1
    }

    /// What it cost, in billionths of a dollar.
    pub fn nano_usd(&self) -> i64 {
        self.number("cost_nano_usd")
    }

    /// Input, output and total tokens.
    pub fn tokens(&self) -> (i64, i64, i64) {
        (self.number("input_tokens"), self.number("output_tokens"), self.number("total_tokens"))
    }

    fn cell(&self, column: &str) -> &Value {
        self.0.get(column).unwrap_or_else(|| panic!("request_logs has no column {column}: {:?}", self.0.keys()))
    }
}

/// The ledger once it has at least `count` rows. Rows are written behind the requests, and no sign of it reaches
/// a client: the store is asked again until they are there.
pub fn wait_for(data: &Path, count: usize) -> Vec<Row> {
    let store = Store::open(data);
    let deadline = Instant::now() + PATIENCE;
    while store.count() < count {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {count} rows: {:?}", store.rows());
        std::thread::sleep(Duration::from_millis(2));
    }
    store.rows()
}

/// Moves a key's end into the past, before it is used for the first time.
pub fn expire_key(data: &Path, key: &str) {
    let store = Connection::open(data.join("cfx.db")).expect("the store opens");
    store.busy_timeout(PATIENCE).expect("a busy timeout");
    let id = key.strip_prefix("cfx_live_").and_then(|rest| rest.get(..12)).expect("a key of ours");
    let past = "2020-01-01T00:00:00.000000Z";
    let changed = store.execute("update api_keys set expires_at = ?1 where public_id = ?2", [past, id]);
    assert_eq!(changed.ok(), Some(1), "one key");
}
