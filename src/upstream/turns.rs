//! Large bodies in turns: a socket of a fast peer holds megabytes, and a thread that moves them for one request after the
//! other answers nobody else meanwhile.
//!
//! Whoever has moved [`TURN`] bytes waits until its thread has looked at all its sockets, and on the way in also for the
//! others who wait: a few have a turn between two such looks, so that a new connection waits for those and not for
//! hundreds. What is smaller waits for nobody.

use std::pin::pin;
use std::sync::Arc;
use std::task::Context;

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// Bytes that are moved for one request before others are heard; some 50 µs.
pub(super) const TURN: usize = 128 << 10;
/// Requests that have a turn between two looks of a thread at its sockets.
const AT_ONCE: usize = 4;

thread_local! {
    static QUEUE: Arc<Semaphore> = Arc::new(Semaphore::new(AT_ONCE));
}

/// What a request has moved of its turn.
#[derive(Debug, Default)]
pub struct Turn {
    moved: usize,
}

impl Turn {
    /// Notes `bytes` that were moved. Once that makes a turn, waits for the next.
    pub async fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
        if self.moved >= TURN {
            self.moved = 0;
            Box::pin(next()).await; // rare, and no request keeps room for it
        }
    }
}

/// Waits for a turn. The place in the queue is given on when the turn begins, for nobody knows whether its reader will
/// find anything to read; who gets it then has its own turn behind the next look at the sockets.
async fn next() {
    let place = QUEUE.with(Arc::clone).acquire_owned().await;
    yield_now().await;
    drop(place);
}

/// Has the task polled again once its thread has looked at its sockets.
pub(super) fn poll_again(context: &mut Context<'_>) {
    let _ = pin!(yield_now()).poll(context);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[tokio::test]
    async fn what_is_small_waits_for_nobody() {
        let mut turn = Turn::default();
        let mut context = Context::from_waker(std::task::Waker::noop());
        for _ in 0..TURN / 2_048 - 1 {
            assert!(pin!(turn.moved(2_048)).poll(&mut context).is_ready());
        }
        assert!(pin!(turn.moved(2_048)).poll(&mut context).is_pending(), "a whole turn");
    }

    #[tokio::test]
    async fn between_two_looks_at_the_sockets_a_few_have_a_turn_and_not_all() {
        const BODIES: usize = 50;
        const TURNS: usize = 20;
        let crowd = async {
            let moved = Rc::new(Cell::new(0));
            for _ in 0..BODIES {
                let moved = Rc::clone(&moved);
                spawn_local(async move {
                    let mut turn = Turn::default();
                    for _ in 0..TURNS {
                        turn.moved(TURN).await;
                        moved.set(moved.get() + 1);
                    }
                });
            }
            // Each time this is polled the thread has looked at its sockets once more, or more often.
            let mut looks = 0;
            while moved.get() < BODIES * TURNS {
                yield_now().await;
                looks += 1;
                assert!(looks <= 10 * BODIES * TURNS, "it goes on: {} turns", moved.get());
            }
            looks
        };
        let looks = LocalSet::new().run_until(crowd).await;
        assert!(looks >= BODIES * TURNS / AT_ONCE, "{looks} looks at {} turns", BODIES * TURNS);
    }
}
