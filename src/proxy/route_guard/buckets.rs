//! What a route remembers of the addresses that come to it: bounded, however many there are, and forgotten without
//! looking at each.
//!
//! Addresses have a bucket each until a shard is full; who comes new then shares one with other networks, so that a flood of
//! addresses costs others at worst a part of their rate. A network of 48 bits (IPv4: 24) stays within one shard: who owns
//! one fills no other.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::RandomState;
use governor::nanos::Nanos;
use governor::state::StateStore;

const SHARDS: usize = 16;
/// Addresses that have a bucket of their own, in all shards together: some five megabytes of a route.
pub const MOST: usize = 65_536;
/// Buckets of a shard that the others share.
const SHARED: usize = 64;

/// A bucket for each key, for use by a rate limiter.
pub struct Buckets {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    /// After so long a bucket that nobody came to is full again, and as good as none.
    refills_in: Duration,
}

/// Buckets by the generation that they were last drawn from in. A generation lasts as long as a bucket takes to refill,
/// so the one before the last is forgotten whole.
struct Shard {
    young: HashMap<u128, Nanos, RandomState>,
    old: HashMap<u128, Nanos, RandomState>,
    shared: HashMap<usize, Nanos, RandomState>,
    began: Instant,
}

impl Buckets {
    /// Of which each is full again `refills_in` after it was empty.
    pub fn new(refills_in: Duration) -> Self {
        let shards = std::array::from_fn(|_| Mutex::new(Shard::empty()));
        Self { shards, hasher: RandomState::default(), refills_in }
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.shards[below(hash, SHARDS)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Buckets {
    type Key = u128;

    fn measure_and_replace<T, F, E>(&self, key: &u128, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let hash = self.hasher.hash_one(network(*key));
        let mut shard = self.shard(hash);
        shard.age(self.refills_in);
        let had = shard.young.get(key).or_else(|| shard.old.get(key)).copied();
        if had.is_none() && shard.young.len() + shard.old.len() >= MOST / SHARDS {
            let bucket = below(hash >> 32, SHARED);
            let (outcome, state) = measure(shard.shared.get(&bucket).copied())?;
            shard.shared.insert(bucket, state);
            return Ok(outcome);
        }
        let (outcome, state) = measure(had)?;
        shard.old.remove(key);
        shard.young.insert(*key, state);
        Ok(outcome)
    }
}

impl Shard {
    fn empty() -> Self {
        let [young, old] = [HashMap::default(), HashMap::default()];
        Self { young, old, shared: HashMap::default(), began: Instant::now() }
    }

    fn age(&mut self, refills_in: Duration) {
        if self.began.elapsed() > refills_in {
            self.old = mem::take(&mut self.young);
            self.began = Instant::now();
        }
    }
}

/// One of so many, by a hash.
fn below(hash: u64, count: usize) -> usize {
    usize::try_from(hash % count as u64).unwrap_or_default()
}

/// What somebody may have many addresses of: a /48 of IPv6, a /24 of IPv4.
fn network(key: u128) -> u128 {
    let mapped = key >> 32 == 0xffff;
    key >> if mapped { 8 } else { 80 }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::clock::DefaultClock;
    use governor::{Quota, RateLimiter};

    use super::*;

    fn remembered(buckets: &Buckets) -> usize {
        buckets.shards.iter().map(|shard| shard.lock().unwrap()).map(|shard| shard.young.len() + shard.old.len()).sum()
    }

    fn address(network: u128, host: u128) -> u128 {
        (0x2001_0db8 << 96) | (network << 80) | (host << 64)
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_and_leaves_those_that_were_there_before_alone() {
        let quota = Quota::per_hour(NonZeroU32::new(2).unwrap());
        let limiter: RateLimiter<u128, Buckets, DefaultClock> =
            RateLimiter::new(quota, Buckets::new(Duration::from_secs(3600)), DefaultClock::default());
        let early = address(7, 7);
        assert!(limiter.check_key(&early).is_ok());
        let one_network = (0..20_000).filter(|host| limiter.check_key(&address(1, *host)).is_ok()).count();
        assert!(one_network <= MOST / SHARDS + 2, "{one_network}: no more than a shard, and one bucket beyond");
        let others = (100..200).filter(|network| limiter.check_key(&address(*network, 0)).is_ok()).count();
        assert!(others > 90, "{others}: other networks have buckets of their own, or share an empty one");
        for network in 0..40_000 {
            for host in 0..3 {
                let _ = limiter.check_key(&address(1000 + network, host));
            }
        }
        assert_eq!([0; 2].map(|_| limiter.check_key(&early).is_ok()), [true, false], "it has its bucket still");
        assert_eq!(remembered(&limiter.into_state_store()), MOST);
    }

    #[test]
    fn what_has_refilled_is_forgotten() {
        let buckets = Buckets::new(Duration::ZERO);
        let full = |_: Option<Nanos>| Ok::<_, ()>(((), Nanos::default()));
        for key in 0..10_000 {
            buckets.measure_and_replace(&address(1, key), full).unwrap();
        }
        assert!(remembered(&buckets) < 100, "of the last two generations");
    }
}
