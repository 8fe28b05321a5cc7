//! Look-ups in flight: one a key however many wait for it, and a cap on those of unknown keys.
//!
//! The cap is what a flood of well-formed invented keys runs into; keys already proved do not count against it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::admission::key::PublicId;
use crate::admission::keys::Known;

/// The look-ups of one process.
#[derive(Clone)]
pub(super) struct Lookups {
    flights: Flights,
    brake: Arc<Semaphore>,
}

/// One look-up that may be shared. Dropping it stops nothing: the answer is cached for the next request.
pub(super) struct Flight(watch::Receiver<Option<Answer>>);

/// Why a look-up yields no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotFound {
    /// The store has no such key, or it is not active.
    Unknown,
    /// The store failed or took too long, or too many were looked up at once.
    Unanswered,
}

type Answer = Result<Arc<Known>, NotFound>;
type Flights = Arc<Mutex<HashMap<PublicId, watch::Receiver<Option<Answer>>>>>;

impl Lookups {
    /// `cap`: braked look-ups in flight at once.
    pub(super) fn new(cap: usize) -> Self {
        Self { flights: Flights::default(), brake: Arc::new(Semaphore::new(cap)) }
    }

    /// Joins the look-up of `id` that is in flight, or starts the one that `begin` allows. A `braked` one first waits
    /// for a place under the cap; both together take `patience` at most.
    pub(super) fn join<E, F: Future<Output = Answer> + Send + 'static>(
        &self,
        id: PublicId,
        braked: bool,
        patience: Duration,
        begin: impl FnOnce() -> Result<F, E>,
    ) -> Result<Flight, E> {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(&id) {
            return Ok(Flight(flight.clone()));
        }
        let fetch = begin()?;
        let (sender, receiver) = watch::channel(None);
        flights.insert(id, receiver.clone());
        drop(flights);
        let landing = Landing { flights: Arc::clone(&self.flights), id };
        let brake = braked.then(|| Arc::clone(&self.brake));
        // A task of its own, so that the request that began it may leave without taking the others' answer along.
        tokio::spawn(async move {
            let braked = async {
                let _place = match &brake {
                    Some(brake) => brake.acquire().await.ok(),
                    None => None,
                };
                fetch.await
            };
            let answer = tokio::time::timeout(patience, braked).await.unwrap_or(Err(NotFound::Unanswered));
            drop(landing);
            sender.send_replace(Some(answer));
        });
        Ok(Flight(receiver))
    }
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
    id: PublicId,
}

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.flights).remove(&self.id);
    }
}

fn lock(flights: &Flights) -> MutexGuard<'_, HashMap<PublicId, watch::Receiver<Option<Answer>>>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}
