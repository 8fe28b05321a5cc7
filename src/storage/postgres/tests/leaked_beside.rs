//! The dashboard's password in the wrong hands, beside the tables: what a database lets every login hear, hold and make.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::migrations::before_version;
use super::notices::{Listener, key_channel};
use super::{ADA_AND_BOB, migrated};
use crate::storage::postgres::migrations::{ALL, apply};
use crate::storage::support::postgres::{Database, Server};

#[tokio::test]
async fn it_hears_nothing_of_a_key_that_changes_and_finds_no_name_to_listen_to() {
    for database in [Database::fresh().await, Database::supabase_shaped().await] {
        let owner = migrated(&database).await;
        owner.batch_execute(ADA_AND_BOB).await.unwrap();
        let channel = key_channel(&owner).await;
        let mut edge = Listener::on(&database.url(), channel.clone()).await;
        let login = database.url_as("cfx_dashboard");
        let revoke = "update public.api_keys set status = 'revoked', revoked_at = now() where public_id = 'ada'";
        let restore = "update public.api_keys set status = 'active', revoked_at = null where public_id = 'ada'";
        assert_eq!(edge.after(&owner, revoke).await, ["ada"], "there is something to hear");
        owner.batch_execute(restore).await.unwrap();
        // The names that older versions had, those of the settings, and one with a letter changed.
        let other = format!("cfx_{}", "0".repeat(channel.len() - 4));
        for guess in ["cfx_keys", "cfx_quota", "key_channel", "quota_channel", "cfx", "\"*\"", &other] {
            let mut thief = Listener::on(&login, guess.to_owned()).await;
            assert_eq!(thief.after(&owner, &format!("{revoke}; {restore}")).await, Vec::<String>::new(), "{guess}");
        }
        let thief = database.connect_as("cfx_dashboard").await;
        for secret in ["select value from cfx.settings", "select cfx.say('key_channel', '*')"] {
            let error = thief.query(secret, &[]).await.unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{secret}");
        }
        for shown in ["pg_proc where prosrc", "pg_stat_activity where query", "pg_stat_activity where application_name"]
        {
            let select = format!("select count(*) from {shown} like '%' || $1 || '%'");
            let (found, by_owner): (i64, i64) = (
                thief.query_one(&select, &[&channel]).await.unwrap().get(0),
                owner.query_one(&select, &[&channel]).await.unwrap().get(0),
            );
            assert_eq!(found, 0, "{shown}");
            assert_eq!(by_owner > 0, shown.contains("query"), "{shown}: what is looked for is there to be found");
        }
        assert_eq!(edge.after(&owner, revoke).await.last().map(String::as_str), Some("ada"), "the edge still hears");
    }
}

#[tokio::test]
async fn whatever_advisory_lock_it_holds_a_migration_runs_and_months_are_made() {
    let database = Database::fresh().await;
    let owner = database.connect().await;
    before_version(&owner, 13).await;
    let thief = database.connect_as("cfx_dashboard").await;
    // What earlier versions took, and some more.
    thief.batch_execute("select pg_advisory_lock(x'636678000001'::bigint)").await.unwrap();
    thief.batch_execute("select pg_advisory_lock(hashtextextended('cfx.ensure_partitions', 0))").await.unwrap();
    thief.batch_execute("select count(pg_advisory_lock(n)) from generate_series(-300, 300) as n").await.unwrap();
    let mut edge = database.connect().await;
    let applied = tokio::time::timeout(Duration::from_secs(30), apply(&mut edge)).await.expect("it waits for nobody");
    assert_eq!(applied.unwrap().len(), ALL.iter().filter(|known| known.migration.version >= 13).count());
    let made = edge.query_one("select cfx.ensure_partitions('2031-01-01', 2)", &[]).await.unwrap();
    assert_eq!(made.get::<_, i32>(0), 2);
    let held = "select count(*) from pg_locks where locktype = 'advisory'
        and database = (select oid from pg_database where datname = current_database())";
    assert_eq!(owner.query_one(held, &[]).await.unwrap().get::<_, i64>(0), 603, "it holds them still");
}

const MAKES: &[&str] = &[
    "create temporary table mine (id uuid)",
    "create table pg_temp.mine (id uuid)",
    "create temporary view mine as select 1",
    "create temporary sequence mine",
    "select lo_create(0)",
    "select lo_creat(-1)",
    "select lo_from_bytea(0, 'x')",
];

#[tokio::test]
async fn it_makes_nothing_of_its_own_where_the_database_is_cfxs() {
    let database = Database::fresh().await;
    let owner = migrated(&database).await;
    let thief = database.connect_as("cfx_dashboard").await;
    for make in MAKES {
        let error = thief.batch_execute(make).await.expect_err(make);
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{make}");
        owner.batch_execute(&format!("begin; {make}; rollback")).await.expect(make);
    }
}

/// Where others live in the database, or the migrating role has no right to: it is passed over, and `docs/database.md` says so.
#[tokio::test]
async fn a_shared_database_keeps_what_it_gives_to_everybody() {
    let database = Database::supabase_shaped().await;
    let owner = database.connect().await;
    let given =
        "select coalesce(datacl, acldefault('d', datdba))::text from pg_database where datname = current_database()";
    let before: String = owner.query_one(given, &[]).await.unwrap().get(0);
    migrated(&database).await;
    assert_eq!(owner.query_one(given, &[]).await.unwrap().get::<_, String>(0), before);
}

#[tokio::test]
async fn an_owner_who_is_no_superuser_closes_what_is_theirs() {
    let server = Server::private();
    let database = server.database().await;
    let superuser = database.connect().await;
    let plain = "create role plain login createrole;
        do $$ begin execute format('alter database %I owner to plain', current_database()); end $$";
    superuser.batch_execute(plain).await.unwrap();
    apply(&mut database.connect_as("plain").await).await.unwrap();
    let thief = database.connect_as("cfx_dashboard").await;
    let error = thief.batch_execute(MAKES[0]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    thief.batch_execute(MAKES[4]).await.expect("large objects are the server's owner's to close");
    database.connect_as("plain").await.batch_execute(MAKES[0]).await.expect("the owner keeps what it had");
}
