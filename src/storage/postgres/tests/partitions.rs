//! The months of the log: made ahead, closed from the first moment, dropped when their time is over.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tokio_postgres::Client;

use super::{ADA_AND_BOB, migrated};
use crate::storage::postgres::partitions::{READY, drop_expired, ensure};
use crate::storage::support::postgres::Database;
use crate::units::{Day, Timestamp};

fn day(text: &str) -> Day {
    Timestamp::parse(&format!("{text}T00:00:00Z")).unwrap().day()
}

async fn months(client: &Client) -> BTreeSet<String> {
    let query = "select substr(inhrelid::regclass::text, 18) from pg_inherits where inhparent = 'public.request_logs'::regclass";
    client.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn this_month_and_three_more_are_there_from_the_start() {
    let database = Database::fresh().await;
    let client = migrated(&database).await;
    let query = "select string_agg(to_char(date_trunc('month', now() at time zone 'UTC') + ahead * interval '1 month',
                                           'YYYY_MM'), ' ' order by ahead)
                 from generate_series(0, $1) as ahead";
    let ahead = i32::try_from(READY).unwrap() - 1;
    let wanted: String = client.query_one(query, &[&ahead]).await.unwrap().get(0);
    let there = months(&client).await;
    assert!(wanted.split(' ').all(|month| there.contains(month)), "{wanted} in {there:?}");
}

#[tokio::test]
async fn edges_that_make_the_same_months_at_once_make_each_once() {
    let database = Database::fresh().await;
    let before = months(&migrated(&database).await).await;
    let edges = join_all((0..8).map(|_| database.connect())).await;
    let made = join_all(edges.iter().map(|edge| ensure(edge, day("2030-11-30"), 4))).await;
    assert_eq!(made.into_iter().map(Result::unwrap).sum::<u32>(), 4);
    let added: Vec<_> = months(&edges[0]).await.difference(&before).cloned().collect();
    assert_eq!(added, ["2030_11", "2030_12", "2031_01", "2031_02"]);
}

/// The servers of the tests are set to a time zone far from UTC.
#[tokio::test]
async fn a_month_begins_and_ends_at_utc_midnight() {
    let database = Database::fresh().await;
    let client = migrated(&database).await;
    ensure(&client, day("2030-01-31"), 2).await.unwrap();
    let insert = "insert into public.request_logs (
            user_id, api_key_id, request_id, created_at, cost_nano_usd, body_bytes, latency_ms, http_status, attempts,
            stream, estimated, status)
        values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), $1::text::timestamptz, 1, 2, 3, 200, 1, true,
                false, 'success')
        returning tableoid::regclass::text";
    let mut homes = Vec::new();
    for moment in ["2030-01-01T00:00:00Z", "2030-01-31T23:59:59.999999Z", "2030-02-01T00:00:00Z"] {
        homes.push(client.query_one(insert, &[&moment]).await.unwrap().get::<_, String>(0));
    }
    assert_eq!(homes, ["cfx.request_logs_2030_01", "cfx.request_logs_2030_01", "cfx.request_logs_2030_02"]);
    assert!(client.query_one(insert, &[&"2030-03-01T00:00:00Z"]).await.is_err(), "no month, no row");
}

#[tokio::test]
async fn months_older_than_what_is_kept_are_dropped_and_no_others() {
    let database = Database::fresh().await;
    let client = migrated(&database).await;
    client.batch_execute("select cfx.ensure_partitions((now() - interval '20 months')::date, 25)").await.unwrap();
    client.batch_execute(ADA_AND_BOB).await.unwrap();
    let query = "select to_char(date_trunc('month', now() at time zone 'UTC') - interval '13 months', 'YYYY_MM')";
    let oldest_kept: String = client.query_one(query, &[]).await.unwrap().get(0);
    let before = months(&client).await;
    let expired = before.iter().filter(|&month| *month < oldest_kept).count();
    assert!(expired >= 6, "{before:?}");
    assert_eq!(drop_expired(&client, 13).await.unwrap() as usize, expired);
    assert_eq!(drop_expired(&client, 13).await.unwrap(), 0);
    let kept = months(&client).await;
    assert_eq!((kept.first(), kept.len()), (Some(&oldest_kept), before.len() - expired));
}

#[tokio::test]
async fn what_would_drop_everything_or_make_no_end_of_months_is_refused() {
    let database = Database::fresh().await;
    let client = migrated(&database).await;
    let before = months(&client).await;
    for error in [
        drop_expired(&client, 0).await,
        ensure(&client, day("2030-01-01"), 0).await,
        ensure(&client, day("2030-01-01"), 121).await,
    ] {
        assert!(error.is_err_and(|error| error.as_db_error().is_some_and(|said| said.message().contains("cfx."))));
    }
    assert_eq!(months(&client).await, before);
}

/// A reader in the midst of a long query must not hold up those who write, nor be cut off.
#[tokio::test]
async fn a_month_is_made_while_others_read_and_write() {
    let database = Database::fresh().await;
    let client = migrated(&database).await;
    let (reader, writer) = (database.connect().await, database.connect().await);
    reader.batch_execute("begin; select count(*) from public.request_logs").await.unwrap();
    writer.batch_execute(&format!("begin; {ADA_AND_BOB}")).await.unwrap();
    assert_eq!(ensure(&client, day("2032-01-01"), 1).await.unwrap(), 1);
    writer.batch_execute("commit").await.unwrap();
    reader.batch_execute("commit").await.unwrap();
}
