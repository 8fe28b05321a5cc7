//! A user's streams on all edges together, where a store that the edges share is configured.
//!
//! The table of this edge is asked first ([`Concurrency`](super::Concurrency)); the store is asked for streams only,
//! so that ordinary requests cost no round trip. A place is held by renewal: it lives for [`PLACE_LIFE`] and is
//! renewed while its stream is open, however long that is; those of an edge that died run out.
//!
//! Failure stance: open. Where the store does not answer within 250 ms the cap holds on this edge alone, which is
//! logged once and counted; places taken meanwhile are told to the store when it is back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::admission::outage::Outage;
use crate::units::{StoreError, UserId};

/// How long a place is held without renewal.
pub const PLACE_LIFE: Duration = Duration::from_secs(12);
/// Two renewals may fail before a place is lost.
const RENEWAL: Duration = Duration::from_secs(4);
/// The longest a request waits for the store.
const PATIENCE: Duration = Duration::from_millis(250);
/// After this a call in the background is given up.
const GIVE_UP: Duration = Duration::from_secs(2);
/// Places told in one call.
const BATCH: usize = 500;

/// One open stream, whichever edge it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlaceId(pub Uuid);

/// Where the open streams of all edges are counted.
#[async_trait]
pub trait ConcurrencyStore: Send + Sync {
    /// Takes a place for one stream of `user`, for [`PLACE_LIFE`]. False: `limit` places are taken. To enter again
    /// with the same place changes nothing but its life.
    async fn enter(&self, user: UserId, place: PlaceId, limit: u32) -> Result<bool, StoreError>;

    /// Gives places back. Those that are not there are none.
    async fn leave(&self, places: &[(UserId, PlaceId)]) -> Result<(), StoreError>;

    /// Holds places for another [`PLACE_LIFE`], also those that the store has lost.
    async fn renew(&self, places: &[(UserId, PlaceId)]) -> Result<(), StoreError>;
}

/// The places that streams on this edge take among all edges.
pub struct SharedPlaces {
    store: Arc<dyn ConcurrencyStore>,
    told: UnboundedSender<Told>,
    heard: Mutex<Option<UnboundedReceiver<Told>>>,
    outage: Outage,
    unshared: AtomicU64,
}

/// A stream's place; its drop gives it back, without waiting.
pub(super) struct Place {
    user: UserId,
    id: PlaceId,
    told: UnboundedSender<Told>,
}

enum Told {
    Taken(UserId, PlaceId),
    Left(UserId, PlaceId),
}

impl SharedPlaces {
    pub fn new(store: Arc<dyn ConcurrencyStore>) -> Arc<Self> {
        let (told, heard) = mpsc::unbounded_channel();
        let outage = Outage::of("the store of open streams", "streams are limited on this edge alone");
        let heard = Mutex::new(Some(heard));
        Arc::new(Self { store, told, heard, outage, unshared: AtomicU64::new(0) })
    }

    /// Streams admitted by this edge's table alone so far, because the store did not answer.
    pub fn unshared(&self) -> u64 {
        self.unshared.load(Ordering::Relaxed)
    }

    /// Takes a place, or None where all `limit` are taken.
    pub(super) async fn enter(&self, user: UserId, limit: u32) -> Option<Place> {
        let id = PlaceId(Uuid::new_v4());
        // Made before the store is asked: a request that leaves while it waits gives back what it may have taken.
        let place = Place { user, id, told: self.told.clone() };
        let _ = self.told.send(Told::Taken(user, id));
        if !self.outage.may_call() {
            self.unshared.fetch_add(1, Ordering::Relaxed);
            return Some(place);
        }
        let why = match tokio::time::timeout(PATIENCE, self.store.enter(user, id, limit)).await {
            Ok(Ok(entered)) => {
                self.outage.note_answer();
                return entered.then_some(place);
            }
            Ok(Err(error)) => error.0,
            Err(_) => "no answer in time".to_owned(),
        };
        self.outage.note_failure(&why);
        self.unshared.fetch_add(1, Ordering::Relaxed);
        Some(place)
    }

    /// Renews what is open and gives back what ended; for the life of the process.
    pub async fn run(self: Arc<Self>) {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut heard) = heard else { return };
        let mut open: HashMap<PlaceId, UserId> = HashMap::new();
        let mut renewal = tokio::time::interval(RENEWAL);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                _ = renewal.tick() => {
                    let places: Vec<_> = open.iter().map(|(id, user)| (*user, *id)).collect();
                    for part in places.chunks(BATCH) {
                        self.note(tokio::time::timeout(GIVE_UP, self.store.renew(part)).await);
                    }
                }
                _ = heard.recv_many(&mut batch, BATCH) => {
                    let mut left = Vec::new();
                    for told in batch.drain(..) {
                        match told {
                            Told::Taken(user, id) => drop(open.insert(id, user)),
                            Told::Left(user, id) => {
                                open.remove(&id);
                                left.push((user, id));
                            }
                        }
                    }
                    // What is not given back now runs out by itself.
                    if !left.is_empty() {
                        self.note(tokio::time::timeout(GIVE_UP, self.store.leave(&left)).await);
                    }
                }
            }
        }
    }

    fn note(&self, outcome: Result<Result<(), StoreError>, tokio::time::error::Elapsed>) {
        match outcome {
            Ok(Ok(())) => self.outage.note_answer(),
            Ok(Err(error)) => self.outage.note_failure(&error.0),
            Err(_) => self.outage.note_failure("a call was given up"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // At the end of the process nobody listens any more, and the place runs out.
        let _ = self.told.send(Told::Left(self.user, self.id));
    }
}

impl std::fmt::Debug for SharedPlaces {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SharedPlaces").field("unshared", &self.unshared()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Place").field(&self.id).finish()
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
