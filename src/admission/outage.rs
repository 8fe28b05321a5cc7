//! Whether the quota store is taken to be away, so that requests need not each find out for themselves.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// While the store is away, one call in this time tries whether it is back.
const RETRY: Duration = Duration::from_millis(500);

/// Begins with a call that failed or a wait that was too long, ends with the next answer.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Some while it lasts: when to try next.
    next_try: Mutex<Option<Instant>>,
}

impl Outage {
    pub(super) fn lasts(&self) -> bool {
        self.lock().is_some()
    }

    /// Whether the store may be called now: always while it answers, now and then while it does not.
    pub(super) fn may_call(&self) -> bool {
        let mut next_try = self.lock();
        let Some(next) = *next_try else { return true };
        let now = Instant::now();
        if now >= next {
            *next_try = Some(now + RETRY);
        }
        now >= next
    }

    pub(super) fn note_failure(&self, why: &str) {
        if self.lock().replace(Instant::now() + RETRY).is_none() {
            tracing::warn!(why, "the quota store does not answer; requests are counted without it");
        }
    }

    pub(super) fn note_answer(&self) {
        if self.lock().take().is_some() {
            tracing::info!("the quota store answers again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.next_try.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
