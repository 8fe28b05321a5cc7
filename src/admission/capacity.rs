//! The room on this edge, all users together: requests in flight, streams among them, and the bytes of bodies
//! and of unread answers held.
//!
//! Failure stance: purely local, nothing to fail. Over a cap a request is refused at once, never queued: a queue
//! would hold the very memory that has run out.
//!
//! A place in flight is taken once a request's body is there, so that nobody holds one by sending slowly. Who would not
//! get one is turned away before that, by a [look](Capacity::look) at the gauge that takes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::config::Limits;

/// The gauges of one edge. The limits come with each call, so that a reload needs no new gauges.
#[derive(Debug, Default)]
pub struct Capacity {
    in_flight: AtomicUsize,
    streams: AtomicUsize,
    body_bytes: AtomicUsize,
    answer_bytes: AtomicUsize,
    /// Requests turned away, by [`Cap`].
    shed: [AtomicU64; 4],
}

/// What there may be only so much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    InFlight,
    Streams,
    BodyMemory,
    AnswerMemory,
}

/// One request in flight; its drop makes room for another.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct InFlight {
    capacity: Arc<Capacity>,
    stream: bool,
}

/// Bytes set aside for one request's body; its drop gives them back.
#[derive(Debug)]
#[must_use = "the bytes are given back when this is dropped"]
pub struct BodyMemory {
    capacity: Arc<Capacity>,
    bytes: usize,
}

/// Bytes of a web answer that its client has yet to take; its drop gives them back.
#[derive(Debug)]
#[must_use = "the bytes are given back when this is dropped"]
pub struct AnswerMemory {
    capacity: Arc<Capacity>,
    bytes: usize,
}

/// The edge has no room for this request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this edge is at its limit of {}", .cap.name())]
pub struct Overloaded {
    pub cap: Cap,
    /// How long to stay away: between one and two seconds, spread evenly over those who are refused, so that a crowd
    /// does not come back as one.
    pub wait: Duration,
}

/// How full an edge is, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fullness {
    /// Streams included.
    pub in_flight: usize,
    pub streams: usize,
    pub body_bytes: usize,
    pub answer_bytes: usize,
    /// Requests turned away since the start, by the cap that they met.
    pub shed: [(Cap, u64); 4],
}

/// Of a thousand, the golden section: however many are refused, their waits lie far from one another.
const SPREAD: u64 = 618;

impl Cap {
    const ALL: [Cap; 4] = [Cap::InFlight, Cap::Streams, Cap::BodyMemory, Cap::AnswerMemory];

    /// The key of `limits.yaml` that sets it.
    pub fn name(self) -> &'static str {
        match self {
            Cap::InFlight => "in_flight",
            Cap::Streams => "streams_in_flight",
            Cap::BodyMemory => "body_memory",
            Cap::AnswerMemory => "answer_memory",
        }
    }
}

impl Capacity {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether a request that came now would find a place. Nothing is taken: it may be gone when it is asked for.
    pub fn look(&self, limits: &Limits) -> Result<(), Overloaded> {
        match self.in_flight.load(Ordering::Relaxed) < limits.in_flight {
            true => Ok(()),
            false => Err(self.shed(Cap::InFlight)),
        }
    }

    /// Takes a place in flight, and one among the streams where it is a `stream`.
    pub fn enter(self: &Arc<Self>, stream: bool, limits: &Limits) -> Result<InFlight, Overloaded> {
        self.take(Cap::InFlight, 1, limits)?;
        let mut place = InFlight { capacity: Arc::clone(self), stream: false };
        if stream {
            self.take(Cap::Streams, 1, limits)?;
            place.stream = true;
        }
        Ok(place)
    }

    /// Sets `bytes` of body memory aside. Nothing is allocated by this.
    pub fn reserve(self: &Arc<Self>, bytes: usize, limits: &Limits) -> Result<BodyMemory, Overloaded> {
        self.take(Cap::BodyMemory, bytes, limits)?;
        Ok(BodyMemory { capacity: Arc::clone(self), bytes })
    }

    /// Counts `bytes` of an answer that wait for their client.
    pub fn hold(self: &Arc<Self>, bytes: usize, limits: &Limits) -> Result<AnswerMemory, Overloaded> {
        self.take(Cap::AnswerMemory, bytes, limits)?;
        Ok(AnswerMemory { capacity: Arc::clone(self), bytes })
    }

    pub fn fullness(&self) -> Fullness {
        Fullness {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            streams: self.streams.load(Ordering::Relaxed),
            body_bytes: self.body_bytes.load(Ordering::Relaxed),
            answer_bytes: self.answer_bytes.load(Ordering::Relaxed),
            shed: Cap::ALL.map(|cap| (cap, self.shed[cap as usize].load(Ordering::Relaxed))),
        }
    }

    /// Relaxed suffices: the gauge guards an amount, it orders no other memory.
    fn take(&self, cap: Cap, amount: usize, limits: &Limits) -> Result<(), Overloaded> {
        let (gauge, limit) = match cap {
            Cap::InFlight => (&self.in_flight, limits.in_flight),
            Cap::Streams => (&self.streams, limits.streams_in_flight),
            Cap::BodyMemory => (&self.body_bytes, limits.body_memory),
            Cap::AnswerMemory => (&self.answer_bytes, limits.answer_memory),
        };
        let within = |held: usize| held.checked_add(amount).filter(|total| *total <= limit);
        match gauge.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.shed(cap)),
        }
    }

    #[cold]
    fn shed(&self, cap: Cap) -> Overloaded {
        let before = self.shed[cap as usize].fetch_add(1, Ordering::Relaxed);
        Overloaded { cap, wait: Duration::from_millis(1_000 + before.wrapping_mul(SPREAD) % 1_000) }
    }
}

impl BodyMemory {
    /// Sets `more` bytes aside, for what has arrived of a body. Refused, it keeps what it had.
    pub fn grow(&mut self, more: usize, limits: &Limits) -> Result<(), Overloaded> {
        self.capacity.take(Cap::BodyMemory, more, limits)?;
        self.bytes += more;
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.capacity.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.stream {
            self.capacity.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for AnswerMemory {
    fn drop(&mut self) {
        self.capacity.answer_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for BodyMemory {
    fn drop(&mut self) {
        self.capacity.body_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::OnStoreOutage;

    fn limits(in_flight: usize, streams_in_flight: usize, body_memory: usize) -> Limits {
        Limits {
            daily_requests: 1,
            concurrent_streams: 1,
            concurrent_requests: 1,
            body: body_memory,
            in_flight,
            streams_in_flight,
            body_memory,
            answer_memory: body_memory,
            upload_stall: Duration::ZERO,
            read_stall: Duration::ZERO,
            on_store_outage: OnStoreOutage::Local,
            users: BTreeMap::new(),
        }
    }

    #[test]
    fn the_place_after_the_last_is_refused_until_one_is_free() {
        let (capacity, limits) = (Capacity::new(), limits(2, 2, 0));
        let first = capacity.enter(false, &limits).unwrap();
        assert_eq!(capacity.look(&limits), Ok(()));
        let _second = capacity.enter(false, &limits).unwrap();
        assert_eq!(capacity.enter(false, &limits).unwrap_err().cap, Cap::InFlight);
        assert_eq!(capacity.look(&limits).unwrap_err().cap, Cap::InFlight);
        drop(first);
        assert_eq!(capacity.look(&limits), Ok(()), "a look takes nothing");
        assert!(capacity.enter(false, &limits).is_ok());
        assert_eq!(capacity.fullness().shed[0], (Cap::InFlight, 2));
    }

    #[test]
    fn streams_leave_room_for_other_requests() {
        let (capacity, limits) = (Capacity::new(), limits(3, 1, 0));
        let stream = capacity.enter(true, &limits).unwrap();
        assert_eq!(capacity.enter(true, &limits).unwrap_err().cap, Cap::Streams);
        assert_eq!(capacity.fullness().in_flight, 1, "what was refused holds nothing");
        let _other = capacity.enter(false, &limits).unwrap();
        drop(stream);
        assert!(capacity.enter(true, &limits).is_ok());
    }

    #[test]
    fn a_crowd_is_not_told_to_come_back_as_one() {
        let (capacity, limits) = (Capacity::new(), limits(0, 0, 0));
        let mut waits: Vec<u128> = (0..100).map(|_| capacity.look(&limits).unwrap_err().wait.as_millis()).collect();
        waits.sort_unstable();
        assert!(waits[0] >= 1_000 && waits[99] < 2_000, "{waits:?}");
        assert!(waits.windows(2).all(|two| two[1] - two[0] < 30), "no tenth of a second has many or none: {waits:?}");
    }

    #[test]
    fn body_memory_grows_and_comes_back_whole() {
        let (capacity, limits) = (Capacity::new(), limits(1, 1, 100));
        let mut body = capacity.reserve(60, &limits).unwrap();
        body.grow(40, &limits).unwrap();
        assert_eq!(body.grow(1, &limits).unwrap_err().cap, Cap::BodyMemory);
        assert_eq!((body.bytes(), capacity.fullness().body_bytes), (100, 100));
        assert!(capacity.reserve(usize::MAX, &limits).is_err(), "an overflow is a refusal");
        drop(body);
        assert_eq!(capacity.fullness().body_bytes, 0);
    }

    #[test]
    fn answers_that_wait_take_nothing_from_bodies() {
        let (capacity, limits) = (Capacity::new(), limits(1, 1, 100));
        let unread = capacity.hold(100, &limits).unwrap();
        assert_eq!(capacity.hold(1, &limits).unwrap_err().cap, Cap::AnswerMemory);
        assert!(capacity.reserve(100, &limits).is_ok());
        drop(unread);
        assert_eq!(capacity.fullness().answer_bytes, 0);
    }

    #[test]
    fn many_threads_never_hold_more_than_the_limit() {
        let (capacity, limits) = (Capacity::new(), limits(3, 2, 0));
        std::thread::scope(|scope| {
            for turn in 0..8 {
                let (capacity, limits) = (&capacity, &limits);
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        if let Ok(place) = capacity.enter(turn % 2 == 0, limits) {
                            assert!(capacity.in_flight.load(Ordering::Relaxed) <= 3);
                            assert!(capacity.streams.load(Ordering::Relaxed) <= 2);
                            drop(place);
                        }
                    }
                });
            }
        });
        assert_eq!((capacity.fullness().in_flight, capacity.streams.load(Ordering::Relaxed)), (0, 0));
    }
}
