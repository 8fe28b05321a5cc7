//! Whether a store is taken to be away, so that requests need not each find out for themselves.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// While the store is away, one call in this time tries whether it is back.
const RETRY: Duration = Duration::from_millis(500);

/// Begins with a call that failed or a wait that was too long, ends with the next answer.
#[derive(Debug)]
pub(super) struct Outage {
    store: &'static str,
    /// What is done while it lasts.
    instead: &'static str,
    /// Some while it lasts: when to try next.
    next_try: Mutex<Option<Instant>>,
}

impl Default for Outage {
    fn default() -> Self {
        Self::of("the quota store", "requests are counted without it")
    }
}

impl Outage {
    /// For the log: which store, and what is done without it.
    pub(super) fn of(store: &'static str, instead: &'static str) -> Self {
        Self { store, instead, next_try: Mutex::default() }
    }

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
            tracing::warn!(why, "{} does not answer; {}", self.store, self.instead);
        }
    }

    pub(super) fn note_answer(&self) {
        if self.lock().take().is_some() {
            tracing::info!("{} answers again", self.store);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.next_try.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
