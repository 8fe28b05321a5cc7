//! What Postgres and Redis did between two moments, by their own statistics and by the processor time of their processes.

use std::collections::BTreeMap;
use std::fs;

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::fleet::Servers;

/// The clock that `/proc` counts by.
const TICKS_A_SECOND: f64 = 100.0;
/// What a statement is for, by what stands in it and nowhere else.
const KINDS: &[(&str, &str)] = &[
    ("cfx.grant_lease(", "grants"),
    ("cfx.settle_leases(", "settlements"),
    ("cfx.post_requests(", "posts"),
    ("insert into public.request_logs", "ledger"),
    ("where key.public_id = ", "keys"),
    ("set last_used_at", "key times"),
    ("cfx.beat(", "heartbeats"),
    ("pg_notify", "words"),
    ("cfx.say(", "words"),
    ("select request_count", "counts read"),
];

/// Servers whose figures were noted.
pub struct Watched {
    client: Client,
    redis: Option<MultiplexedConnection>,
    postmaster: u32,
    before: Figures,
}

/// Sums since the servers began, but for the statements.
struct Figures {
    postgres_cpu: f64,
    wal: i64,
    redis_cpu: f64,
    redis_memory: f64,
    redis_bytes: f64,
    commands: BTreeMap<String, (u64, u64)>,
}

impl Watched {
    pub async fn begin(servers: &Servers) -> Self {
        let client = servers.connect().await;
        let redis = match &servers.redis {
            Some(url) => {
                let client = redis::Client::open(url.as_str()).expect("the URL of a Redis");
                Some(client.get_multiplexed_async_connection().await.expect("Redis answers"))
            }
            None => None,
        };
        let backend: i32 = client.query_one("select pg_backend_pid()", &[]).await.expect("a number").get(0);
        let postmaster = parent(u32::try_from(backend).expect("a process")).expect("a server on this machine");
        client.batch_execute("create extension if not exists pg_stat_statements").await.expect("the extension");
        client.execute("select pg_stat_statements_reset()", &[]).await.expect("no statements");
        let mut watched = Self { client, redis, postmaster, before: Figures::nothing() };
        watched.before = watched.figures().await;
        watched
    }

    /// The edges' connections to the database, and the memory that is their backends' own, in MB.
    pub async fn connections(&self) -> Value {
        let text = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
        let rows = self.client.query(text, &[]).await.expect("backends");
        let own = rows.iter().filter_map(|row| private_memory(row.get::<_, i32>(0))).sum::<f64>() / 1e3;
        json!({ "count": rows.len(), "own_mb": own })
    }

    pub async fn end(self) -> Value {
        let (before, after) = (&self.before, self.figures().await);
        let commands: BTreeMap<&str, Value> = after
            .commands
            .iter()
            .map(|(name, (calls, micros))| {
                let (calls_then, micros_then) = before.commands.get(name).copied().unwrap_or_default();
                (name.as_str(), json!({ "calls": calls - calls_then, "micros": micros - micros_then }))
            })
            .collect();
        json!({
            "postgres_cpu": after.postgres_cpu - before.postgres_cpu,
            "wal": after.wal - before.wal,
            "statements": self.statements().await,
            "ledger": self.ledger().await,
            "postings": self.table("cfx.quota_postings").await,
            "redis_cpu": after.redis_cpu - before.redis_cpu,
            "redis_memory": after.redis_memory - before.redis_memory,
            "redis_bytes": after.redis_bytes - before.redis_bytes,
            "commands": commands,
        })
    }

    async fn figures(&self) -> Figures {
        let wal = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
        let wal = self.client.query_one(wal, &[]).await.expect("a number").get(0);
        let mut figures = Figures { postgres_cpu: family_time(self.postmaster), wal, ..Figures::nothing() };
        if let Some(redis) = &self.redis {
            let info: String = redis::cmd("INFO").arg("all").query_async(&mut redis.clone()).await.expect("figures");
            let figure = |name: &str| {
                let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or_default()
            };
            figures.redis_cpu = figure("used_cpu_user") + figure("used_cpu_sys");
            figures.redis_memory = figure("used_memory");
            figures.redis_bytes = figure("total_net_input_bytes") + figure("total_net_output_bytes");
            figures.commands = info.lines().filter_map(command).collect();
        }
        figures
    }

    /// By kind: how many there were, the rows they gave, the milliseconds that the server took, the bytes of WAL.
    async fn statements(&self) -> Value {
        let text = "select query, calls, rows, total_exec_time, wal_bytes::bigint from pg_stat_statements
                      join pg_database on pg_database.oid = dbid where datname = current_database() and toplevel";
        let mut kinds: BTreeMap<&str, (i64, i64, f64, i64)> = BTreeMap::new();
        for row in self.client.query(text, &[]).await.expect("statements") {
            let text: &str = row.get(0);
            let kind = KINDS.iter().find(|(part, _)| text.contains(part)).map_or("other", |(_, kind)| kind);
            let sum = kinds.entry(kind).or_default();
            sum.0 += row.get::<_, i64>(1);
            sum.1 += row.get::<_, i64>(2);
            sum.2 += row.get::<_, f64>(3);
            sum.3 += row.get::<_, i64>(4);
        }
        let shown = |(kind, (calls, rows, millis, wal)): (&&str, &(i64, i64, f64, i64))| {
            ((*kind).to_owned(), json!({ "calls": calls, "rows": rows, "millis": millis, "wal": wal }))
        };
        Value::Object(kinds.iter().map(shown).collect())
    }

    async fn ledger(&self) -> Value {
        let text = "select coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint from pg_inherits
                     where inhparent = 'public.request_logs'::regclass";
        let bytes: i64 = self.client.query_one(text, &[]).await.expect("a number").get(0);
        let rows: i64 =
            self.client.query_one("select count(*) from public.request_logs", &[]).await.expect("a number").get(0);
        json!({ "bytes": bytes, "rows": rows })
    }

    async fn table(&self, name: &str) -> Value {
        let text = format!("select pg_total_relation_size('{name}'::regclass), (select count(*) from {name})");
        let row = self.client.query_one(&text, &[]).await.expect("numbers");
        json!({ "bytes": row.get::<_, i64>(0), "rows": row.get::<_, i64>(1) })
    }
}

impl Figures {
    fn nothing() -> Self {
        let (postgres_cpu, wal, redis_cpu, redis_memory, redis_bytes, commands) = Default::default();
        Self { postgres_cpu, wal, redis_cpu, redis_memory, redis_bytes, commands }
    }
}

/// `cmdstat_evalsha:calls=10,usec=120,…`
fn command(line: &str) -> Option<(String, (u64, u64))> {
    let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(':')?;
    let figure = |wanted: &str| {
        figures.split(',').find_map(|part| part.strip_prefix(wanted)?.strip_prefix('=')?.trim().parse::<u64>().ok())
    };
    Some((name.to_owned(), (figure("calls")?, figure("usec")?)))
}

/// Seconds of a processor that a process, its children that live and those that it has waited for have taken.
fn family_time(process: u32) -> f64 {
    let living = fs::read_dir("/proc").expect("a Linux").flatten().filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse::<u32>().ok()?;
        (parent(id)? == process).then(|| times(id, 2))
    });
    (living.sum::<u64>() + times(process, 4)) as f64 / TICKS_A_SECOND
}

/// The first `count` of: user, system, and both of children that were waited for.
fn times(process: u32, count: usize) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let behind_name = text.rsplit(')').next().unwrap_or_default();
    behind_name.split_whitespace().skip(11).take(count).filter_map(|figure| figure.parse::<u64>().ok()).sum()
}

fn parent(process: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// What no other process has a part in, in kB.
fn private_memory(process: i32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let parts = text.lines().filter_map(|line| {
        let (name, size) = line.split_once(':')?;
        name.starts_with("Private_").then(|| size.trim().trim_end_matches(" kB").parse::<f64>().ok())?
    });
    Some(parts.sum())
}
