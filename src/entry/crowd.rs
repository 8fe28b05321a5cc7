//! How many connections there are, in all and from each address.
//!
//! An IPv6 address counts as its /64, of which one client has as many as it likes.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;

/// Threads take connections in at once, and would queue for one lock.
const SHARDS: usize = 16;

/// All connections of this process.
#[derive(Debug)]
pub struct Crowd {
    all: AtomicUsize,
    by_address: [Mutex<AHashMap<u128, usize>>; SHARDS],
    hasher: RandomState,
}

/// A connection's place. Dropping it is its end.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    address: Option<u128>,
}

impl Crowd {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { all: AtomicUsize::new(0), by_address: Default::default(), hasher: RandomState::new() })
    }

    /// One more connection, of at most `most`.
    pub fn enter(self: &Arc<Self>, most: usize) -> Option<Place> {
        let before = self.all.fetch_add(1, Ordering::Relaxed);
        let place = Place { crowd: Arc::clone(self), address: None };
        (before < most).then_some(place) // dropped, it takes its one back
    }

    fn shard(&self, address: u128) -> &Mutex<AHashMap<u128, usize>> {
        &self.by_address[usize::try_from(self.hasher.hash_one(address) % SHARDS as u64).unwrap_or(0)]
    }
}

impl Place {
    /// Counts it as of `address`, which may have `most`. False where it has them already.
    #[must_use]
    pub fn of(&mut self, address: IpAddr, most: usize) -> bool {
        let address = counted_as(address);
        let mut shard = self.crowd.shard(address).lock().unwrap_or_else(PoisonError::into_inner);
        let count = shard.entry(address).or_default();
        if *count >= most {
            return false; // `most` is at least one: the entry was there before
        }
        *count += 1;
        self.address = Some(address);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.all.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut shard = self.crowd.shard(address).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = shard.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&address);
            }
        }
    }
}

/// An address as itself, an IPv6 one as the network that its client was given.
pub(super) fn counted_as(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn no_more_come_in_than_may() {
        let crowd = Crowd::new();
        let places: Vec<_> = (0..3).map(|_| crowd.enter(3).unwrap()).collect();
        assert!(crowd.enter(3).is_none());
        drop(places);
        assert!(crowd.enter(1).is_some());
        assert_eq!(crowd.all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_address_has_its_own_count_and_ipv6_one_by_network() {
        let crowd = Crowd::new();
        let enter = |address: &str| {
            let mut place = crowd.enter(100).unwrap();
            place.of(ip(address), 2).then_some(place)
        };
        let mut held = vec![enter("192.0.2.1"), enter("::ffff:192.0.2.1"), enter("192.0.2.2")];
        assert!(enter("192.0.2.1").is_none());
        held.extend([enter("2001:db8:1:2::1"), enter("2001:db8:1:2:ffff::9")]);
        assert!(enter("2001:db8:1:2:3::").is_none());
        held.push(enter("2001:db8:1:3::1"));
        assert!(held.iter().all(Option::is_some));
        held.remove(0);
        assert!(enter("192.0.2.1").is_some(), "who leaves makes room");
        drop(held);
        assert!(crowd.by_address.iter().all(|shard| shard.lock().unwrap().is_empty()), "nobody is remembered");
    }
}
