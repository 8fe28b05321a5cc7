//! How a database comes to this program's form, whoever comes first and whatever is there already.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_postgres::Client;

use crate::storage::postgres::migrations::{ALL, Known, MigrationError, apply, checksum, pending, status};
use crate::storage::support::postgres::{Database, Server};

/// For what is a matter of milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// One text a thing in a catalogue, to compare before with after.
async fn texts(client: &Client, query: &str) -> BTreeSet<String> {
    client.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn every_file_is_applied_once_in_order() {
    let database = Database::fresh().await;
    let mut client = database.connect().await;
    assert_eq!(pending(&client).await.unwrap().len(), ALL.len());
    assert_eq!(apply(&mut client).await.unwrap().len(), ALL.len());
    assert_eq!(apply(&mut client).await.unwrap(), []);
    assert_eq!(pending(&client).await.unwrap(), []);
    let standing = status(&client).await.unwrap();
    assert!(standing.iter().all(|one| one.applied_at.as_ref().is_some_and(|at| at.ends_with('Z'))), "{standing:?}");
    let recorded = texts(&client, "select name from cfx.schema_migrations").await;
    assert_eq!(recorded, ALL.iter().map(|known| known.migration.name.to_owned()).collect());
}

#[tokio::test]
async fn files_are_numbered_in_order_and_none_is_forgotten() {
    let numbers: Vec<_> = ALL.iter().map(|known| known.migration.version).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    for known in ALL {
        let migration = known.migration;
        assert!(migration.name.starts_with(&format!("{:04}_", migration.version)), "{}", migration.name);
    }
    let files = std::fs::read_dir("migrations/postgres").unwrap().count();
    assert_eq!(files, ALL.len(), "every file is applied");
}

#[tokio::test]
async fn eight_edges_that_start_at_once_apply_each_file_once() {
    for database in [Database::fresh().await, Database::supabase_shaped().await] {
        let mut edges = join_all((0..8).map(|_| database.connect())).await;
        let applied = join_all(edges.iter_mut().map(apply)).await;
        let applied: Vec<_> = applied.into_iter().map(|applied| applied.unwrap().len()).collect();
        assert_eq!(applied.iter().sum::<usize>(), ALL.len(), "{applied:?}");
        assert_eq!(applied.iter().filter(|&&count| count > 0).count(), 1, "one edge does it all: {applied:?}");
    }
}

/// What migrations make, months aside: those are as many as the calendar says.
const MADE: &str = "
    select made from (
        select 'function ' || pg_get_functiondef(oid) as made from pg_proc
         where pronamespace in ('cfx'::regnamespace, 'public'::regnamespace)
        union all select 'index ' || pg_get_indexdef(indexrelid) from pg_index join pg_class on pg_class.oid = indexrelid
         where relnamespace in ('cfx'::regnamespace, 'public'::regnamespace)
        union all select 'constraint ' || conrelid::regclass || ' ' || pg_get_constraintdef(oid) from pg_constraint
         where connamespace in ('cfx'::regnamespace, 'public'::regnamespace)
        union all select 'column ' || attrelid::regclass || ' ' || attname || ' ' || format_type(atttypid, atttypmod)
          from pg_attribute join pg_class on pg_class.oid = attrelid
         where relnamespace in ('cfx'::regnamespace, 'public'::regnamespace) and attnum > 0 and not attisdropped
        union all select 'policy ' || polrelid::regclass || ' ' || polname || ' ' || pg_get_expr(polqual, polrelid)
          from pg_policy
        union all select 'trigger ' || pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
    ) as everything where made !~ 'request_logs_[0-9]'";

/// Whatever of the same name stands in a schema that is looked into first is not ours.
#[tokio::test]
async fn no_search_path_leads_a_migration_astray() {
    let (here, there) = (Database::fresh().await, Database::fresh().await);
    let (mut plain, mut led) = (here.connect().await, there.connect().await);
    let decoys = "create schema decoy; set search_path = decoy;
                  create table accounts (); create table api_keys (); create table sessions (); create table settings ();
                  create table request_logs (); create table usage_counters (); create table usage_splits ();
                  create table schema_migrations ();
                  create function session_user_id() returns uuid language sql as 'select null::uuid'";
    led.batch_execute(decoys).await.unwrap();
    let standing = "select relname::text from pg_class where relnamespace = 'decoy'::regnamespace
                    union all select proname::text from pg_proc where pronamespace = 'decoy'::regnamespace";
    let before = texts(&led, standing).await;
    for client in [&mut plain, &mut led] {
        assert_eq!(apply(client).await.unwrap().len(), ALL.len());
    }
    assert_eq!(texts(&led, standing).await, before);
    for client in [&plain, &led] {
        client.batch_execute("set search_path = pg_catalog").await.unwrap();
    }
    let made = texts(&led, MADE).await;
    assert!(made.len() > 100, "{made:?}");
    assert_eq!(made, texts(&plain, MADE).await);
}

/// To read a database's standing takes several statements, between which another edge may commit.
#[test]
fn who_looks_on_while_another_edge_migrates_sees_before_or_after_and_never_half() {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..10 {
        let database = run().block_on(Database::fresh());
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    run().block_on(async {
                        let client = database.connect().await;
                        let seen = async { while !pending(&client).await.unwrap().is_empty() {} };
                        tokio::time::timeout(PATIENCE, seen).await.expect("the other edge comes to an end");
                    });
                });
            }
            threads.spawn(|| run().block_on(async { apply(&mut database.connect().await).await.unwrap() }));
        });
    }
}

/// On a server that has seen nothing of ours: the roles are made here, by a role that is no superuser in one case.
#[tokio::test]
async fn roles_are_made_where_they_are_missing() {
    let ours =
        "select concat_ws(' ', rolname, rolcanlogin::text, rolinherit::text, rolsuper::text, rolcreaterole::text,
                                rolbypassrls::text)
                from pg_roles where rolname in ('anon', 'authenticated', 'service_role', 'cfx_dashboard')";
    let server = Server::private();
    let bare = server.database().await;
    let mut client = bare.connect().await;
    assert_eq!(texts(&client, ours).await, BTreeSet::new());
    apply(&mut client).await.unwrap();
    let made = [
        "anon false false false false false",
        "authenticated false false false false false",
        "cfx_dashboard true false false false false",
        "service_role false false false false true",
    ];
    assert_eq!(texts(&client, ours).await, made.map(str::to_owned).into());
    let supabase = server.supabase_shaped().await;
    apply(&mut supabase.connect().await).await.unwrap();
}

/// The roles are the only thing that more than the ownership of the database is needed for.
#[tokio::test]
async fn an_owner_who_may_make_no_roles_migrates_once_they_are_there() {
    let server = Server::private();
    let database = server.database().await;
    let superuser = database.connect().await;
    superuser.batch_execute("create role plain login").await.unwrap();
    let owned = "do $$ begin execute format('alter database %I owner to plain', current_database()); end $$";
    superuser.batch_execute(owned).await.unwrap();
    let mut plain = database.connect_as("plain").await;
    let error = apply(&mut plain).await.unwrap_err();
    assert!(matches!(&error, MigrationError::NoRights { role, .. } if role == "plain"), "{error:?}");
    assert!(error.to_string().contains("CREATEROLE"), "{error}");
    for role in ["anon", "authenticated", "service_role", "cfx_dashboard"] {
        superuser.batch_execute(&format!("create role {role}")).await.unwrap();
    }
    assert_eq!(apply(&mut plain).await.unwrap().len(), ALL.len());
}

/// Everything in a database that could be Supabase's: its schemas with what is in them, its roles, who is a member of
/// what, what is granted by default, and the rights to the schema that both share.
const THEIRS: &str = "
    select 'role ' || (to_jsonb(role) - 'oid')::text from pg_roles as role where rolname !~ '^(cfx_|test_)'
    union all select 'member ' || roleid::regrole || ' ' || member::regrole || ' ' || admin_option from pg_auth_members
    union all select 'schema ' || nspname || ' ' || nspowner::regrole || coalesce(nspacl::text, '')
        from pg_namespace where nspname !~ '^(cfx|pg_toast|pg_temp)'
    union all select 'relation ' || oid::regclass || ' ' || relkind::text || relowner::regrole || relrowsecurity
                     || coalesce(relacl::text, '')
        from pg_class where relnamespace = to_regnamespace('auth') or relnamespace = to_regnamespace('extensions')
    union all select 'column ' || attrelid::regclass || ' ' || attname || ' ' || format_type(atttypid, atttypmod)
                     || coalesce(attacl::text, '')
        from pg_attribute where attrelid = to_regclass('auth.users') and attnum > 0
    union all select 'function ' || oid::regprocedure || proowner::regrole || prosrc || coalesce(proacl::text, '')
        from pg_proc where pronamespace = to_regnamespace('auth')
    union all select 'trigger ' || tgname || pg_get_triggerdef(oid) from pg_trigger where tgrelid = to_regclass('auth.users')
    union all select 'policy ' || polname from pg_policy where polrelid = to_regclass('auth.users')
    union all select 'default ' || defaclrole::regrole || defaclnamespace::regnamespace || defaclobjtype::text || defaclacl::text
        from pg_default_acl";

#[tokio::test]
async fn nothing_of_supabase_is_changed() {
    let server = Server::private();
    let database = server.supabase_shaped().await;
    let mut client = database.connect().await;
    let before = texts(&client, THEIRS).await;
    assert!(before.len() > 60 && before.iter().any(|text| text.contains("auth.users")), "{before:?}");
    apply(&mut client).await.unwrap();
    assert_eq!(texts(&client, THEIRS).await, before);
    // The comparison itself: one grant too many shows.
    client.batch_execute("alter default privileges in schema public revoke all on tables from anon").await.unwrap();
    assert_ne!(texts(&client, THEIRS).await, before);
}

#[tokio::test]
async fn an_older_edge_refuses_a_newer_database_in_the_embedded_stores_words() {
    let database = Database::fresh().await;
    let mut client = database.connect().await;
    apply(&mut client).await.unwrap();
    client.batch_execute("insert into cfx.schema_migrations values (999, '0999_later', '')").await.unwrap();
    let known = ALL.last().unwrap().migration.version;
    for error in [apply(&mut client).await.map(drop), pending(&client).await.map(drop)] {
        let told =
            format!("the database is at schema version 999, this cfx knows versions up to {known}: run a newer cfx");
        assert!(error.unwrap_err().to_string().starts_with(&told));
    }
}

/// What can have happened to a database, and what is then said of it. Nothing is applied in any of these cases.
#[tokio::test]
async fn a_database_that_is_not_what_it_says_is_named_and_left_alone() {
    let cases = [
        (
            "delete from cfx.schema_migrations",
            "what 0002_tables makes is there, but cfx.schema_migrations does not say",
        ),
        ("drop table cfx.schema_migrations", "what 0002_tables makes is there, but cfx.schema_migrations does not say"),
        ("delete from cfx.schema_migrations where version = 1", "and 0001_roles is not in it"),
        ("delete from cfx.schema_migrations where version = 3", "what 0003_partitions makes is there"),
        ("drop function cfx.keys_changed() cascade", "0005_key_notices was applied, but what it makes is not there"),
        ("drop table public.request_logs", "0002_tables was applied, but what it makes is not there"),
        (
            "update cfx.schema_migrations set checksum = '0123' where version = 2",
            "migration 0002_tables was applied to this database in another form",
        ),
        (
            "insert into cfx.schema_migrations values (4, '0004_of_another_build', '') on conflict (version)
             do update set name = excluded.name",
            "cfx.schema_migrations names 0004_of_another_build, which this cfx does not know",
        ),
    ];
    for (harm, told) in cases {
        let database = Database::fresh().await;
        let mut client = database.connect().await;
        apply(&mut client).await.unwrap();
        client.batch_execute(harm).await.unwrap();
        let said = apply(&mut client).await.unwrap_err();
        assert!(said.to_string().contains(told), "{harm}: {said}");
        assert!(said.to_string().contains("DATABASE_URL") || said.to_string().contains("restore a copy"), "{said}");
        assert!(!said.is_passing());
    }
}

/// The tables of somebody else's earlier attempt, without our memory of it.
#[tokio::test]
async fn a_failure_half_way_leaves_nothing_behind() {
    let database = Database::fresh().await;
    let mut client = database.connect().await;
    client.batch_execute("create table public.api_keys (id uuid)").await.unwrap();
    let error = apply(&mut client).await.unwrap_err();
    assert_eq!(error.to_string(), "migration 0002_tables: relation \"api_keys\" already exists [42P07]");
    assert_eq!(texts(&client, "select nspname::text from pg_namespace where nspname = 'cfx'").await, BTreeSet::new());
}

#[tokio::test]
async fn a_role_without_rights_is_told_which_and_what_to_do() {
    let database = Database::fresh().await;
    let mut nobody = database.connect_as("test_nobody").await;
    let error = apply(&mut nobody).await.unwrap_err();
    assert!(matches!(&error, MigrationError::NoRights { role, .. } if role == "test_nobody"), "{error:?}");
    let told = error.to_string();
    for word in ["DATABASE_URL", "test_nobody", "permission denied for database", "cfx migrate"] {
        assert!(told.contains(word), "{told}");
    }
    apply(&mut database.connect().await).await.unwrap();
    let error = pending(&nobody).await.unwrap_err();
    assert!(matches!(error, MigrationError::NoRights { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_named() {
    let database = Database::fresh().await;
    let mut client = database.connect().await;
    client.batch_execute("set default_transaction_read_only = on").await.unwrap();
    let error = apply(&mut client).await.unwrap_err();
    assert!(matches!(error, MigrationError::ReadOnly { .. }), "{error:?}");
    client.batch_execute("set default_transaction_read_only = off").await.unwrap();
    apply(&mut client).await.unwrap();
    client.batch_execute("set default_transaction_read_only = on").await.unwrap();
    assert_eq!(apply(&mut client).await.unwrap(), [], "with nothing to do, nothing is written");
}

/// Another session has the tables locked, or the server is stopped, while a migration waits.
#[tokio::test]
async fn what_may_pass_is_told_apart_from_what_needs_a_person() {
    let database = Database::fresh().await;
    let (mut client, superuser) = (database.connect().await, database.connect_as("postgres").await);
    let own = client.query_one("select pg_backend_pid()", &[]).await.unwrap().get::<_, i32>(0);
    // The schema made and not committed elsewhere: the migration waits for it.
    superuser.batch_execute("begin; create schema auth").await.unwrap();
    let (applied, ()) = futures_util::join!(apply(&mut client), async {
        let waits = "select exists (select from pg_locks where pid = $1 and not granted)";
        let watcher = database.connect().await;
        let until_it_waits = async {
            while !watcher.query_one(waits, &[&own]).await.unwrap().get::<_, bool>(0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, until_it_waits).await.expect("the migration waits");
        watcher.query("select pg_terminate_backend($1)", &[&own]).await.unwrap();
    });
    let error = applied.unwrap_err();
    assert!(error.is_passing(), "{error}");
    superuser.batch_execute("rollback").await.unwrap();
    let mut client = database.connect().await;
    assert_eq!(apply(&mut client).await.unwrap().len(), ALL.len(), "it can be done again");
}

/// An empty database becomes one that an older cfx migrated.
pub(super) async fn before_version(client: &Client, version: u32) {
    let memory = "create schema cfx; create table cfx.schema_migrations (
        version integer primary key, name text not null, checksum text not null, applied_at timestamptz default now())";
    client.batch_execute(memory).await.unwrap();
    for Known { migration, .. } in ALL.iter().filter(|known| known.migration.version < version) {
        let (version, name, checksum) = (migration.version, migration.name, checksum(migration));
        client.batch_execute(migration.sql).await.unwrap();
        let remember = format!("insert into cfx.schema_migrations values ({version}, '{name}', '{checksum}')");
        client.batch_execute(&remember).await.unwrap();
    }
}

/// A database from before days were split learns what was written.
#[tokio::test]
async fn an_older_database_learns_what_its_days_were_spent_on() {
    let database = Database::fresh().await;
    let mut client = database.connect().await;
    before_version(&client, 12).await;
    let rows = "select cfx.ensure_partitions('2026-01-31', 2);
        insert into public.usage_counters (user_id, day, request_count) values (md5('1')::uuid, '2026-01-31', 9);
        insert into public.request_logs (
            user_id, api_key_id, request_id, created_at, cost_nano_usd, body_bytes, latency_ms, http_status, attempts,
            stream, estimated, status, stage, model, input_tokens, output_tokens)
        select md5((n % 2)::text)::uuid, gen_random_uuid(), gen_random_uuid(),
               timestamptz '2026-01-31T23:59:59Z' + (n % 4) * interval '1 second', 1, 2, 3, 200, n % 3, true, false,
               case when n % 5 = 0 then 'error' else 'success' end, case when n % 7 > 0 then 'code' end, 'm', 10, 1
        from generate_series(1, 420) as n";
    client.batch_execute(rows).await.unwrap();
    let applied = apply(&mut client).await.unwrap();
    assert_eq!(applied.first().map(|migration| migration.version), Some(12));
    let sums = "select concat_ws('|', count(*), sum(request_count), sum(rows), sum(failed), sum(reached_upstream))
                  from public.usage_counters";
    assert_eq!(texts(&client, sums).await, ["4|9|420|84|280".to_owned()].into());
    let splits = "select concat_ws('|', stage, sum(requests), sum(answered), sum(input_tokens), sum(output_tokens),
                                   sum(cost_nano_usd)) from cfx.usage_splits group by stage";
    let meant = ["|60|48|600|60|60".to_owned(), "code|360|288|3600|360|360".to_owned()];
    assert_eq!(texts(&client, splits).await, meant.into());
    let days = "select day::text from cfx.usage_splits where user_id = md5('0')::uuid";
    assert_eq!(texts(&client, days).await, ["2026-01-31".to_owned(), "2026-02-01".to_owned()].into());
}
