//! The dashboard's password in the wrong hands: somebody logs in with it, as himself and for as long as he likes, and tries
//! everything on every table there is. Tables come from the catalogue, so that one added later is tried too.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{ADA, ADA_AND_BOB, migrated};
use crate::storage::support::postgres::Database;

/// What he says first, and whether the server is to let him say it.
const TRIES: &[(&str, bool)] = &[
    ("reset cfx.session", true),
    ("set cfx.session = ''", true),
    ("set cfx.session = 'token of eve'", true),
    ("set cfx.session = '00000000-0000-0000-0000-00000000000a'", true),
    (r#"set request.jwt.claims = '{"sub": "00000000-0000-0000-0000-00000000000a", "role": "authenticated"}'"#, true),
    ("set request.jwt.claim.sub = '00000000-0000-0000-0000-00000000000a'", true),
    ("set search_path = cfx, public", true),
    ("set role cfx_dashboard", true),
    ("set role postgres", false),
    ("set role supabase_postgres", false),
    ("set role service_role", false),
    ("set role authenticated", false),
    ("set role anon", false),
    ("set role pg_read_all_data", false),
    ("set session authorization postgres", false),
    ("set session_replication_role = replica", false),
    ("alter role cfx_dashboard bypassrls", false),
    ("grant service_role to cfx_dashboard", false),
    ("create role mine", false),
    ("create table cfx.mine (id uuid)", false),
    ("create table public.mine (id uuid)", false),
    ("create or replace function cfx.session_user_id() returns uuid language sql as 'select null::uuid'", false),
    ("copy (select 1) to program 'true'", false),
    ("select pg_read_file('PG_VERSION')", false),
];

/// Every one is refused, of every table.
const WRITES: &[&str] = &[
    "insert into TABLE default values",
    "insert into TABLE (COLUMN) select COLUMN from TABLE",
    "update TABLE set COLUMN = COLUMN",
    "update TABLE set COLUMN = COLUMN where false",
    "delete from TABLE",
    "truncate TABLE",
    "alter table TABLE disable row level security",
    "alter table TABLE owner to cfx_dashboard",
    "alter table TABLE add column mine text",
    "create policy mine on TABLE for select using (true)",
    "create trigger mine before insert on TABLE execute function suppress_redundant_updates_trigger()",
    "create index on TABLE (COLUMN)",
    "drop table TABLE",
    "lock table TABLE in access exclusive mode",
    "merge into TABLE using (select 1) as one (n) on false when not matched then insert default values",
    "copy TABLE from stdin",
    "select 1 from TABLE for update",
];

struct Table {
    name: String,
    column: String,
    has_user: bool,
}

async fn tables(owner: &Client) -> Vec<Table> {
    let query = "select format('%I.%I', schema.nspname, class.relname), (
            select quote_ident(attname) from pg_attribute
            where attrelid = class.oid and attnum > 0 and attgenerated = '' and not attisdropped limit 1),
            exists (select from pg_attribute where attrelid = class.oid and attname = 'user_id')
        from pg_class as class
        join pg_namespace as schema on schema.oid = class.relnamespace
        where schema.nspname in ('public', 'cfx') and class.relkind in ('r', 'p', 'v', 'm', 'f')
        order by 1";
    let rows = owner.query(query, &[]).await.unwrap();
    rows.iter().map(|row| Table { name: row.get(0), column: row.get(1), has_user: row.get(2) }).collect()
}

/// Everything in every table, as one text.
async fn contents(owner: &Client, tables: &[Table]) -> Vec<(String, Option<String>)> {
    let mut contents = Vec::new();
    for Table { name, .. } in tables {
        let all = format!("select md5(string_agg(row::text, '|' order by row::text)) from {name} as row");
        contents.push((name.clone(), owner.query_one(&all, &[]).await.unwrap().get(0)));
    }
    contents
}

/// How many rows he reads of a table; none where it is closed to him. Whole rows of keys are closed to everybody.
async fn reads(thief: &Client, table: &Table, whose: &str) -> i64 {
    match thief.query_one(&format!("select count(*) from {} {whose}", table.name), &[]).await {
        Ok(row) => row.get(0),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => 0,
        Err(error) => panic!("{}: {error:?}", table.name),
    }
}

async fn refused(thief: &Client, statement: &str) -> bool {
    match thief.batch_execute(&format!("begin; {statement}")).await {
        Ok(()) => {
            thief.batch_execute("rollback").await.unwrap();
            false
        }
        Err(error) => {
            thief.batch_execute("rollback").await.unwrap();
            let code = error.code().cloned().unwrap_or(SqlState::SUCCESSFUL_COMPLETION);
            // A view or a column that cannot be set is refused for what it is.
            let no = [
                SqlState::INSUFFICIENT_PRIVILEGE,
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                SqlState::UNDEFINED_OBJECT,
            ];
            assert!(no.contains(&code), "{statement}: {error:?}");
            true
        }
    }
}

#[tokio::test]
async fn without_a_live_session_it_reads_nothing_and_with_one_it_writes_nothing() {
    for database in [Database::fresh().await, Database::supabase_shaped().await] {
        let owner = migrated(&database).await;
        owner.batch_execute(ADA_AND_BOB).await.unwrap();
        // Rows in every table there is, so that there is something to steal.
        owner
            .batch_execute(&format!(
                "insert into cfx.edges values ('{ADA}'); insert into cfx.settings values ('a', 'b')"
            ))
            .await
            .unwrap();
        let tables = tables(&owner).await;
        assert!(tables.len() > 18 && tables.iter().any(|table| table.name == "cfx.passwords"));
        let before = contents(&owner, &tables).await;
        for (said, is_let) in TRIES {
            let thief = database.connect_as("cfx_dashboard").await;
            assert_eq!(refused(&thief, said).await, !is_let, "{said}");
            if *is_let {
                thief.batch_execute(said).await.unwrap();
            }
            for table in &tables {
                assert_eq!(reads(&thief, table, "").await, 0, "{} after {said}", table.name);
            }
        }
        for token in ["", "token of ada"] {
            let thief = database.connect_as("cfx_dashboard").await;
            thief.batch_execute(&format!("set cfx.session = '{token}'")).await.unwrap();
            for table in &tables {
                for write in WRITES {
                    let write = write.replace("TABLE", &table.name).replace("COLUMN", &table.column);
                    assert!(refused(&thief, &write).await, "{write}");
                }
            }
        }
        assert_eq!(contents(&owner, &tables).await, before, "nothing has changed");
    }
}

/// With a live session it reads what is its user's; when that is over, nothing.
#[tokio::test]
async fn a_session_reads_its_users_rows_for_as_long_as_it_holds() {
    let endings = [
        "delete from cfx.sessions where user_id = ADA",
        "update cfx.sessions set expires_at = now() where user_id = ADA",
        "update cfx.accounts set disabled_at = now() where id = ADA",
    ];
    for (ending, database) in
        endings.into_iter().zip([Database::fresh().await, Database::supabase_shaped().await, Database::fresh().await])
    {
        let owner = migrated(&database).await;
        owner.batch_execute(ADA_AND_BOB).await.unwrap();
        let tables = tables(&owner).await;
        let dashboard = database.connect_as("cfx_dashboard").await;
        dashboard.batch_execute("set cfx.session = 'token of ada'").await.unwrap();
        let mut seen = Vec::new();
        for table in &tables {
            let all = reads(&dashboard, table, "").await;
            if all > 0 {
                assert!(table.has_user, "{}", table.name);
                assert_eq!(reads(&dashboard, table, &format!("where user_id = '{ADA}'")).await, all, "{}", table.name);
                seen.push(&*table.name);
            }
        }
        assert_eq!(seen, ["cfx.usage_splits", "public.api_keys", "public.request_logs", "public.usage_counters"]);
        owner.batch_execute(&ending.replace("ADA", &format!("'{ADA}'"))).await.unwrap();
        for table in &tables {
            assert_eq!(reads(&dashboard, table, "").await, 0, "{} after {ending}", table.name);
        }
    }
}
