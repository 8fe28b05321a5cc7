//! The months of `request_logs`. The work is done by functions in the database, see
//! `migrations/postgres/0003_partitions.sql`; each call here is one statement, complete in itself.
//!
//! Failure stance: an error is told to the caller. Months are made long before they are needed, so one that fails is
//! tried again at the next turn; a row whose month is missing is refused by the database.

use tokio_postgres::types::Type;
use tokio_postgres::{Error, GenericClient};

use crate::units::Day;

/// How many months are kept ready: the present one and three ahead.
pub const READY: u32 = 4;

/// Makes the partitions of `months` months (1 to 120), the first of them the month of `first`, where they are missing.
/// Yields how many were made. Any number of edges may call this at once.
pub async fn ensure(client: &(impl GenericClient + Sync), first: Day, months: u32) -> Result<u32, Error> {
    let call = "select cfx.ensure_partitions($1::text::date, $2::text::integer)";
    count(client, call, &[first.iso(), months.to_string()]).await
}

/// Drops the months that ended more than `keep_months` (at least 1) whole months before the present one began. Yields
/// how many. Fails, changing nothing, where a long query holds one of them for more than two seconds.
pub async fn drop_expired(client: &(impl GenericClient + Sync), keep_months: u32) -> Result<u32, Error> {
    count(client, "select cfx.drop_expired_partitions($1::text::integer)", &[keep_months.to_string()]).await
}

/// Runs a call whose parameters are text and whose answer is one count.
async fn count(client: &(impl GenericClient + Sync), call: &str, parameters: &[String]) -> Result<u32, Error> {
    let parameters: Vec<_> = parameters.iter().map(|text| (text as _, Type::TEXT)).collect();
    let made: i32 = client.query_typed_one(call, &parameters).await?.try_get(0)?;
    Ok(made.unsigned_abs())
}
