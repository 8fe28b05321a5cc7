//! Connections kept for the next request: one last-in-first-out stack a thread and target.
//!
//! A worker thread has a runtime of its own, so a connection never crosses threads and the stack needs no lock.
//! A connection is driven by the request that holds it and by nobody while it lies here: no task, no wake-up.
//! That is also why it may die unseen; `attempt` sends on a fresh one, once, when it finds that out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::attempt::OutgoingBody;
use super::connect::Counted;
use crate::config::Target;

/// uvicorn closes an idle connection after 5 s; leave it first.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// Idle connections a thread and target.
const KEPT: usize = 256;

/// hyper's side of a connection: a future that must be polled for anything to move.
type Driver = Connection<TokioIo<Counted>, OutgoingBody>;

/// One HTTP/1.1 connection with the state that drives it. Dropping it closes the socket.
pub(super) struct Wire {
    pub sender: SendRequest<OutgoingBody>,
    connection: Pin<Box<Driver>>,
    /// Bytes read from the socket so far.
    read: Arc<AtomicU64>,
    finished: bool,
}

struct Idle {
    wire: Wire,
    since: Instant,
}

thread_local! {
    static IDLE: RefCell<HashMap<Arc<Target>, Vec<Idle>, ahash::RandomState>> = RefCell::default();
}

impl Wire {
    pub fn new(sender: SendRequest<OutgoingBody>, connection: Driver, read: Arc<AtomicU64>) -> Self {
        Self { sender, connection: Box::pin(connection), read, finished: false }
    }

    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Moves bytes between the socket and hyper's state. What fails here is reported by the response or body future.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        if !self.finished && self.connection.as_mut().poll(context).is_ready() {
            self.finished = true;
        }
    }

    /// Whether another request can be sent on it. Drives it once, so that an end the peer has sent is noticed.
    fn usable(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.drive(&mut context);
        !self.finished && matches!(self.sender.poll_ready(&mut context), Poll::Ready(Ok(())))
    }
}

/// The connection to `target` that was used last, if one is still good.
pub(super) fn take(target: &Target) -> Option<Wire> {
    IDLE.with_borrow_mut(|idle| {
        let kept = idle.get_mut(target)?;
        while let Some(mut candidate) = kept.pop() {
            if candidate.since.elapsed() >= IDLE_LIMIT {
                kept.clear(); // everything below is older still
                return None;
            }
            if candidate.wire.usable() {
                return Some(candidate.wire);
            }
        }
        None
    })
}

/// Keeps a connection whose answer was read to its clean end.
///
/// Steady load takes from the top only, so what lies below would never be looked at: it is cleared out from here.
pub(super) fn keep(target: &Arc<Target>, mut wire: Wire) {
    if !wire.usable() {
        return;
    }
    IDLE.with_borrow_mut(|idle| {
        let kept = match idle.get_mut(target) {
            Some(kept) => kept,
            None => idle.entry(Arc::clone(target)).or_default(),
        };
        let now = Instant::now();
        kept.drain(..outdated(kept.iter().map(|idle| idle.since), now));
        kept.push(Idle { wire, since: now });
    });
}

/// How many go from the bottom of a stack ordered by `since`: those that lay too long, and the oldest where one more
/// would be too many.
fn outdated(since: impl ExactSizeIterator<Item = Instant>, now: Instant) -> usize {
    let beyond = (since.len() + 1).saturating_sub(KEPT);
    since.take_while(|since| now.saturating_duration_since(*since) >= IDLE_LIMIT).count().max(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lay_too_long_goes_and_the_oldest_beyond_the_limit() {
        let now = Instant::now() + Duration::from_secs(60);
        // By age in seconds, the bottom of the stack first.
        let outdated = |ages: &[u64]| outdated(ages.iter().map(|age| now - Duration::from_secs(*age)), now);
        assert_eq!(outdated(&[]), 0);
        assert_eq!(outdated(&[3, 2, 0]), 0);
        assert_eq!(outdated(&[9, 4, 3, 0]), 2);
        assert_eq!(outdated(&[5, 4]), 2);
        assert_eq!(outdated(&vec![0; KEPT - 1]), 0);
        assert_eq!(outdated(&vec![0; KEPT]), 1);
    }
}
