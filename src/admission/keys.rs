//! Whose key this is: the cache in front of the key store.
//!
//! Failure stance: open for keys already proved, closed for all others. A known key is served for up to an hour
//! (`stale`) while the store is away, because an outage of ours must not stop people who were at work; its expiry is
//! checked against the local clock all the same. A key never seen is refused as unavailable, not as invalid, because
//! clients give up on a 401. No request waits for the store longer than `patience`.
//!
//! Known keys are found by their public id and then compared; unknown ones are remembered by their whole hash, never
//! by the id alone, or anyone could lock a key out by sending its id with a wrong secret. Whoever makes keys up runs into
//! two caps, on look-ups in flight and on failed ones of an address, neither of which a cached key ever touches.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use async_trait::async_trait;
use moka::sync::Cache;
use tokio::time::MissedTickBehavior;

use crate::admission::brake::{Brake, Braked};
use crate::admission::key::{KeyHash, Pepper, PublicId, RawKey};
use crate::admission::lookup::{Flight, Lookups, NotFound};
use crate::admission::principal::Principal;
use crate::clock::Clock;
use crate::units::{KeyId, StoreError, Timestamp};

/// How often the store is asked whether keys have changed: a revocation holds within this and one look-up.
const POLL: Duration = Duration::from_millis(200);
/// Last-used times are written once in so many polls.
const POLLS_PER_WRITE: u32 = 25;
/// After a failed look-up, stale keys are served without asking for this long.
const AWAY: Duration = Duration::from_secs(1);

/// Where keys are looked up.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// The key with this public id, revoked ones included.
    async fn find(&self, public_id: &str) -> Result<Option<StoredKey>, StoreError>;

    /// A number that changes whenever keys or users may have changed, by whatever process.
    async fn generation(&self) -> Result<u64, StoreError>;

    /// Keeps the later of what is stored and what is given, for each key.
    async fn mark_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), StoreError>;
}

/// A key as the store has it.
#[derive(Debug, Clone)]
pub struct StoredKey {
    pub hash: KeyHash,
    /// Not revoked, and its user not disabled.
    pub active: bool,
    /// Set on a key that was replaced: from then on it counts as revoked.
    pub retires_at: Option<Timestamp>,
    pub principal: Principal,
}

/// Bounds of the cache and of its patience.
#[derive(Debug, Clone, Copy)]
pub struct KeySettings {
    /// How long a known key is served without asking again, where no change was noticed. From half of it on, the
    /// store is asked behind the request.
    pub fresh: Duration,
    /// How long it is served while the store is away.
    pub stale: Duration,
    pub known_capacity: u64,
    /// How long, and how many, unknown keys are remembered as such.
    pub unknown_for: Duration,
    pub unknown_capacity: u64,
    /// Look-ups of unknown keys in flight at once.
    pub lookups: usize,
    /// The longest a request waits for the store.
    pub patience: Duration,
    /// Look-ups of unknown keys a minute that one client address may fail with, and how many addresses are kept.
    pub failures: u32,
    pub failing_addresses: u64,
}

/// Why a key does not open the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    #[error("no API key was given")]
    Missing,
    /// Unknown, malformed or revoked: one answer, so that it tells nothing.
    #[error("the API key is not valid")]
    Invalid,
    #[error("the API key has expired")]
    Expired,
    /// Too many keys from this address were unknown lately, and this one is not known either.
    #[error("too many unknown keys came from this address")]
    TooManyFailed { wait: Duration },
    #[error("keys cannot be looked up now")]
    StoreUnavailable,
}

/// A key that opens the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    pub principal: Arc<Principal>,
    /// The store was asked about it and did not answer: this request has waited for the store once.
    pub unanswered: bool,
}

/// Authenticates API keys. One for the process, shared.
pub struct Keys(Arc<Shared>);

pub(super) struct Shared {
    store: Arc<dyn KeyStore>,
    pepper: Pepper,
    clock: Arc<dyn Clock>,
    settings: KeySettings,
    known: Cache<PublicId, Arc<Known>, RandomState>,
    unknown: Cache<KeyHash, Seen, RandomState>,
    lookups: Lookups,
    brake: Brake,
    /// Counts flushes. What was learnt under an earlier epoch must be asked again, but may still be served stale.
    epoch: AtomicU64,
    /// Until when (µs) the store is taken to be away.
    away_until: AtomicI64,
    /// Keys used since the last write of last-used times, each once.
    used: Mutex<Vec<Arc<Known>>>,
}

/// When something was learnt from the store.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Timestamp,
    epoch: u64,
}

/// A key that the store knows and that was active when asked.
pub(super) struct Known {
    hash: KeyHash,
    retires_at: Option<Timestamp>,
    principal: Arc<Principal>,
    seen: Seen,
    last_used: AtomicI64,
    in_used: AtomicBool,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(60),
            stale: Duration::from_secs(3600),
            known_capacity: 100_000,
            unknown_for: Duration::from_secs(30),
            unknown_capacity: 50_000,
            lookups: 32,
            patience: Duration::from_millis(250),
            failures: 30,
            failing_addresses: 100_000,
        }
    }
}

impl Keys {
    pub fn new(store: Arc<dyn KeyStore>, pepper: &[u8], clock: Arc<dyn Clock>, settings: KeySettings) -> Self {
        Self(Arc::new(Shared {
            store,
            pepper: Pepper::new(pepper),
            clock,
            // moka's own lives only bound memory: what may be served is decided by our clock.
            known: Cache::builder()
                .max_capacity(settings.known_capacity)
                .time_to_live(settings.stale)
                .build_with_hasher(RandomState::new()),
            unknown: Cache::builder()
                .max_capacity(settings.unknown_capacity)
                .time_to_live(settings.unknown_for)
                .build_with_hasher(RandomState::new()),
            lookups: Lookups::new(settings.lookups),
            brake: Brake::new(settings.failures, settings.failing_addresses),
            settings,
            epoch: AtomicU64::new(0),
            away_until: AtomicI64::new(i64::MIN),
            used: Mutex::default(),
        }))
    }

    /// Whose key `presented` is, that came from `address`. A fresh known key costs one HMAC and no store; every other
    /// waits `patience` at most.
    pub async fn authenticate(&self, presented: &str, address: IpAddr) -> Result<Proved, KeyRefusal> {
        if presented.is_empty() {
            return Err(KeyRefusal::Missing);
        }
        let key = RawKey::parse(presented).map_err(|_| KeyRefusal::Invalid)?;
        let hash = self.0.pepper.hash(&key);
        let id = key.public_id();
        let now = self.0.clock.now();
        let cached = self.0.known.get(&id);
        if let Some(known) = &cached
            && self.0.is_fresh(known.seen, now, self.0.settings.fresh)
        {
            if known.hash != hash {
                return Err(KeyRefusal::Invalid);
            }
            if !self.0.is_fresh(known.seen, now, self.0.settings.fresh / 2) && !self.0.store_is_away(now) {
                drop(self.0.look_up(id, None));
            }
            return self.0.admit(known, now);
        }
        // Boxed: the rare path must not make every request's future larger.
        Box::pin(self.0.ask(id, hash, cached.filter(|known| known.hash == hash), address)).await
    }

    /// Has every key asked for again. Keys already known may still be served stale if the store does not answer.
    pub fn flush(&self) {
        self.0.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Runs for the life of the process: notices changes made elsewhere and writes last-used times.
    pub async fn watch(self: Arc<Self>) {
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut generation = None;
        let mut polls = 0_u32;
        loop {
            poll.tick().await;
            generation = self.notice(generation).await;
            polls = polls.wrapping_add(1);
            if polls.is_multiple_of(POLLS_PER_WRITE) {
                self.write_used().await;
            }
        }
    }

    /// Flushes if the store's generation is not `last`; returns the one to compare with next time.
    async fn notice(&self, last: Option<u64>) -> Option<u64> {
        match self.0.store.generation().await {
            Ok(generation) => {
                if last != Some(generation) {
                    self.flush();
                }
                Some(generation)
            }
            Err(_) => last,
        }
    }

    /// Writes the last-used times gathered since the last call. What fails is forgotten: the next use tells it again.
    pub async fn write_used(&self) {
        let used = std::mem::take(&mut *self.0.used.lock().unwrap_or_else(PoisonError::into_inner));
        if used.is_empty() {
            return;
        }
        let times: Vec<_> = used.iter().map(|known| known.take_last_used()).collect();
        if let Err(error) = self.0.store.mark_used(&times).await {
            tracing::warn!(%error, keys = times.len(), "last-used times were not written");
        }
    }
}

impl Shared {
    /// The slow path: what is cached is too old, or nothing is. `proved` is a cached entry whose hash is this key's.
    async fn ask(
        self: &Arc<Self>,
        id: PublicId,
        hash: KeyHash,
        proved: Option<Arc<Known>>,
        address: IpAddr,
    ) -> Result<Proved, KeyRefusal> {
        let now = self.clock.now();
        if self.unknown.get(&hash).is_some_and(|seen| self.is_fresh(seen, now, self.settings.unknown_for)) {
            return Err(KeyRefusal::Invalid);
        }
        let stale = proved.filter(|known| known.seen.at.until(now) <= self.settings.stale);
        if let Some(known) = &stale
            && self.store_is_away(now)
        {
            return self.admit(known, now);
        }
        // The epoch from before the look-up: a flush while it runs makes its answer one to ask again.
        let epoch = self.epoch.load(Ordering::Acquire);
        let flight = self.look_up(id, stale.is_none().then_some((address, now)))?;
        match (flight.answer().await, stale) {
            (Ok(known), _) if known.hash == hash => self.admit(&known, now),
            (Ok(_) | Err(NotFound::Unknown), _) => {
                self.unknown.insert(hash, Seen { at: now, epoch });
                Err(KeyRefusal::Invalid)
            }
            (Err(NotFound::Unanswered), Some(known)) => Ok(Proved { unanswered: true, ..self.admit(&known, now)? }),
            (Err(NotFound::Unanswered), None) => Err(KeyRefusal::StoreUnavailable),
        }
    }

    /// `braked`: where an unknown key came from, and when; None for one that was proved before.
    fn look_up(self: &Arc<Self>, id: PublicId, braked: Option<(IpAddr, Timestamp)>) -> Result<Flight, KeyRefusal> {
        self.lookups.join(id, braked.is_some(), self.settings.patience, || {
            let attempt = braked.map(|(address, now)| self.brake.begin(address, now)).transpose();
            let attempt = attempt.map_err(|Braked(wait)| KeyRefusal::TooManyFailed { wait })?;
            let shared = Arc::clone(self);
            Ok(async move {
                let answer = shared.fetch(id).await;
                match attempt {
                    Some(attempt) if matches!(answer, Err(NotFound::Unknown)) => attempt.failed(),
                    _ => {}
                }
                answer
            })
        })
    }

    /// One look-up, its answer kept in the cache.
    async fn fetch(self: Arc<Self>, id: PublicId) -> Result<Arc<Known>, NotFound> {
        let seen = Seen { at: self.clock.now(), epoch: self.epoch.load(Ordering::Acquire) };
        let answer = tokio::time::timeout(self.settings.patience, self.store.find(id.as_str())).await;
        match answer {
            Ok(Ok(Some(stored))) if stored.active => {
                let known = Arc::new(Known::new(stored, seen));
                self.known.insert(id, Arc::clone(&known));
                self.away_until.store(i64::MIN, Ordering::Relaxed);
                Ok(known)
            }
            Ok(Ok(_)) => {
                self.known.invalidate(&id);
                self.away_until.store(i64::MIN, Ordering::Relaxed);
                Err(NotFound::Unknown)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "a key could not be looked up");
                self.note_away();
                Err(NotFound::Unanswered)
            }
            Err(_) => {
                tracing::warn!("a key could not be looked up in time");
                self.note_away();
                Err(NotFound::Unanswered)
            }
        }
    }

    fn admit(&self, known: &Arc<Known>, now: Timestamp) -> Result<Proved, KeyRefusal> {
        if known.retires_at.is_some_and(|end| now >= end) {
            return Err(KeyRefusal::Invalid);
        }
        if known.principal.expired_at(now) {
            return Err(KeyRefusal::Expired);
        }
        known.last_used.store(now.0, Ordering::Relaxed);
        if !known.in_used.load(Ordering::Relaxed) && !known.in_used.swap(true, Ordering::AcqRel) {
            self.used.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(known));
        }
        Ok(Proved { principal: Arc::clone(&known.principal), unanswered: false })
    }

    fn is_fresh(&self, seen: Seen, now: Timestamp, within: Duration) -> bool {
        seen.epoch == self.epoch.load(Ordering::Acquire) && seen.at.until(now) < within
    }

    fn note_away(&self) {
        let until = self.clock.now().0.saturating_add(i64::try_from(AWAY.as_micros()).unwrap_or(0));
        self.away_until.store(until, Ordering::Relaxed);
    }

    fn store_is_away(&self, now: Timestamp) -> bool {
        now.0 < self.away_until.load(Ordering::Relaxed)
    }
}

impl Known {
    fn new(stored: StoredKey, seen: Seen) -> Self {
        Self {
            hash: stored.hash,
            retires_at: stored.retires_at,
            principal: Arc::new(stored.principal),
            seen,
            last_used: AtomicI64::new(0),
            in_used: AtomicBool::new(false),
        }
    }

    fn take_last_used(&self) -> (KeyId, Timestamp) {
        // Cleared before the time is read, so that a use in between is told again, not lost.
        self.in_used.store(false, Ordering::Release);
        (self.principal.key, Timestamp(self.last_used.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
