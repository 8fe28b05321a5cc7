//! Stopping: readiness goes first, then requests in flight run out, then the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Whether a stop was asked for, and how many requests are still under way.
#[derive(Debug, Default)]
pub struct Drain {
    begun: AtomicBool,
    /// The grace is over: what is still under way ends now.
    cut: AtomicBool,
    under_way: AtomicUsize,
    changed: Notify,
    /// Where requests wait for the cut, spread over several lists: each request enters and leaves one, and threads
    /// would otherwise queue for its lock.
    cut_waiters: [Notify; LISTS],
}

const LISTS: usize = 16;

/// One request under way. Dropping it is its end.
#[derive(Debug)]
pub struct UnderWay(Arc<Drain>);

impl Drain {
    /// From here on the edge is not ready and admits nothing new.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
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
            if self.under_way.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
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
        if before == 1 && self.0.has_begun() {
            self.0.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_waits_for_the_last_request() {
        let drain = Arc::new(Drain::default());
        let (first, second) = (drain.track(), drain.track());
        drain.begin();
        let stopped = tokio::spawn({
            let drain = Arc::clone(&drain);
            async move { drain.empty().await }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!stopped.is_finished());
        drop(second);
        assert!(stopped.await.is_ok());
    }
}
