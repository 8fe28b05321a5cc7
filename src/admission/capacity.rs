//! The room on this edge: requests in flight and the bytes of their bodies, all users together.
//!
//! Failure stance: purely local, nothing to fail. Over the limit a request is refused at once, never queued: a queue
//! would hold the very memory that has run out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The two gauges of one edge. The limits come with each call, so that a reload needs no new gauges.
#[derive(Debug, Default)]
pub struct Capacity {
    in_flight: AtomicUsize,
    body_bytes: AtomicUsize,
}

/// One request in flight; its drop makes room for another.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct InFlight(Arc<Capacity>);

/// Bytes set aside for one request's body; its drop gives them back.
#[derive(Debug)]
#[must_use = "the bytes are given back when this is dropped"]
pub struct BodyMemory {
    capacity: Arc<Capacity>,
    bytes: usize,
}

/// The edge has no room for this request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this edge is at its limit")]
pub struct Overloaded;

impl Capacity {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Takes one of `limit` places.
    pub fn enter(self: &Arc<Self>, limit: usize) -> Result<InFlight, Overloaded> {
        add_within(&self.in_flight, 1, limit)?;
        Ok(InFlight(Arc::clone(self)))
    }

    /// Sets `bytes` aside out of `limit`. Nothing is allocated by this.
    pub fn reserve(self: &Arc<Self>, bytes: usize, limit: usize) -> Result<BodyMemory, Overloaded> {
        add_within(&self.body_bytes, bytes, limit)?;
        Ok(BodyMemory { capacity: Arc::clone(self), bytes })
    }
}

impl BodyMemory {
    /// Sets `more` bytes aside, for what has arrived of a body. Refused, it keeps what it had.
    pub fn grow(&mut self, more: usize, limit: usize) -> Result<(), Overloaded> {
        add_within(&self.capacity.body_bytes, more, limit)?;
        self.bytes += more;
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for BodyMemory {
    fn drop(&mut self) {
        self.capacity.body_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Relaxed suffices: the gauge guards an amount, it orders no other memory.
fn add_within(gauge: &AtomicUsize, amount: usize, limit: usize) -> Result<(), Overloaded> {
    gauge
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(amount).filter(|total| *total <= limit)
        })
        .map(drop)
        .map_err(|_| Overloaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_after_the_last_is_refused_until_one_is_free() {
        let capacity = Capacity::new();
        let first = capacity.enter(2).unwrap();
        let _second = capacity.enter(2).unwrap();
        assert_eq!(capacity.enter(2).unwrap_err(), Overloaded);
        drop(first);
        assert!(capacity.enter(2).is_ok());
    }

    #[test]
    fn body_memory_grows_and_comes_back_whole() {
        let capacity = Capacity::new();
        let mut body = capacity.reserve(60, 100).unwrap();
        body.grow(40, 100).unwrap();
        assert_eq!(body.grow(1, 100), Err(Overloaded));
        assert_eq!((body.bytes(), capacity.body_bytes.load(Ordering::Relaxed)), (100, 100));
        assert!(capacity.reserve(usize::MAX, usize::MAX).is_err(), "an overflow is a refusal");
        drop(body);
        assert_eq!(capacity.body_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn many_threads_never_hold_more_than_the_limit() {
        let capacity = Capacity::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if let Ok(place) = capacity.enter(3) {
                            assert!(capacity.in_flight.load(Ordering::Relaxed) <= 3);
                            drop(place);
                        }
                    }
                });
            }
        });
        assert_eq!(capacity.in_flight.load(Ordering::Relaxed), 0);
    }
}
