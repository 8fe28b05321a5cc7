//! Look-ups in flight: one a key however many wait for it, and a cap on them. An unknown key has one for each address that
//! shows it: what another address may not ask for is refused to that one alone.
//!
//! The cap is what a flood of well-formed invented keys runs into. Keys already proved do not count against it and have
//! one of their own: after a flush all of them are asked for again at once, and whatever else the store is asked
//! (quota, rows) must not stand behind thousands of them. A look-up waits for its place here, in the order of arrival,
//! and no longer than its request does. One on the account of an address waits for that address's place first, so that
//! none of the others' is taken while it waits.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::admission::brake::{Attempt, Braked};
use crate::admission::key::PublicId;
use crate::admission::known::{Known, Seen};

/// The look-ups of one process.
#[derive(Clone)]
pub(super) struct Lookups {
    flights: Flights,
    unknown: Arc<Semaphore>,
    proved: Arc<Semaphore>,
}

/// One look-up that may be shared. Dropping it stops nothing: the answer is cached for the next request.
pub(super) struct Flight(watch::Receiver<Option<Answer>>);

/// Why a look-up yields no key.
#[derive(Debug, Clone, Copy)]
pub(super) enum NotFound {
    /// The store has no such key, or it is not active.
    Unknown(Seen),
    /// The store failed or took too long, or too many were looked up at once.
    Unanswered,
    /// Too many keys from its address were unknown.
    Braked(Braked),
}

type Answer = Result<Arc<Known>, NotFound>;
/// A key, and the address on whose account it is looked up, if it is on any.
pub(super) type Asked = (PublicId, Option<IpAddr>);
type Flights = Arc<Mutex<HashMap<Asked, watch::Receiver<Option<Answer>>>>>;

impl Lookups {
    /// `cap`: look-ups of unknown keys in flight at once, and as many of proved ones.
    pub(super) fn new(cap: usize) -> Self {
        let places = || Arc::new(Semaphore::new(cap));
        Self { flights: Flights::default(), unknown: places(), proved: places() }
    }

    /// Joins the look-up of what is `asked` that is in flight, or starts `fetch`. It first waits for a place under the cap of its
    /// kind, an unknown key's on the account that `attempt` opens; all together take `patience` at most.
    pub(super) fn join<E, F: Future<Output = Answer> + Send + 'static>(
        &self,
        asked: Asked,
        patience: Duration,
        attempt: impl FnOnce() -> Result<Option<Attempt>, E>,
        fetch: impl FnOnce() -> F,
    ) -> Result<Flight, E> {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(&asked) {
            return Ok(Flight(flight.clone()));
        }
        let attempt = attempt()?;
        let (sender, receiver) = watch::channel(None);
        flights.insert(asked, receiver.clone());
        drop(flights);
        let landing = Landing { flights: Arc::clone(&self.flights), asked };
        let places = Arc::clone(if attempt.is_some() { &self.unknown } else { &self.proved });
        let looked_up = placed(places, attempt, fetch());
        // A task of its own, so that the request that began it may leave without taking the others' answer along.
        tokio::spawn(async move {
            let answer = tokio::time::timeout(patience, looked_up).await.unwrap_or(Err(NotFound::Unanswered));
            drop(landing);
            sender.send_replace(Some(answer));
        });
        Ok(Flight(receiver))
    }
}

async fn placed(places: Arc<Semaphore>, attempt: Option<Attempt>, fetch: impl Future<Output = Answer>) -> Answer {
    let under_way = match attempt {
        Some(attempt) => Some(attempt.under_way().await.map_err(NotFound::Braked)?),
        None => None,
    };
    let _place = places.acquire().await.ok();
    let answer = fetch.await;
    if let (Some(under_way), Err(NotFound::Unknown(_))) = (under_way, &answer) {
        under_way.failed();
    }
    answer
}

impl Flight {
    pub(super) async fn answer(mut self) -> Answer {
        match self.0.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Err(NotFound::Unanswered)),
            Err(_) => Err(NotFound::Unanswered),
        }
    }
}

/// Takes the flight off the list, also when its task is dropped half-way.
struct Landing {
    flights: Flights,
    asked: Asked,
}

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.flights).remove(&self.asked);
    }
}

fn lock(flights: &Flights) -> MutexGuard<'_, HashMap<Asked, watch::Receiver<Option<Answer>>>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}
