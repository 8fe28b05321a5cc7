//! The day's sums beside the counts: of rows that are new, and of those written before there were sums.

use std::sync::Arc;

use uuid::Uuid;

use super::migrations;
use super::tests::Disk;
use crate::ledger::{LedgerStore, Row, Status};
use crate::storage::conformance::NOON;
use crate::storage::conformance::row;
use crate::units::{NanoUsd, Timestamp, UserId};

/// Each user and day of a batch has sums of its own, and only what is answered counts as that; money and tokens are
/// counted whatever became of the request.
#[tokio::test]
async fn spend_is_kept_by_user_and_day_of_the_rows_that_are_new() {
    let disk = Disk::new();
    let store = disk.open();
    let cancelled = Row { status: Status::Cancelled, ..row(2) };
    let refused = Row { status: Status::RateLimited, usage: None, cost: NanoUsd(0), ..row(3) };
    let tomorrow = Row { created_at: Timestamp(NOON.0 + 86_400_000_000), ..row(4) };
    let elses = Row { user: UserId(Uuid::from_u128(7)), ..row(5) };
    store.append(Arc::from([row(1), cancelled.clone()])).await.unwrap();
    store.append(Arc::from([row(1), cancelled, refused, tomorrow, elses])).await.unwrap();
    let sql = disk.sql();
    let mut select = sql
        .prepare(
            "select day, answered, input_tokens, output_tokens, cost_nano_usd from usage_counters order by user_id, day",
        )
        .unwrap();
    let days: Vec<(String, [i64; 4])> = select
        .query_map((), |row| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?])))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let (today, tomorrow) = ("2026-01-31".to_owned(), "2026-02-01".to_owned());
    assert_eq!(
        days,
        [(today.clone(), [1, 200, 40, 2]), (tomorrow, [1, 100, 20, 1]), (today, [1, 100, 20, 1])],
        "two requests and a refusal; the next day; another user"
    );
}

/// A file from before the sums were kept learns them when it is brought up to date.
#[tokio::test]
async fn an_older_file_learns_its_spend_and_keeps_its_counts() {
    let disk = Disk::new();
    let old = disk.sql();
    let first = migrations::ALL[0];
    old.execute_batch(&format!(
        "create table schema_migrations (version integer primary key, name text not null, applied_at text not null);
         insert into schema_migrations values (1, '{}', '2026-01-01T00:00:00Z');
         {}
         insert into usage_counters (user_id, day, request_count, updated_at) values ('ada', '2026-01-31', 9, '');",
        first.name, first.sql
    ))
    .unwrap();
    for (user, number) in ["ada", "ada", "bob"].into_iter().zip(1_u32..) {
        let insert = "insert into request_logs (user_id, api_key_id, request_id, stream, body_bytes, input_tokens,
                output_tokens, estimated, cost_nano_usd, latency_ms, attempts, status, http_status, created_at)
            values (?1, '', ?2, 1, 0, 10, 1, 0, 5, 1, 1, 'success', 200, '2026-01-31T23:59:59.999999Z')";
        old.execute(insert, (user, number)).unwrap();
    }
    drop(disk.open());
    let mut select = old
        .prepare("select user_id, request_count, answered, input_tokens, cost_nano_usd from usage_counters order by 1")
        .unwrap();
    let sums: Vec<(String, [i64; 4])> = select
        .query_map((), |row| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?])))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(sums, [("ada".to_owned(), [9, 2, 20, 10]), ("bob".to_owned(), [0, 1, 10, 5])]);
    let more = "select group_concat(user_id || rows || failed || reached_upstream, ' ') from usage_counters";
    assert_eq!(old.query_row(more, (), |row| row.get::<_, String>(0)).unwrap(), "ada202 bob101");
    let splits = "select group_concat(concat_ws('|', user_id, day, stage, model, requests, answered, input_tokens,
                                                output_tokens, cost_nano_usd), ' ') from usage_splits";
    let splits: String = old.query_row(splits, (), |row| row.get(0)).unwrap();
    assert_eq!(splits, "ada|2026-01-31|||2|2|20|2|10 bob|2026-01-31|||1|1|10|1|5");
}
