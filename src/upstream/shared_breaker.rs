//! A breaker that all threads share, and the leave it gives to a request.
//!
//! While nothing fails nobody takes a lock: a breaker that is quiet is passed by a look at one flag, and is not told of
//! successes. Its lock is taken from the first failure on until its failures lie behind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::breaker::{Breaker, By, Leave, Outcome, Rule, Stand};

/// What a breaker stands before, as the log and the metrics name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub upstream: String,
    /// `http://litellm:4000`; empty for a model's breaker.
    pub target: String,
    /// The upstream's name for it; empty for a target's breaker.
    pub model: String,
}

pub struct SharedBreaker {
    subject: Subject,
    breaker: Mutex<Breaker>,
    /// False while the breaker is quiet.
    alert: AtomicBool,
    /// How often it turned closed, half-open and open.
    turns: [AtomicU64; 3],
    /// How many failures it was told of, whatever came of them.
    failures: AtomicU64,
}

/// How a breaker stands and has stood.
pub struct Reading<'a> {
    pub subject: &'a Subject,
    pub stand: Stand,
    /// How often it turned closed, half-open and open.
    pub turns: [u64; 3],
    /// How many failures it was told of, those of its probes included.
    pub failures: u64,
}

/// A model's leave to be asked once. Dropped without a word, it says nothing of the model.
pub struct Trial {
    breaker: Option<Arc<SharedBreaker>>,
    /// Its number, where it is one.
    probe: Option<u64>,
}

impl SharedBreaker {
    pub fn new(subject: Subject, rule: Rule) -> Self {
        Self {
            subject,
            breaker: Mutex::new(Breaker::new(rule)),
            alert: AtomicBool::new(false),
            turns: Default::default(),
            failures: AtomicU64::new(0),
        }
    }

    /// Goes by another rule from now on. What was found out stays.
    pub fn set_rule(&self, rule: Rule) {
        self.locked(|breaker| breaker.set_rule(rule));
    }

    pub fn reading(&self, now: Instant) -> Reading<'_> {
        let stand = if self.is_quiet() { Stand::Closed } else { self.locked(|breaker| breaker.stand(now)) };
        Reading {
            subject: &self.subject,
            stand,
            turns: self.turns.each_ref().map(|count| count.load(Ordering::Relaxed)),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    /// How long nothing may go; None where something may.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        if self.is_quiet() {
            return None;
        }
        match self.locked(|breaker| breaker.peek(now)) {
            Leave::Wait(wait) => Some(wait),
            Leave::Go | Leave::Probe(_) => None,
        }
    }

    /// There is nothing else to ask: its probe may go sooner.
    pub(super) fn hasten(&self) {
        if !self.is_quiet() {
            self.locked(Breaker::hasten);
        }
    }

    /// Whether a request may go, and as which probe where it is one.
    pub(super) fn ask(&self, now: Instant) -> Result<Option<u64>, Duration> {
        if self.is_quiet() {
            return Ok(None);
        }
        match self.locked(|breaker| breaker.ask(now)) {
            Leave::Go => Ok(None),
            Leave::Probe(number) => Ok(Some(number)),
            Leave::Wait(wait) => Err(wait),
        }
    }

    /// False where it was one client's failure and is not counted: its share is used up.
    pub(super) fn tell(&self, now: Instant, probe: Option<u64>, outcome: Outcome) -> bool {
        if let Outcome::Failure(_) = outcome {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        match (probe, outcome) {
            (None, Outcome::Success) if self.is_quiet() => true,
            (None, _) => self.locked(|breaker| breaker.tell(now, outcome)),
            (Some(number), _) => {
                self.locked(|breaker| breaker.tell_probe(now, number, outcome));
                true
            }
        }
    }

    /// A probe's fresh connection stands. True where that was all there was to find out.
    pub(super) fn connected(&self) -> bool {
        self.locked(|breaker| {
            breaker.connected();
            breaker.phase() == Stand::Closed
        })
    }

    /// A probe came to its end without an outcome.
    pub(super) fn give_up(&self, now: Instant, probe: u64) {
        self.locked(|breaker| breaker.give_up(now, probe));
    }

    fn is_quiet(&self) -> bool {
        !self.alert.load(Ordering::Acquire)
    }

    fn locked<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.phase();
        let outcome = act(&mut breaker);
        let after = breaker.phase();
        self.alert.store(!breaker.is_quiet(), Ordering::Release);
        if before != after {
            self.note_turn(after);
        }
        outcome
    }

    fn note_turn(&self, stand: Stand) {
        if let Some(count) = self.turns.get(stand as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let Subject { upstream, target, model } = &self.subject;
        match stand {
            Stand::Closed => tracing::info!(%upstream, %target, %model, "a breaker closed: requests go again"),
            Stand::HalfOpen => tracing::info!(%upstream, %target, %model, "a breaker is half-open: one request probes"),
            Stand::Open => tracing::warn!(%upstream, %target, %model, "a breaker opened: nothing goes for a while"),
        }
    }
}

impl Trial {
    /// Of a model that no breaker stands before.
    pub(super) const FREE: Trial = Trial { breaker: None, probe: None };

    pub(super) fn of(breaker: &Arc<SharedBreaker>, now: Instant) -> Result<Self, Duration> {
        Ok(Self { probe: breaker.ask(now)?, breaker: Some(Arc::clone(breaker)) })
    }

    /// Whether all others wait for what becomes of this one.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// An answer has begun well. A probe has shown what it was to show, and need not hold the others up to its end.
    pub fn begins_well(&mut self) {
        if let (Some(breaker), Some(probe)) = (&self.breaker, self.probe.take()) {
            breaker.tell(Instant::now(), Some(probe), Outcome::Success);
        }
    }

    pub fn succeeded(self) {
        self.conclude(Outcome::Success);
    }

    /// `by` is the same for all requests of one client.
    pub fn failed(self, by: u128) {
        self.conclude(Outcome::Failure(By::Client(by)));
    }

    fn conclude(mut self, outcome: Outcome) {
        if let Some(breaker) = &self.breaker {
            breaker.tell(Instant::now(), self.probe.take(), outcome);
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let (Some(breaker), Some(probe)) = (&self.breaker, self.probe) {
            breaker.give_up(Instant::now(), probe);
        }
    }
}

impl std::fmt::Debug for Trial {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Trial").field("probe", &self.probe).finish_non_exhaustive()
    }
}
