//! The store on a real server: the schema, its migrations, the ports, and what an operator can get wrong.

mod access;
mod connecting;
mod dashboard;
mod leaked;
mod leaked_beside;
mod listening;
mod migrations;
mod notices;
mod partitions;
mod plans;
mod ports;
mod waiting;

use tokio_postgres::Client;

use crate::storage::postgres::migrations::apply;
use crate::storage::support::postgres::Database;

/// A connection to `database` as its owner, every migration applied.
async fn migrated(database: &Database) -> Client {
    let mut client = database.connect().await;
    apply(&mut client).await.expect("the migrations apply");
    client
}

/// Two users, Ada and Bob, each with a key, a counter, a split of it, a password, a link, a session (`token of ada`,
/// `token of bob`) and, in every month
/// that has a partition, one row of the log.
const ADA_AND_BOB: &str = "
    with users as (
        insert into cfx.accounts (id, email) values
            ('00000000-0000-0000-0000-00000000000a', 'ada@example.org'),
            ('00000000-0000-0000-0000-00000000000b', 'bob@example.org')
        returning id, email
    ), sessions as (
        insert into cfx.sessions (token_hash, user_id, expires_at)
        select sha256(convert_to('token of ' || split_part(email, '@', 1), 'UTF8')), id, now() + interval '1 hour'
        from users
    ), counters as (
        insert into public.usage_counters (user_id, day) select id, current_date from users
    ), splits as (
        insert into cfx.usage_splits select id, current_date, 'code', 'deepseek', 1, 1, 2, 3, 4 from users
    ), passwords as (
        insert into cfx.passwords (user_id, hash) select id, 'secret' from users
    ), links as (
        insert into cfx.links (token_hash, user_id, expires_at)
        select sha256(convert_to(id::text, 'UTF8')), id, now() + interval '1 hour' from users
    ), months as (
        select to_date(substr(relname, 14), 'YYYY_MM') as month
        from pg_class
        where relnamespace = 'cfx'::regnamespace and relname ~ '^request_logs_\\d{4}_\\d{2}$'
    ), logs as (
        insert into public.request_logs (
            user_id, api_key_id, request_id, created_at, cost_nano_usd, body_bytes, latency_ms, http_status, attempts,
            stream, estimated, status)
        select id, id, gen_random_uuid(), month at time zone 'UTC' + interval '3 days', 1, 2, 3, 200, 1, true, false,
               'success'
        from users, months
    )
    insert into public.api_keys (user_id, public_id, prefix, key_hash, label)
    select id, split_part(email, '@', 1), 'cfx_live_', 'hash', 'laptop' from users";

const ADA: &str = "00000000-0000-0000-0000-00000000000a";
