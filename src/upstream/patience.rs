//! Waiting with a limit, for little more than a look at the clock: pingora's timers, which all requests of a thread share
//! by the tick of 10 ms. One of tokio's unparks the runtime when it is set, which costs a request a system call and
//! an extra turn of the event loop.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pingora_timeout::fast_timeout::{fast_sleep, fast_timeout};

/// A shared timer stays in its map until it rings, however soon its request was over, and so do the pages that it lies on,
/// of which a crowd leaves one here and there all over the memory it had: half an hour is waited for in steps of this.
const LONGEST_STEP: Duration = Duration::from_secs(10);
/// A timer that is due within the tick could ring before anybody listens.
const SHORTEST_STEP: Duration = Duration::from_millis(10);

type Timer = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// A limit to waiting. Nothing is set until something has to be waited for, and what is set is kept for the next wait:
/// a stream of a thousand chunks sets one timer every 10 s. Rings up to two ticks late.
#[derive(Default)]
pub struct Alarm {
    /// The timer under way, and when it rings.
    step: Option<(Instant, Timer)>,
}

impl Alarm {
    /// What `work` yields, or None where `due` passes first. `work` has the first word.
    pub async fn before<T>(&mut self, due: Instant, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => self.poll_rung(context, due).map(|()| None),
        })
        .await
    }

    /// Resolves once `due` has passed. Safe to drop and call again, with a `due` that has moved either way.
    pub async fn rung(&mut self, due: Instant) {
        poll_fn(|context| self.poll_rung(context, due)).await;
    }

    pub fn poll_rung(&mut self, context: &mut Context<'_>, due: Instant) -> Poll<()> {
        loop {
            match &mut self.step {
                Some((rings, timer)) if *rings <= due + SHORTEST_STEP => {
                    ready!(timer.as_mut().poll(context));
                    self.step = None;
                }
                _ => {
                    let now = Instant::now();
                    let left = due.saturating_duration_since(now);
                    if left.is_zero() {
                        return Poll::Ready(());
                    }
                    let step = left.clamp(SHORTEST_STEP, LONGEST_STEP);
                    self.step = Some((now + step, Box::pin(fast_sleep(step))));
                }
            }
        }
    }
}

/// What `work` yields, or None where it takes longer than `limit`, by up to two ticks a step. For one wait, and without a
/// look at the clock. `work` has the first word, also where `limit` is zero.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), limit);
    loop {
        let step = left.min(LONGEST_STEP);
        if let Ok(outcome) = fast_timeout(step, &mut work).await {
            return Some(outcome);
        }
        left -= step;
        if left.is_zero() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_ready_sets_no_timer() {
        let mut alarm = Alarm::default();
        let outcome = alarm.before(Instant::now() + LONGEST_STEP, std::pin::pin!(async { 7 })).await;
        assert_eq!(outcome, Some(7));
        assert!(alarm.step.is_none());
    }

    #[tokio::test]
    async fn half_an_hour_is_waited_for_in_short_steps_and_can_be_cut_short() {
        let mut alarm = Alarm::default();
        let far = Instant::now() + Duration::from_secs(1_800);
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(alarm.poll_rung(&mut context, far).is_pending());
        let rings = alarm.step.as_ref().map(|(rings, _)| *rings).unwrap();
        assert!(rings <= Instant::now() + LONGEST_STEP);
        // The same timer serves the next wait; an earlier limit gets its own.
        assert!(alarm.poll_rung(&mut context, far + LONGEST_STEP).is_pending());
        assert_eq!(alarm.step.as_ref().map(|(rings, _)| *rings), Some(rings));
        alarm.rung(Instant::now() + Duration::from_millis(1)).await;
    }

    #[tokio::test]
    async fn a_limit_ends_the_wait() {
        let due = Instant::now() + Duration::from_millis(15);
        let outcome = Alarm::default().before(due, std::pin::pin!(std::future::pending::<()>())).await;
        assert!(outcome.is_none() && Instant::now() >= due);
    }

    #[tokio::test]
    async fn what_takes_too_long_is_left_and_what_is_ready_is_heard_at_once() {
        let began = Instant::now();
        assert_eq!(within(Duration::from_millis(15), std::future::pending::<()>()).await, None);
        assert!(began.elapsed() >= Duration::from_millis(15));
        assert_eq!(within(Duration::ZERO, async { 7 }).await, Some(7));
    }
}
