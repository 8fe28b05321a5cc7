//! Whose key this is: the cache in front of the key store.
//!
//! Failure stance: open for keys already proved, closed for all others. A known key is served for up to an hour
//! (`stale`) while the store is away, because an outage of ours must not stop people who were at work; its expiry is
//! checked against the local clock all the same. A key never seen is refused as unavailable, not as invalid, because
//! clients give up on a 401. A key that the store has named as changed is one never seen until it has answered: most
//! such changes are revocations. No request waits for the store longer than `patience`.
//!
//! Known keys are found by their public id and then compared; unknown ones are remembered by their whole hash, never
//! by the id alone, or anyone could lock a key out by sending its id with a wrong secret. Whoever makes keys up runs into
//! two caps, on look-ups in flight and on failed ones of an address, neither of which a cached key ever touches; those
//! have a cap of their own, so that a flush of all of them does not crowd out what else the store is asked.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use moka::sync::Cache;
use tokio::time::MissedTickBehavior;

use crate::admission::brake::{Brake, Braked};
use crate::admission::key::{KeyHash, Pepper, PublicId, RawKey};
use crate::admission::key_store::{Changed, Changes, KeyStore};
use crate::admission::known::{Known, Named, Seen};
use crate::admission::lookup::{Flight, Lookups, NotFound};
use crate::admission::principal::Principal;
use crate::clock::Clock;
use crate::units::Timestamp;

/// How often the store is asked whether keys have changed: a revocation holds within this and one look-up.
const POLL: Duration = Duration::from_millis(200);
/// Last-used times are written once in so many polls.
const POLLS_PER_WRITE: u32 = 25;
/// After a failed look-up, stale keys are served without asking for this long.
const AWAY: Duration = Duration::from_secs(1);

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
    /// Look-ups of unknown keys in flight at once, and as many of keys proved before.
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
    named: Named,
    /// Counts flushes. What was learnt under an earlier epoch must be asked again, but may still be served stale.
    epoch: AtomicU64,
    /// Until when (µs) the store is taken to be away.
    away_until: AtomicI64,
    /// Keys used since the last write of last-used times, each once.
    used: Mutex<Vec<Arc<Known>>>,
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

impl From<Braked> for KeyRefusal {
    fn from(Braked(wait): Braked) -> Self {
        Self::TooManyFailed { wait }
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
            named: Named::new(),
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
            && !known.is_changed()
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
        let mut mark = None;
        let mut polls = 0_u32;
        loop {
            poll.tick().await;
            mark = self.notice(mark).await;
            polls = polls.wrapping_add(1);
            if polls.is_multiple_of(POLLS_PER_WRITE) {
                self.write_used().await;
            }
        }
    }

    /// Has asked for again what the store says has changed since `mark`; gives the mark to ask with next time.
    async fn notice(&self, mark: Option<u64>) -> Option<u64> {
        match self.0.store.changes(mark).await {
            Ok(Changes { what, mark }) => {
                match what {
                    Changed::Any => self.flush(),
                    Changed::Keys(ids) => ids.into_iter().for_each(|id| self.0.note_changed(id)),
                }
                Some(mark)
            }
            Err(_) => mark,
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
        let refused =
            |seen: Seen| seen.named == self.named.count(id) && self.is_fresh(seen, now, self.settings.unknown_for);
        if self.unknown.get(&hash).is_some_and(refused) {
            return Err(KeyRefusal::Invalid);
        }
        let stale = proved.filter(|known| known.seen.at.until(now) <= self.settings.stale);
        if let Some(known) = &stale
            && !known.is_changed()
            && self.store_is_away(now)
        {
            return self.admit(known, now);
        }
        let flight = self.look_up(id, stale.is_none().then_some((address, now)))?;
        let seen = match (flight.answer().await, stale) {
            (Ok(known), _) if known.hash == hash => return self.admit(&known, now),
            (Ok(known), _) => known.seen,
            (Err(NotFound::Unknown(seen)), _) => seen,
            (Err(NotFound::Unanswered | NotFound::Braked(_)), Some(known)) if !known.is_changed() => {
                return Ok(Proved { unanswered: true, ..self.admit(&known, now)? });
            }
            (Err(NotFound::Unanswered), _) => return Err(KeyRefusal::StoreUnavailable),
            (Err(NotFound::Braked(braked)), _) => return Err(braked.into()),
        };
        self.unknown.insert(hash, seen);
        Err(KeyRefusal::Invalid)
    }

    /// `braked`: where an unknown key came from, and when; None for one that was proved before.
    fn look_up(self: &Arc<Self>, id: PublicId, braked: Option<(IpAddr, Timestamp)>) -> Result<Flight, KeyRefusal> {
        let attempt = || braked.map(|(address, now)| self.brake.begin(address, now)).transpose();
        let asked = (id, braked.map(|(address, _)| address));
        Ok(self.lookups.join(asked, self.settings.patience, attempt, || Arc::clone(self).fetch(id))?)
    }

    /// One look-up, its answer kept in the cache.
    async fn fetch(self: Arc<Self>, id: PublicId) -> Result<Arc<Known>, NotFound> {
        let (epoch, named) = (self.epoch.load(Ordering::Acquire), self.named.count(id));
        let seen = Seen { at: self.clock.now(), epoch, named };
        let answer = tokio::time::timeout(self.settings.patience, self.store.find(id.as_str())).await;
        match answer {
            Ok(Ok(Some(stored))) if stored.active => {
                let known = Arc::new(Known::new(stored, seen));
                self.known.insert(id, Arc::clone(&known));
                // Named while its answer was on its way.
                if self.named.count(id) != named {
                    known.note_changed();
                }
                self.away_until.store(i64::MIN, Ordering::Relaxed);
                Ok(known)
            }
            Ok(Ok(_)) => {
                self.known.invalidate(&id);
                self.away_until.store(i64::MIN, Ordering::Relaxed);
                Err(NotFound::Unknown(seen))
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

    /// The store has named this key as changed.
    fn note_changed(&self, id: PublicId) {
        self.named.note(id);
        if let Some(known) = self.known.get(&id) {
            known.note_changed();
        }
    }

    fn admit(&self, known: &Arc<Known>, now: Timestamp) -> Result<Proved, KeyRefusal> {
        if known.retires_at.is_some_and(|end| now >= end) {
            return Err(KeyRefusal::Invalid);
        }
        if known.principal.expired_at(now) {
            return Err(KeyRefusal::Expired);
        }
        if known.note_used(now) {
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

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
