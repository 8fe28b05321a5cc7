//! The end of service: readiness goes first, then the listeners, then requests in flight run out.
//!
//! A process ends for one of two reasons. It was told to leave: then nobody else serves here, and whoever asks hears
//! that it is not ready. Or another process has taken its sockets over: then the address is as ready as before, and
//! what this one still has are connections.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

/// How far the end has come, and how many requests are still under way.
#[derive(Debug, Default)]
pub struct Drain {
    phase: AtomicU8,
    /// Whether the listeners are closed.
    closed: watch::Sender<bool>,
    /// The grace is over: what is still under way ends now.
    cut: AtomicBool,
    under_way: AtomicUsize,
    changed: Notify,
    /// Where requests wait for the cut, spread over several lists: each request enters and leaves one, and threads
    /// would otherwise queue for its lock.
    cut_waiters: [Notify; LISTS],
    /// When somebody last asked whether this process is ready.
    asked: Mutex<Option<Instant>>,
}

const SERVING: u8 = 0;
const HANDED_OVER: u8 = 1;
const LEAVING: u8 = 2;

const LISTS: usize = 16;

/// One request under way. Dropping it is its end.
#[derive(Debug)]
pub struct UnderWay(Arc<Drain>);

impl Drain {
    /// From here on the edge is not ready, and each answer is the last on its connection.
    pub fn leave(&self) {
        self.enter(LEAVING);
    }

    /// Another process listens here now. Closes the listeners. Nothing changes where the end has begun already.
    pub fn hand_over(&self) {
        if self.enter(HANDED_OVER) {
            self.close();
        }
    }

    fn enter(&self, phase: u8) -> bool {
        let entered = self.phase.compare_exchange(SERVING, phase, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        self.changed.notify_waiters();
        entered
    }

    /// Whether this address stops being served.
    pub fn is_leaving(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == LEAVING
    }

    pub fn is_handed_over(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == HANDED_OVER
    }

    /// Whether connections are to be closed behind their answers, for whichever reason.
    pub fn is_ending(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != SERVING
    }

    /// Closes the listeners.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Turns true when the listeners are to be closed, in the form that pingora's accept loops wait for.
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Resolves when the listeners are to be closed.
    pub async fn closed(&self) {
        let _ = self.closing().wait_for(|closed| *closed).await; // the sender is ours
    }

    /// Resolves when another process listens here.
    pub async fn handed_over(&self) {
        self.closed().await;
        if !self.is_handed_over() {
            std::future::pending().await
        }
    }

    /// Ends what is still under way.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.cut_waiters.iter().for_each(Notify::notify_waiters);
    }

    /// Whether what is still under way must end.
    pub fn was_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Resolves when this request must end. Safe to drop and call again.
    pub async fn is_cut(&self) {
        let waiters = &self.cut_waiters[list_of_this_thread()];
        loop {
            let changed = waiters.notified();
            if self.was_cut() {
                return;
            }
            changed.await;
        }
    }

    pub fn track(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(Arc::clone(self))
    }

    /// Resolves once nothing is under way.
    pub async fn empty(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Resolves once nothing is under way, and nothing again after `pause`: a connection that has just been accepted
    /// has that long to send its first request.
    pub async fn quiet(&self, pause: Duration) {
        loop {
            self.empty().await;
            if pause.is_zero() {
                return;
            }
            tokio::time::sleep(pause).await;
            if self.is_empty() {
                return;
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }

    /// Remembers that somebody asked whether this process is ready.
    pub fn note_asked(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether anybody has asked for readiness in the last `span`, and so may be expected to ask again.
    pub fn was_asked_within(&self, span: Duration) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|at| at.elapsed() <= span)
    }
}

/// Threads take the lists in turn.
fn list_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LIST: usize = NEXT.fetch_add(1, Ordering::Relaxed) % LISTS;
    }
    LIST.with(|list| *list)
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let before = self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        // In one order with what `enter` and `is_empty` do: either this one sees the end, or who waits sees the count.
        if before == 1 && self.0.phase.load(Ordering::SeqCst) != SERVING {
            self.0.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(2);

    async fn waits_for(drain: &Arc<Drain>, pause: Duration) -> tokio::task::JoinHandle<()> {
        let drain = Arc::clone(drain);
        let waiting = tokio::spawn(async move { drain.quiet(pause).await });
        tokio::task::yield_now().await;
        waiting
    }

    #[tokio::test]
    async fn a_stop_waits_for_the_last_request() {
        let drain = Arc::new(Drain::default());
        let (first, second) = (drain.track(), drain.track());
        drain.leave();
        let stopped = waits_for(&drain, Duration::ZERO).await;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!stopped.is_finished());
        drop(second);
        assert!(stopped.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_comes_in_the_pause_is_waited_for() {
        let drain = Arc::new(Drain::default());
        drain.hand_over();
        let stopped = waits_for(&drain, PAUSE).await;
        let late = drain.track();
        tokio::time::sleep(PAUSE * 3).await;
        assert!(!stopped.is_finished());
        let dropped = tokio::time::Instant::now();
        drop(late);
        assert!(stopped.await.is_ok());
        assert_eq!(dropped.elapsed(), PAUSE, "and another pause behind it");
    }

    #[tokio::test]
    async fn who_leaves_hands_nothing_over_and_the_other_way_round() {
        let left = Drain::default();
        left.leave();
        left.hand_over();
        assert!(left.is_leaving() && !left.is_handed_over() && !*left.closing().borrow());
        let handed_over = Drain::default();
        handed_over.hand_over();
        handed_over.leave();
        assert!(handed_over.is_handed_over() && !handed_over.is_leaving() && handed_over.is_ending());
        handed_over.handed_over().await;
    }
}
