//! Many edges in one process over one real Postgres, and one real Redis where it is given: what admits, counts and accounts
//! is the crate's own, from the key's look-up to the ledger's row. What is left out is HTTP and the model behind it.
//!
//! No double stands anywhere. An edge here differs from a process of its own in that all of them share one runtime.

mod audit;
mod edge;
mod load;

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cfx::admission::{NewKey, Pepper, RawKey};
use cfx::clock::{Clock, SystemClock};
use cfx::storage::postgres::Address;
use cfx::units::{Day, Timestamp, UserId};
use futures_util::{StreamExt, stream};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

pub use edge::Edge;
pub use load::Load;

/// Not every program that includes this folder uses all of it.
const _: fn() = || {
    let _ = (Fleet::leases_granted, Servers::connect);
};

/// Edges that are started, or stopped, at once.
const AT_ONCE: usize = 16;
const PEPPER: &[u8] = b"a pepper of at least thirty-two bytes, for simulations";

/// Where edges count and keep.
#[derive(Clone)]
pub struct Servers {
    pub postgres: String,
    /// None: they count in Postgres.
    pub redis: Option<String>,
    /// Of the edges' spools.
    pub data: PathBuf,
    /// The longest that a request waits for a store.
    pub patience: Duration,
}

/// The system's time, but for the midnight that ends a run's day: from there on it stands still. What is held against a limit
/// is a user's day, and one of the next begins anew.
#[derive(Clone, Copy)]
pub struct OneDay(pub Day);

/// One who asks, and what came of it on all edges together.
pub struct User {
    pub id: UserId,
    pub key: RawKey,
    pub asked: AtomicU32,
    /// Requests that stay counted.
    pub spent: AtomicU32,
    /// Admitted, and given back because they reached no upstream.
    pub given_back: AtomicU32,
}

/// Edges that share their counts, and who asks them.
pub struct Fleet {
    pub servers: Servers,
    pub edges: Vec<Edge>,
    pub users: Vec<User>,
    /// Requests a day, of each user.
    pub limit: u32,
    clock: OneDay,
}

impl Clock for OneDay {
    fn now(&self) -> Timestamp {
        SystemClock.now().min(Timestamp(self.0.end().0 - 1))
    }
}

impl Servers {
    fn address(&self) -> Address {
        Address::parse(&self.postgres, None).expect("the URL of a Postgres")
    }

    pub async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.postgres, NoTls).await.expect("a connection");
        tokio::spawn(async move { drop(connection.await) });
        client
    }
}

impl Fleet {
    /// Every edge hears the others when this returns.
    pub async fn start(servers: Servers, edges: usize, users: usize, limit: u32) -> Self {
        let users = make_users(&servers, users).await;
        let clock = OneDay(SystemClock.now().day());
        let started = stream::iter(0..edges).map(|number| Edge::start(&servers, number, Arc::new(clock)));
        let edges = started.buffered(AT_ONCE).collect().await;
        Self { servers, edges, users, limit, clock }
    }

    /// One edge more.
    async fn late_edge(&self) -> Edge {
        Edge::start(&self.servers, usize::MAX, Arc::new(self.clock)).await
    }

    /// Leases that its edges were granted so far.
    pub fn leases_granted(&self) -> u64 {
        self.edges.iter().map(Edge::leases_granted).sum()
    }

    /// Stops every edge as a process stops: leases settled, then the ledger written. Fails where one could not.
    pub async fn stop(&mut self) {
        stream::iter(self.edges.drain(..)).for_each_concurrent(AT_ONCE, Edge::stop).await;
    }
}

impl User {
    /// Where they ask from: each from a place of their own.
    fn address(&self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.id.0.as_u128()))
    }

    /// What was admitted and stays counted.
    pub fn counted(&self) -> u32 {
        self.spent.load(Ordering::SeqCst)
    }
}

/// Accounts and keys, by the thousand.
async fn make_users(servers: &Servers, users: usize) -> Vec<User> {
    servers.address().migrate().await.expect("a database that can be migrated");
    let client = servers.connect().await;
    let (pepper, now) = (Pepper::new(PEPPER), SystemClock.now());
    let made = (0..users).map(|_| {
        let (id, key) = (UserId(Uuid::new_v4()), RawKey::mint().expect("randomness"));
        User { id, key, asked: AtomicU32::new(0), spent: AtomicU32::new(0), given_back: AtomicU32::new(0) }
    });
    let made: Vec<User> = made.collect();
    let ids: Vec<Uuid> = made.iter().map(|user| user.id.0).collect();
    let accounts = "insert into cfx.accounts (id, email) select id, id || '@example.org' from unnest($1::uuid[]) as id";
    client.execute(accounts, &[&ids]).await.expect("accounts");
    let keys: Vec<NewKey> = made.iter().map(|user| NewKey::of(&user.key, &pepper, user.id, "", now)).collect();
    let text = |of: fn(&NewKey) -> String| keys.iter().map(of).collect::<Vec<_>>();
    let (names, prefixes) = (text(|key| key.public_id.clone()), text(|key| key.prefix.clone()));
    let hashes = text(|key| key.hash.to_hex());
    let rows = "insert into public.api_keys (user_id, public_id, prefix, key_hash, label)
                select *, '' from unnest($1::uuid[], $2::text[], $3::text[], $4::text[])";
    client.execute(rows, &[&ids, &names, &prefixes, &hashes]).await.expect("keys");
    made
}
