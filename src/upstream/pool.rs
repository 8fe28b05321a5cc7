//! Connections kept for the next request: one last-in-first-out stack a thread and target.
//!
//! A worker thread has a runtime of its own, so a connection never crosses threads and the stack needs no lock.
//! A connection is polled by the request that holds it and by nobody while it lies here: no task, no wake-up.
//! That is also why it may die unseen; `attempt` sends on a fresh one, once, when it finds that out. What lies too long is
//! closed by a task of the thread, which is there only while something lies.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_timeout::fast_timeout::fast_sleep;

use super::wire::Wire;
use crate::config::Target;

/// uvicorn closes an idle connection after 5 s; leave it first.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// Idle connections a thread and target.
const KEPT: usize = 256;

struct Idle {
    wire: Wire,
    since: Instant,
}

thread_local! {
    /// Something looks after `IDLE`.
    static SWEPT: Cell<bool> = const { Cell::new(false) };
    static IDLE: RefCell<HashMap<Arc<Target>, Vec<Idle>, ahash::RandomState>> = RefCell::default();
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
            if candidate.wire.is_ready() {
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
    if !wire.is_quiet() {
        return;
    }
    IDLE.with_borrow_mut(|idle| {
        let kept = match idle.get_mut(target) {
            Some(kept) => kept,
            None => idle.entry(Arc::clone(target)).or_default(),
        };
        let now = Instant::now();
        kept.drain(..outdated(kept.iter().map(|idle| idle.since), now, 1));
        kept.push(Idle { wire, since: now });
    });
    if !SWEPT.replace(true) {
        tokio::spawn(sweep());
    }
}

/// Closes what lay too long, also where nobody comes again. Ends when nothing is left. Runs on the thread whose stack it
/// is: each has a runtime of its own.
async fn sweep() {
    loop {
        fast_sleep(IDLE_LIMIT).await;
        let left = IDLE.with_borrow_mut(|idle| {
            let now = Instant::now();
            idle.retain(|_, kept| {
                kept.drain(..outdated(kept.iter().map(|idle| idle.since), now, 0));
                !kept.is_empty()
            });
            !idle.is_empty()
        });
        if !left {
            SWEPT.set(false);
            return;
        }
    }
}

/// How many go from the bottom of a stack ordered by `since`: those that lay too long, and the oldest where `more` of
/// them would be too many.
fn outdated(since: impl ExactSizeIterator<Item = Instant>, now: Instant, more: usize) -> usize {
    let beyond = (since.len() + more).saturating_sub(KEPT);
    since.take_while(|since| now.saturating_duration_since(*since) >= IDLE_LIMIT).count().max(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lay_too_long_goes_and_the_oldest_beyond_the_limit() {
        let now = Instant::now() + Duration::from_secs(60);
        // By age in seconds, the bottom of the stack first.
        let outdated = |ages: &[u64]| outdated(ages.iter().map(|age| now - Duration::from_secs(*age)), now, 1);
        assert_eq!(outdated(&[]), 0);
        assert_eq!(outdated(&[3, 2, 0]), 0);
        assert_eq!(outdated(&[9, 4, 3, 0]), 2);
        assert_eq!(outdated(&[5, 4]), 2);
        assert_eq!(outdated(&vec![0; KEPT - 1]), 0);
        assert_eq!(outdated(&vec![0; KEPT]), 1);
    }
}
