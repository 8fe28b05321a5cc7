//! Admission of a stream whose key is known and whose quota has a lease, on the embedded store.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use cfx::admission::{
    Capacity, Concurrency, Hold, InFlight, KeyRegistry, KeySettings, Keys, NewKey, Pepper, Permit, QuotaSettings,
    RateLimiter, RawKey, Subject,
};
use cfx::clock::ManualClock;
use cfx::config::{Limits, OnStoreOutage};
use cfx::identity::{Account, AccountStore, Email};
use cfx::storage::sqlite::Sqlite;
use cfx::units::{EdgeId, Timestamp};
use futures_util::FutureExt;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

const NOON: Timestamp = Timestamp(1_769_860_800_000_000); // 2026-01-31T12:00:00Z
const PEPPER: &[u8] = b"a pepper of thirty-two characters";
const KEY: &str = "cfx_live_0123456789ABabcdefghijklmnopqrstuvwxyzABCDEF1DnRRb";
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What requests are admitted by. Its clock stands still: no key grows stale and no day ends.
pub struct Door {
    keys: Keys,
    quota: RateLimiter,
    concurrency: Arc<Concurrency>,
    capacity: Arc<Capacity>,
    limits: Limits,
    _runtime: Runtime,
    _folder: TempDir,
}

/// All that one request holds; its drop gives everything back.
type Held = (Permit, InFlight, Hold);

impl Door {
    /// One that its user has come through before.
    pub fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("cfx.db")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let account = Account::new(Email::parse("ada@example.com").unwrap(), NOON);
            let key = NewKey::of(&RawKey::parse(KEY).unwrap(), &Pepper::new(PEPPER), account.id, "guard", NOON);
            assert!(AccountStore::create(&*store, account, None).await.unwrap());
            assert!(KeyRegistry::create(&*store, key, None).await.unwrap());
        });
        let clock = Arc::new(ManualClock::at(NOON));
        let patient = QuotaSettings { patience: Duration::from_secs(60), ..QuotaSettings::default() };
        let patient_too = KeySettings { patience: Duration::from_secs(60), ..KeySettings::default() };
        let door = Self {
            keys: Keys::new(store.clone(), PEPPER, clock.clone(), patient_too),
            quota: RateLimiter::new(store, EdgeId(Uuid::from_u128(1)), clock, patient),
            concurrency: Concurrency::new(),
            capacity: Capacity::new(),
            limits: limits(),
            _runtime: runtime,
            _folder: folder,
        };
        // The store is asked for the key and for a lease by the first alone.
        drop(door._runtime.block_on(door.request()));
        (0..200).for_each(|_| door.admit());
        door
    }

    /// One request comes, and everything it held is given back.
    pub fn admit(&self) {
        let held = self.request().now_or_never();
        drop(black_box(held.expect("what is at hand is waited for")));
    }

    /// The steps of `proxy/admit.rs`, without what reads and writes.
    async fn request(&self) -> Held {
        self.capacity.look(&self.limits).unwrap();
        let principal = self.keys.authenticate(black_box(KEY), CLIENT).await.unwrap().principal;
        let limits = self.limits.of_user(&principal.email);
        let subject = Subject::User(principal.user);
        self.quota.peek(subject, NOON.day(), limits.daily_requests).unwrap();
        let permit = self.concurrency.enter(principal.user, &limits).unwrap();
        let in_flight = self.capacity.enter(true, &self.limits).unwrap();
        let permit = permit.stream(&limits).unwrap();
        let hold = self.quota.check_and_increment(subject, NOON.day(), limits.daily_requests).await.unwrap();
        (permit, in_flight, hold)
    }
}

fn limits() -> Limits {
    Limits {
        daily_requests: 1_000_000,
        concurrent_streams: 2,
        concurrent_requests: 8,
        body: 10 << 20,
        in_flight: 1_000,
        streams_in_flight: 1_000,
        body_memory: 1 << 30,
        answer_memory: 1 << 30,
        upload_stall: Duration::from_secs(30),
        read_stall: Duration::from_secs(30),
        on_store_outage: OnStoreOutage::Refuse,
        users: BTreeMap::new(),
    }
}
