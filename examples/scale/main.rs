//! A fleet of edges over one Postgres, and one Redis where it is given, under a load that is drawn alike each time; what
//! these servers did for it, by their own figures, as one line of JSON. Fails where a user was admitted once too often,
//! where a count or a row is missing once the edges have gone, or where an unused lease did not come back.
//!
//! Started by `scripts/scale`, which starts the servers and writes the tables of `docs/scale.md`.
#![expect(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a tool of measurement, run by hand")]

#[path = "../../tests/many_edges/fleet/mod.rs"]
mod fleet;
mod servers;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;

use fleet::{Fleet, Load, Servers};
use servers::Watched;

/// What an upstream takes where nothing else is said.
const SHORT: Duration = Duration::from_millis(50);
/// After this nothing is under way any more of what requests had the edges say to their servers.
const SETTLED: Duration = Duration::from_secs(2);

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    edges: usize,
    /// A database of its own, empty.
    #[arg(long)]
    postgres: String,
    /// Without it, edges count in Postgres.
    #[arg(long)]
    redis: Option<String>,
    /// Of the edges' spools, empty.
    #[arg(long)]
    data: std::path::PathBuf,
    /// Requests a second, all edges together. 0: nobody asks.
    #[arg(long)]
    rate: u32,
    #[arg(long)]
    seconds: u32,
    /// So many seconds of the same before it.
    #[arg(long, default_value_t = 2)]
    warm_up: u32,
    /// Users of whom each asks once in five seconds, where not given.
    #[arg(long)]
    users: Option<usize>,
    /// Of these, the ones that ask a fifth of all.
    #[arg(long, default_value_t = 10)]
    heavy: usize,
    /// Edges that the requests of one user come to. Without it, any.
    #[arg(long)]
    near: Option<usize>,
    /// Requests a day, of each user.
    #[arg(long, default_value_t = 1_000)]
    limit: u32,
    /// Users whose day is used up at the end, by an edge that came later.
    #[arg(long, default_value_t = 3)]
    used_up: usize,
    /// How long the upstream takes, in milliseconds.
    #[arg(long)]
    answer: Option<u64>,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let servers = Servers {
        postgres: arguments.postgres.clone(),
        redis: arguments.redis.clone(),
        data: arguments.data.clone(),
        // A machine that plays a hundred edges answers late now and then; that is no outage.
        patience: Duration::from_secs(20),
    };
    let rate = u64::from(arguments.rate);
    let users = arguments.users.unwrap_or(usize::try_from(rate * 5).unwrap_or(usize::MAX)).max(arguments.heavy + 1);
    let mut fleet = Arc::new(Fleet::start(servers, arguments.edges, users, arguments.limit).await);
    let (heavy, near) = (arguments.heavy, arguments.near);
    let answer = arguments.answer.map_or(SHORT, Duration::from_millis);
    let load = Load { rate: Some(arguments.rate), requests: 0, from: Some(0), heavy, heavy_share: 20, near, answer };
    // Every day is open, connections stand, and keys are known where they are asked for often.
    let visits = Load { rate: None, requests: users as u64, from: None, answer: Duration::ZERO, ..load };
    visits.drive(&fleet).await;
    let warm = Load { requests: rate * u64::from(arguments.warm_up), answer: SHORT, ..load };
    warm.drive(&fleet).await;
    tokio::time::sleep(SETTLED).await;

    let watched = Watched::begin(&fleet.servers).await;
    let (began, leases) = (Instant::now(), fleet.leases_granted());
    let (from, requests) = (Some(warm.requests), rate * u64::from(arguments.seconds));
    let tally = Load { requests, from, ..load }.drive(&fleet).await;
    if rate == 0 {
        tokio::time::sleep(Duration::from_secs(arguments.seconds.into())).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let leases = fleet.leases_granted() - leases;
    let connections = watched.connections().await;
    tokio::time::sleep(SETTLED).await;
    let seen = watched.end().await;
    let whole = Arc::get_mut(&mut fleet).expect("every request has ended");
    whole.stop().await;
    whole.audit().await;
    let left = whole.use_up_what_is_left(arguments.used_up).await;
    whole.audit().await;

    let figure = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::SeqCst);
    let line = json!({
        "edges": arguments.edges,
        "users": users,
        "limit": arguments.limit,
        "near": arguments.near,
        "rate": arguments.rate,
        "seconds": seconds,
        "asked": requests,
        "admitted": figure(&tally.admitted),
        "exhausted": figure(&tally.exhausted),
        "unanswered": figure(&tally.unanswered),
        "waited": figure(&tally.waited),
        "leases": leases,
        "used_up_afterwards": left,
        "connections": connections,
        "servers": seen,
    });
    println!("{line}");
}
