//! Who may read and write what: every table there is, as every role there is, held against one list. Tables come from
//! the catalogue, so that one added later, or a partition made a moment ago, is held against it too.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::{ADA, ADA_AND_BOB, migrated};
use crate::storage::support::postgres::Database;

/// Somebody who asks, and how the transaction says who it is for.
struct Reader {
    name: &'static str,
    role: &'static str,
    says: &'static str,
}

const CLAIMS: &str = r#"{"sub": "00000000-0000-0000-0000-00000000000a", "role": "authenticated"}"#;

const READERS: &[Reader] = &[
    Reader { name: "anyone", role: "test_nobody", says: "" },
    Reader { name: "anon", role: "anon", says: "" },
    Reader { name: "anon with Ada's claims", role: "anon", says: CLAIMS },
    Reader { name: "authenticated as nobody", role: "authenticated", says: "" },
    Reader { name: "authenticated as Ada", role: "authenticated", says: CLAIMS },
    Reader { name: "the dashboard with Ada's session", role: "cfx_dashboard", says: "token of ada" },
    Reader { name: "the dashboard without a session", role: "cfx_dashboard", says: "" },
    Reader { name: "the dashboard with a made-up session", role: "cfx_dashboard", says: "token of eve" },
    Reader { name: "the dashboard with forged claims", role: "cfx_dashboard", says: CLAIMS },
    Reader { name: "service_role", role: "service_role", says: "" },
];

/// What a reader finds in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sees {
    /// The table is closed: not even whether it is empty.
    Denied,
    Nothing,
    /// Ada's rows, all of them and no others.
    OwnRows,
    AllRows,
}

const OPEN: [&str; 4] = [SPLITS, "public.api_keys", "public.usage_counters", "public.request_logs"];
/// In the schema that no API exposes: for the dashboard alone.
const SPLITS: &str = "cfx.usage_splits";

fn expected(table: &str, reader: &Reader) -> Sees {
    if !OPEN.contains(&table) {
        return Sees::Denied;
    }
    match (reader.role, reader.says) {
        ("anon" | "authenticated" | "service_role", _) if table == SPLITS => Sees::Denied,
        ("authenticated", CLAIMS) | ("cfx_dashboard", "token of ada") => Sees::OwnRows,
        ("authenticated" | "cfx_dashboard", _) => Sees::Nothing,
        ("service_role", _) => Sees::AllRows,
        _ => Sees::Denied,
    }
}

/// What is not as it should be, a line each. Changes nothing; wants an open transaction.
async fn problems(client: &Client) -> Vec<String> {
    let mut problems = Vec::new();
    for (table, column) in tables(client).await {
        let (own, all) = counts(client, &table).await;
        for reader in READERS {
            let count = format!("select count(*) from {table}");
            let found = match as_reader(client, reader, &count).await {
                Err(error) if is_denied(&error) => Sees::Denied,
                Err(error) => panic!("{count}: {error:?}"),
                Ok(0) => Sees::Nothing,
                // Told apart by number: Ada has fewer rows than there are, and more than none.
                Ok(number) if number == own => Sees::OwnRows,
                Ok(_) => Sees::AllRows,
            };
            // Where there is nothing to see, everything looks like nothing.
            let meant = expected(&table, reader);
            if found != meant && !(all == 0 && (found, meant) == (Sees::Nothing, Sees::AllRows)) {
                problems.push(format!("{} finds {found:?} in {table}, not {meant:?}", reader.name));
            }
            for write in [
                format!("insert into {table} default values"),
                format!("update {table} set {column} = {column} where false"),
                format!("delete from {table} where false"),
                format!("truncate {table}"),
            ] {
                if !as_reader(client, reader, &write).await.is_err_and(|error| is_denied(&error)) {
                    problems.push(format!("{} is not denied: {write}", reader.name));
                }
            }
        }
    }
    for reader in READERS {
        for hidden in ["select key_hash from public.api_keys", "select * from public.api_keys"] {
            if !as_reader(client, reader, hidden).await.is_err_and(|error| is_denied(&error)) {
                problems.push(format!("{} is not denied: {hidden}", reader.name));
            }
        }
    }
    problems.extend(allowed(client).await);
    problems
}

/// Every table of ours, with a column that can be set.
async fn tables(client: &Client) -> Vec<(String, String)> {
    let query = "select format('%I.%I', schema.nspname, class.relname), (
            select quote_ident(attname) from pg_attribute
            where attrelid = class.oid and attnum > 0 and attgenerated = '' and not attisdropped limit 1)
        from pg_class as class
        join pg_namespace as schema on schema.oid = class.relnamespace
        where schema.nspname in ('public', 'cfx') and class.relkind in ('r', 'p', 'v', 'm', 'f')
        order by 1";
    client.query(query, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Ada's rows, and all.
async fn counts(client: &Client, table: &str) -> (i64, i64) {
    let all = client.query_one(&format!("select count(*) from {table}"), &[]).await.unwrap().get(0);
    if !OPEN.contains(&table) {
        return (-1, all);
    }
    let own = format!("select count(*) from {table} where user_id = '{ADA}'");
    (client.query_one(&own, &[]).await.unwrap().get(0), all)
}

/// What the catalogue says may be done, by anyone but the owner: to call a function of ours, where one is meant to be,
/// or to change a single column.
async fn allowed(client: &Client) -> Vec<String> {
    let query = "with role as (
            select oid, rolname from pg_roles
            where rolname in ('test_nobody', 'anon', 'authenticated', 'service_role', 'cfx_dashboard')
        )
        select role.rolname || ' may call ' || function.oid::regprocedure
        from role, pg_proc as function
        where function.pronamespace = 'cfx'::regnamespace
          and has_function_privilege(role.oid, function.oid, 'execute')
          and not (role.rolname = 'cfx_dashboard' and function.oid = to_regprocedure('cfx.session_user_id()'))
          and not (role.rolname = 'cfx_dashboard' and not function.prosecdef
                   and function.oid = to_regprocedure('cfx.overview(uuid, date, date, timestamptz, timestamptz)'))
        union all
        select role.rolname || ' may write to ' || class.oid::regclass
        from role, pg_class as class
        where class.relnamespace in ('cfx'::regnamespace, 'public'::regnamespace) and class.relkind in ('r', 'p', 'v')
          and (has_any_column_privilege(role.oid, class.oid, 'insert, update, references')
               or has_table_privilege(role.oid, class.oid, 'insert, update, delete, truncate, references, trigger'))";
    client.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Runs one statement as somebody else, takes back what it did, and yields the number it answered; 1 for another answer.
async fn as_reader(client: &Client, reader: &Reader, statement: &str) -> Result<i64, Error> {
    let (claims, session) = if reader.says.starts_with('{') { (reader.says, "") } else { ("", reader.says) };
    client.batch_execute("savepoint before").await?;
    let who = "select set_config('request.jwt.claims', $1, true), set_config('cfx.session', $2, true)";
    client.query(who, &[&claims, &session]).await?;
    client.batch_execute(&format!("set local role {}", reader.role)).await?;
    let answer = client.query(statement, &[]).await;
    client.batch_execute("rollback to savepoint before; release savepoint before").await?;
    Ok(answer?.first().map_or(0, |row| row.try_get(0).unwrap_or(1)))
}

/// Denied for want of a right, not by row security, which says it under the same code: one guard must not hide that
/// the other is missing.
fn is_denied(error: &Error) -> bool {
    error.as_db_error().is_some_and(|said| {
        *said.code() == SqlState::INSUFFICIENT_PRIVILEGE && said.message().starts_with("permission denied")
    })
}

/// A superuser's connection to a migrated database with rows, some in a partition made a moment ago.
async fn with_rows(database: &Database) -> Client {
    let owner = migrated(database).await;
    owner.batch_execute("select cfx.ensure_partitions('2031-05-01', 1)").await.unwrap();
    owner.batch_execute(ADA_AND_BOB).await.unwrap();
    let superuser = database.connect_as("postgres").await;
    superuser.batch_execute("begin").await.unwrap();
    superuser
}

#[tokio::test]
async fn everyone_finds_their_own_rows_and_writes_none() {
    for database in [Database::fresh().await, Database::supabase_shaped().await] {
        let client = with_rows(&database).await;
        let tables: Vec<_> = tables(&client).await.into_iter().map(|(table, _)| table).collect();
        assert!(tables.iter().any(|table| table == "cfx.request_logs_2031_05") && tables.len() > 15, "{tables:?}");
        assert_eq!(problems(&client).await, Vec::<String>::new());
    }
}

/// The list above is worth something only if it notices. Each of these must be found.
#[tokio::test]
async fn whatever_is_taken_away_or_given_too_much_is_noticed() {
    let database = Database::supabase_shaped().await;
    let client = with_rows(&database).await;
    let mut mistakes = vec![
        "alter table cfx.request_logs_2031_05 disable row level security;
         grant usage on schema cfx to anon; grant select on cfx.request_logs_2031_05 to anon"
            .to_owned(),
        // Row security alone stands in the way here, as where somebody grants the whole schema.
        "grant usage on schema cfx to authenticated; grant select on all tables in schema cfx to authenticated"
            .to_owned(),
        "grant select (key_hash) on public.api_keys to authenticated".to_owned(),
        "grant insert on public.usage_counters to authenticated".to_owned(),
        "grant update (label) on public.api_keys to cfx_dashboard".to_owned(),
        "grant execute on function cfx.ensure_partitions to public".to_owned(),
        "alter function cfx.overview security definer".to_owned(),
        "create view public.leak as select * from cfx.accounts; grant select on public.leak to anon".to_owned(),
        "create table public.forgotten (id uuid); grant all on public.forgotten to anon".to_owned(),
    ];
    for table in OPEN {
        if table != SPLITS {
            mistakes.push(format!("drop policy own_rows on {table}"));
        }
        mistakes.push(format!("drop policy rows_of_the_session on {table}"));
        mistakes.push(format!(
            "create policy everything on {table} for select to cfx_dashboard, authenticated using (true)"
        ));
        mistakes.push(format!("alter table {table} disable row level security"));
        mistakes.push(format!("grant usage on schema cfx to anon; grant select on {table} to anon"));
        mistakes.push(format!("revoke select on {table} from cfx_dashboard"));
    }
    for mistake in mistakes {
        client.batch_execute("savepoint clean").await.unwrap();
        client.batch_execute(&mistake).await.unwrap();
        assert_ne!(problems(&client).await, Vec::<String>::new(), "not noticed: {mistake}");
        client.batch_execute("rollback to savepoint clean").await.unwrap();
    }
    assert_eq!(problems(&client).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_session_that_is_over_and_a_disabled_account_see_nothing() {
    let database = Database::fresh().await;
    let owner = migrated(&database).await;
    owner.batch_execute(ADA_AND_BOB).await.unwrap();
    let mut dashboard = database.connect_as("cfx_dashboard").await;
    let mut keys = async |token: &str| -> i64 {
        let transaction = dashboard.transaction().await.unwrap();
        transaction.query("select set_config('cfx.session', $1, true)", &[&token]).await.unwrap();
        transaction.query_one("select count(id) from public.api_keys", &[]).await.unwrap().get(0)
    };
    assert_eq!((keys("token of ada").await, keys("token of bob").await), (1, 1));
    owner.batch_execute("update cfx.accounts set disabled_at = now() where email = 'ada@example.org'").await.unwrap();
    owner.batch_execute("update cfx.sessions set expires_at = now() where user_id::text like '%b'").await.unwrap();
    assert_eq!((keys("token of ada").await, keys("token of bob").await), (0, 0));
}

/// A temporary table or a function of the reader's own must not stand in for what the check looks up.
#[tokio::test]
async fn the_look_up_of_a_session_cannot_be_led_astray() {
    // A shared database, where it may make temporary tables.
    let database = Database::supabase_shaped().await;
    let owner = migrated(&database).await;
    owner.batch_execute(ADA_AND_BOB).await.unwrap();
    let dashboard = database.connect_as("cfx_dashboard").await;
    dashboard
        .batch_execute(
            "create temporary table sessions (token_hash bytea, user_id uuid, expires_at timestamptz);
             insert into sessions values (sha256('mine'), '00000000-0000-0000-0000-00000000000a', 'infinity');
             create function pg_temp.sha256(bytea) returns bytea language sql
                 as 'select token_hash from cfx.sessions limit 1';
             set search_path = pg_temp, public;
             set cfx.session = 'mine'",
        )
        .await
        .unwrap();
    let seen: i64 = dashboard.query_one("select count(id) from public.api_keys", &[]).await.unwrap().get(0);
    assert_eq!(seen, 0);
}
