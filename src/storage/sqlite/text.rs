//! How our nouns read in columns: UUIDs, RFC 3339 times, JSON lists.

use rusqlite::Row;
use rusqlite::types::Type;
use uuid::Uuid;

use crate::storage::log_rows::Columns;
use crate::units::{Day, Stage, Timestamp};

/// A column that does not hold what we write there.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not {1}")]
struct Unreadable(String, &'static str);

pub(super) fn uuid(row: &Row<'_>, column: &str) -> rusqlite::Result<Uuid> {
    let text: String = row.get(column)?;
    read(text, "a UUID", |text| Uuid::parse_str(text).ok())
}

pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    let text: String = row.get(column)?;
    read(text, "a time", Timestamp::parse)
}

pub(super) fn optional_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| read(text, "a time", Timestamp::parse)).transpose()
}

pub(super) fn day(row: &Row<'_>, column: &str) -> rusqlite::Result<Day> {
    let text: String = row.get(column)?;
    read(text, "a day", |text| Timestamp::parse(&format!("{text}T00:00:00Z")).map(Timestamp::day))
}

pub(super) fn stages(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Vec<Stage>>> {
    let stage = |name: String| Stage::parse(&name);
    let Some(names) = list(row, column)? else { return Ok(None) };
    let text = names.join(",");
    read(text, "a list of stages", |_| names.into_iter().map(stage).collect()).map(Some)
}

pub(super) fn list(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Vec<String>>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| read(text, "a JSON list", |text| serde_json::from_str(text).ok())).transpose()
}

/// The JSON form of a list of names.
pub(super) fn json<'names>(names: impl IntoIterator<Item = &'names str>) -> String {
    serde_json::Value::from_iter(names).to_string()
}

pub(super) fn read<T>(text: String, what: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> rusqlite::Result<T> {
    match parse(&text) {
        Some(value) => Ok(value),
        None => Err(Row::unreadable(text, what)),
    }
}

impl Columns for Row<'_> {
    type Error = rusqlite::Error;

    fn text(&self, name: &str) -> rusqlite::Result<Option<String>> {
        self.get(name)
    }

    fn number(&self, name: &str) -> rusqlite::Result<Option<i64>> {
        self.get(name)
    }

    fn flag(&self, name: &str) -> rusqlite::Result<bool> {
        self.get(name)
    }

    fn id(&self, name: &str) -> rusqlite::Result<Uuid> {
        uuid(self, name)
    }

    fn time(&self, name: &str) -> rusqlite::Result<Timestamp> {
        time(self, name)
    }

    fn day(&self, name: &str) -> rusqlite::Result<Day> {
        day(self, name)
    }

    fn unreadable(text: String, what: &'static str) -> rusqlite::Error {
        rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(Unreadable(text, what)))
    }
}
