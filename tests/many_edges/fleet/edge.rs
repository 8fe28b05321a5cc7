//! One edge: its stores, what admits, and its ledger, put together as `app` puts them together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cfx::admission::{
    Concurrency, ConcurrencyRefusal, KeyRefusal, KeySettings, Keys, OnStoreOutage, Permit, QuotaRefusal, QuotaSettings,
    QuotaStore, RateLimiter, SharedPlaces, Subject,
};
use cfx::clock::Clock;
use cfx::config::{Fsync, OnSpoolFull, ResolvedLimits};
use cfx::ledger::{Closing, Entry, Ledger, LedgerSettings, Opening, Spool, SpoolSettings, Status};
use cfx::storage::redis::{Redis, RedisAddress};
use cfx::units::{NanoUsd, RequestId, Stage, StageSource, Usage};
use tokio::task::JoinHandle;

use super::{PEPPER, Servers, User};

/// Of each edge's disk. Segments are made of an eighth of it.
const SPOOL: u64 = 16 << 20;
/// How long the end of an edge may take.
const LAST_WORDS: Duration = Duration::from_secs(60);

pub struct Edge {
    keys: Arc<Keys>,
    quota: Arc<RateLimiter>,
    concurrency: Arc<Concurrency>,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    running: Vec<JoinHandle<()>>,
}

/// An admitted request.
pub struct Served {
    hold: cfx::admission::Hold,
    entry: Entry,
    _permit: Permit,
    began: std::time::Instant,
}

/// Why a request was not admitted.
#[derive(Debug)]
pub enum NotServed {
    /// The day's quota is used up.
    Exhausted,
    /// A store did not answer in time.
    Unanswered,
}

impl Edge {
    /// The `number`th, on a spool of its own. It hears the others when this returns.
    pub async fn start(servers: &Servers, number: usize, clock: Arc<dyn Clock>) -> Self {
        let store = servers.address().open_for_edge().await.expect("an open database");
        let spool =
            SpoolSettings { size: SPOOL, fsync: Fsync::Off, on_full: OnSpoolFull::Refuse, lanes: 1, capacity: 50_000 };
        let folder = servers.data.join(number.to_string());
        std::fs::create_dir_all(&folder).expect("a folder");
        let (spool, _) = Spool::open(&folder.join("spool"), spool, clock.now()).expect("a spool");
        let edge = spool.edge();
        let mut running = Vec::new();
        let (counts, concurrency) = match &servers.redis {
            None => (Arc::clone(&store) as Arc<dyn QuotaStore>, Concurrency::new()),
            Some(url) => {
                let redis = Redis::new(RedisAddress::parse(url).expect("the URL of a Redis"), edge, store.clone());
                redis.start().await.expect("a Redis that answers");
                let places = SharedPlaces::new(redis.clone());
                running.push(tokio::spawn(Arc::clone(&places).run()));
                (redis as _, Concurrency::shared(places))
            }
        };
        // What is admitted without the store may pass the limit, which is to be held here.
        let quota = QuotaSettings { patience: servers.patience, on_store_outage: OnStoreOutage::Refuse };
        let keys = KeySettings { patience: servers.patience, ..KeySettings::default() };
        let keys = Arc::new(Keys::new(store.clone(), PEPPER, Arc::clone(&clock), keys));
        let quota = Arc::new(RateLimiter::new(counts, edge, Arc::clone(&clock), quota));
        quota.recover(edge, &HashMap::new()).await.expect("nothing is left of an edge that never was");
        let ledger = Ledger::new(spool, store, Arc::clone(&clock), LedgerSettings::default());
        running.push(tokio::spawn(Arc::clone(&keys).watch()));
        running.push(tokio::spawn(Arc::clone(&quota).run()));
        running.push(tokio::spawn(ledger.clone().run()));
        while !quota.hears() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { keys, quota, concurrency, ledger, clock, running }
    }

    /// The steps of `proxy/admit.rs` in their order.
    pub async fn admit(&self, user: &User, limit: u32, stream: bool) -> Result<Served, NotServed> {
        let began = std::time::Instant::now();
        let limits =
            ResolvedLimits { daily_requests: limit, concurrent_streams: u32::MAX, concurrent_requests: u32::MAX };
        let principal = self.keys.authenticate(user.key.expose(), user.address()).await?.principal;
        let mut permit = self.concurrency.enter(principal.user, &limits)?;
        if stream {
            permit = permit.stream(&limits)?;
            if permit.needs_sharing() {
                permit = permit.share(&limits).await?;
            }
        }
        let now = self.clock.now();
        let subject = Subject::User(principal.user);
        let hold = self.quota.check_and_increment(subject, now.day(), limits.daily_requests).await?;
        let opening = Opening {
            request: RequestId::new(now),
            created_at: now,
            user: principal.user,
            key: principal.key,
            lease: hold.lease(),
            key_lease: None,
            session_id: None,
            stage: Stage::Code,
            source: StageSource::Model,
            model: "code-model".into(),
            stream,
            body_bytes: 40_000,
        };
        let entry = self.ledger.open(opening).expect("room in the spool");
        Ok(Served { hold, entry, _permit: permit, began })
    }

    pub fn leases_granted(&self) -> u64 {
        self.quota.leases_granted()
    }

    /// As a process stops whose requests have ended.
    pub async fn stop(self) {
        assert!(self.quota.shutdown(LAST_WORDS).await, "an edge could not give back what it held");
        self.ledger.shutdown(LAST_WORDS).await.expect("every row is written");
        self.running.iter().for_each(JoinHandle::abort);
    }
}

impl Served {
    /// The end of one that was answered.
    pub fn answered(self) {
        let usage = Usage { input: 12_000, cached_input: 9_000, cache_write: 0, output: 400, reasoning: 0 };
        let closing = self.closing(Status::Success, 200, Some(usage));
        self.hold.spend();
        self.entry.close(closing);
    }

    /// The end of one that reached no upstream: another may have its place.
    pub fn given_back(self) {
        let closing = self.closing(Status::Error, 502, None);
        assert!(self.entry.give_back(closing), "its end is written");
    }

    fn closing(&self, status: Status, http_status: u16, usage: Option<Usage>) -> Closing {
        Closing {
            status,
            http_status,
            usage,
            estimated: false,
            cost: NanoUsd(usage.map_or(0, |_| 12_500_000)),
            latency: self.began.elapsed(),
            first_token: usage.map(|_| self.began.elapsed()),
            attempts: 1,
            model: "code-model".into(),
            error: None,
        }
    }
}

impl From<KeyRefusal> for NotServed {
    fn from(refusal: KeyRefusal) -> Self {
        assert_eq!(refusal, KeyRefusal::StoreUnavailable, "every key is a good one");
        Self::Unanswered
    }
}

impl From<QuotaRefusal> for NotServed {
    fn from(refusal: QuotaRefusal) -> Self {
        match refusal {
            QuotaRefusal::Exhausted { .. } => Self::Exhausted,
            QuotaRefusal::StoreUnavailable => Self::Unanswered,
        }
    }
}

impl From<ConcurrencyRefusal> for NotServed {
    fn from(refusal: ConcurrencyRefusal) -> Self {
        panic!("nobody is at a cap of open requests: {refusal}")
    }
}
