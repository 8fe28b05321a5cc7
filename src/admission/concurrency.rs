//! How many requests one user may have open at once: streams, and requests of any kind.
//!
//! Both caps hold on this edge alone, purely local, with nothing to fail. Where a shared store is configured, the cap
//! of streams holds across all edges as well ([`SharedPlaces`], which has the failure stance).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

use crate::admission::places::{Place, SharedPlaces};
use crate::config::ResolvedLimits;
use crate::units::UserId;

/// Enough that two cores seldom meet at one lock.
const SHARDS: usize = 16;

type Users = HashMap<UserId, Open, RandomState>;

/// The open requests of every user on this edge. A user with none takes no room.
#[derive(Debug, Default)]
pub struct Concurrency {
    shards: [Mutex<Users>; SHARDS],
    hasher: RandomState,
    /// None where edges share nothing.
    shared: Option<Arc<SharedPlaces>>,
}

/// One open request; its drop frees the place.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct Permit {
    table: Arc<Concurrency>,
    user: UserId,
    stream: bool,
    /// Among all edges.
    place: Option<Place>,
}

/// The user has as many requests open as they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConcurrencyRefusal {
    #[error("{limit} streams are open already")]
    Streams { limit: u32 },
    #[error("{limit} requests are open already")]
    Requests { limit: u32 },
}

#[derive(Debug, Default)]
struct Open {
    streams: u32,
    /// Streams included.
    requests: u32,
}

impl Concurrency {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A table whose streams also need a place among those of all edges.
    pub fn shared(places: Arc<SharedPlaces>) -> Arc<Self> {
        Arc::new(Self { shared: Some(places), ..Self::default() })
    }

    /// Streams admitted by this edge's cap alone while the shared store was away.
    pub fn unshared(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.unshared())
    }

    /// Takes a place for one request of `user` on this edge.
    pub fn enter(self: &Arc<Self>, user: UserId, limits: &ResolvedLimits) -> Result<Permit, ConcurrencyRefusal> {
        let mut shard = self.shard(user);
        let (streams, requests) = shard.get(&user).map_or((0, 0), |open| (open.streams, open.requests));
        if requests >= limits.concurrent_requests {
            return Err(ConcurrencyRefusal::Requests { limit: limits.concurrent_requests });
        }
        shard.insert(user, Open { streams, requests: requests + 1 });
        drop(shard);
        Ok(Permit { table: Arc::clone(self), user, stream: false, place: None })
    }

    fn shard(&self, user: UserId) -> MutexGuard<'_, Users> {
        let place = usize::try_from(self.hasher.hash_one(user)).unwrap_or_default() % SHARDS;
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Takes one of the user's stream places on this edge as well. Where the permit then
    /// [`needs_sharing`](Permit::needs_sharing), it holds only after [`Permit::share`].
    pub fn stream(mut self, limits: &ResolvedLimits) -> Result<Self, ConcurrencyRefusal> {
        let limit = limits.concurrent_streams;
        self.stream = match self.table.shard(self.user).get_mut(&self.user) {
            Some(open) if open.streams < limit => {
                open.streams += 1;
                true
            }
            _ => false,
        };
        match self.stream {
            true => Ok(self),
            false => Err(ConcurrencyRefusal::Streams { limit }),
        }
    }

    /// Whether the other edges are to be asked too.
    pub fn needs_sharing(&self) -> bool {
        self.stream && self.table.shared.is_some()
    }

    /// Takes the place among all edges. Waits for the shared store for 250 ms at most.
    pub async fn share(mut self, limits: &ResolvedLimits) -> Result<Self, ConcurrencyRefusal> {
        if let (Some(shared), true) = (&self.table.shared, self.stream) {
            let limit = limits.concurrent_streams;
            let place = shared.enter(self.user, limit).await;
            self.place = Some(place.ok_or(ConcurrencyRefusal::Streams { limit })?);
        }
        Ok(self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut shard = self.table.shard(self.user);
        if let Some(open) = shard.get_mut(&self.user) {
            open.requests = open.requests.saturating_sub(1);
            open.streams = open.streams.saturating_sub(u32::from(self.stream));
            if open.requests == 0 {
                shard.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ResolvedLimits = ResolvedLimits { daily_requests: 10, concurrent_streams: 2, concurrent_requests: 3 };

    fn user(number: u128) -> UserId {
        UserId(uuid::Uuid::from_u128(number))
    }

    fn stream_of(table: &Arc<Concurrency>, user: UserId) -> Result<Permit, ConcurrencyRefusal> {
        table.enter(user, &LIMITS)?.stream(&LIMITS)
    }

    fn open_streams(table: &Concurrency) -> u32 {
        let streams_of =
            |shard: &Mutex<Users>| -> u32 { shard.lock().unwrap().values().map(|open| open.streams).sum() };
        table.shards.iter().map(streams_of).sum()
    }

    #[test]
    fn the_third_stream_waits_for_one_to_end() {
        let table = Concurrency::new();
        let first = stream_of(&table, user(1)).unwrap();
        let _second = stream_of(&table, user(1)).unwrap();
        assert_eq!(stream_of(&table, user(1)).unwrap_err(), ConcurrencyRefusal::Streams { limit: 2 });
        assert!(stream_of(&table, user(2)).is_ok(), "another user is not affected");
        let third = table.enter(user(1), &LIMITS).unwrap();
        assert_eq!(table.enter(user(1), &LIMITS).unwrap_err(), ConcurrencyRefusal::Requests { limit: 3 });
        drop((first, third));
        assert!(stream_of(&table, user(1)).is_ok());
    }

    #[test]
    fn users_without_open_requests_take_no_room() {
        let table = Concurrency::new();
        for number in 0..1_000 {
            drop(stream_of(&table, user(number)).unwrap());
        }
        assert_eq!(table.shards.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>(), 0);
        assert_eq!(open_streams(&table), 0);
    }

    #[test]
    fn many_threads_never_pass_the_cap() {
        let table = Concurrency::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if let Ok(permit) = stream_of(&table, user(1)) {
                            assert!(open_streams(&table) <= 2);
                            drop(permit);
                        }
                    }
                });
            }
        });
        assert_eq!(open_streams(&table), 0);
    }
}
