//! Ready means: the store is open and every public listener accepts connections.

use tokio::sync::watch;

/// How far a start has come. Goes forward only.
#[derive(Debug, Default)]
pub struct Readiness(watch::Sender<Stand>);

/// A start's way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stand {
    #[default]
    Starting,
    /// The store does not answer yet.
    WaitingForStore,
    Ready,
}

impl Readiness {
    pub fn stand(&self) -> Stand {
        *self.0.borrow()
    }

    /// Says that the store is waited for.
    pub fn note_waiting(&self) {
        self.reach(Stand::WaitingForStore);
    }

    /// Says that every public listener accepts.
    pub fn note_ready(&self) {
        self.reach(Stand::Ready);
    }

    pub async fn until_ready(&self) {
        let _ = self.0.subscribe().wait_for(|stand| *stand == Stand::Ready).await; // the sender is ours
    }

    fn reach(&self, stand: Stand) {
        self.0.send_if_modified(|have| {
            let further = stand > *have;
            *have = stand.max(*have);
            further
        });
    }
}
