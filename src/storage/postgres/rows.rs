//! How our nouns read in columns: times, days, stages, counts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::storage::log_rows::Columns;
use crate::units::{Day, Stage, StoreError, Timestamp};

/// A column by its name. An error where the database does not hold what we write there.
pub(super) fn column<'row, T: FromSql<'row>>(row: &'row Row, name: &str) -> Result<T, StoreError> {
    row.try_get(name).map_err(|error| StoreError(format!("column {name}: {error}")))
}

pub(super) fn time(row: &Row, name: &str) -> Result<Timestamp, StoreError> {
    Ok(from_system(column(row, name)?))
}

pub(super) fn optional_time(row: &Row, name: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(column::<Option<SystemTime>>(row, name)?.map(from_system))
}

/// A count that is never negative and never past 32 bits, as a limit and what is counted against it.
pub(super) fn count(row: &Row, name: &str) -> Result<u32, StoreError> {
    Ok(saturated(column(row, name)?))
}

pub(super) fn optional_count(row: &Row, name: &str) -> Result<Option<u32>, StoreError> {
    Ok(column::<Option<i64>>(row, name)?.map(saturated))
}

pub(super) fn stages(row: &Row, name: &str) -> Result<Option<Vec<Stage>>, StoreError> {
    let Some(names) = column::<Option<Vec<String>>>(row, name)? else { return Ok(None) };
    let stage = |name: &String| Stage::parse(name).ok_or_else(|| StoreError(format!("{name:?} is not a stage")));
    names.iter().map(stage).collect::<Result<_, _>>().map(Some)
}

impl Columns for Row {
    type Error = StoreError;

    fn text(&self, name: &str) -> Result<Option<String>, StoreError> {
        column(self, name)
    }

    fn number(&self, name: &str) -> Result<Option<i64>, StoreError> {
        column(self, name)
    }

    fn flag(&self, name: &str) -> Result<bool, StoreError> {
        column(self, name)
    }

    fn id(&self, name: &str) -> Result<Uuid, StoreError> {
        column(self, name)
    }

    fn time(&self, name: &str) -> Result<Timestamp, StoreError> {
        time(self, name)
    }

    /// As a number of days since 1970-01-01.
    fn day(&self, name: &str) -> Result<Day, StoreError> {
        let days: i64 = column(self, name)?;
        i32::try_from(days).map(Day).map_err(|_| Self::unreadable(days.to_string(), "a day"))
    }

    fn unreadable(text: String, what: &'static str) -> StoreError {
        StoreError(format!("{text:?} is not {what}"))
    }
}

/// The driver's form of an instant: microseconds, as ours.
pub(super) fn to_system(time: Timestamp) -> SystemTime {
    let distance = Duration::from_micros(time.0.unsigned_abs());
    if time.0 < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

fn from_system(time: SystemTime) -> Timestamp {
    let micros = |distance: Duration| i64::try_from(distance.as_micros()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp(micros(after)),
        Err(before) => Timestamp(-micros(before.duration())),
    }
}

fn saturated(count: i64) -> u32 {
    u32::try_from(count.max(0)).unwrap_or(u32::MAX)
}
