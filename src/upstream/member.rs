//! One target of an upstream as this edge sees it, and a request's seat at it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::breaker::{By, Outcome, Rule};
use super::favour::Favour;
use super::resolve::Addresses;
use super::shared_breaker::{SharedBreaker, Subject};
use crate::config::Target;

/// When to come back to a target that its health check has found ill.
const CHECKED_AGAIN_IN: Duration = Duration::from_secs(5);

pub struct Member {
    pub target: Arc<Target>,
    pub(super) breaker: SharedBreaker,
    pub(super) addresses: Addresses,
    pub(super) favour: Favour,
    /// Requests that were sent, or are about to be, and whose answers are still held.
    in_flight: AtomicUsize,
    /// What its health checks say; true where there are none.
    well: AtomicBool,
    /// How often they found it ill, and well again.
    turns: [AtomicU64; 2],
    /// Its last connection was free to be HTTP/2 and was not.
    chose_http1: AtomicBool,
    /// Its name in cookies, once it was asked for.
    token: OnceLock<String>,
}

/// A request at a target: counted as in flight there until this is dropped. Dropped without a word, it says nothing of
/// the target.
#[must_use = "the request is in flight for as long as this lives"]
pub struct Seat {
    member: Arc<Member>,
    /// Its number, where it is one.
    probe: Option<u64>,
}

impl Member {
    pub(super) fn new(upstream: &str, target: &Arc<Target>, rule: Rule) -> Self {
        let subject = Subject { upstream: upstream.to_owned(), target: target.to_string(), model: String::new() };
        Self {
            target: Arc::clone(target),
            breaker: SharedBreaker::new(subject, rule),
            addresses: Addresses::of(&target.host, target.port),
            favour: Favour::new(Instant::now()),
            in_flight: AtomicUsize::new(0),
            well: AtomicBool::new(true),
            turns: Default::default(),
            chose_http1: AtomicBool::new(false),
            token: OnceLock::new(),
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How long nothing may be sent to it, as long as any target of its upstream is well; None where something may.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        if self.is_well() { self.breaker.wait(now) } else { Some(CHECKED_AGAIN_IN) }
    }

    pub fn is_well(&self) -> bool {
        self.well.load(Ordering::Relaxed)
    }

    /// What `make` names it, which is asked once: it has one name for as long as it is known.
    pub fn token(&self, make: impl FnOnce(&Target) -> String) -> &str {
        self.token.get_or_init(|| make(&self.target))
    }

    /// As far as is known at this moment.
    pub fn has_several_addresses(&self) -> bool {
        self.addresses.count() > 1
    }

    /// Nobody is left who could find it well again.
    pub(super) fn is_no_longer_checked(&self) {
        if !self.is_well() {
            self.set_well(true);
        }
    }

    /// How often its health checks found it ill, and well again.
    pub fn health_turns(&self) -> [u64; 2] {
        self.turns.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// What it chose when it last had the choice; false where it never had.
    pub(super) fn chose_http1(&self) -> bool {
        self.chose_http1.load(Ordering::Relaxed)
    }

    pub(super) fn note_choice(&self, http2: bool) {
        self.chose_http1.store(!http2, Ordering::Relaxed);
    }

    pub(super) fn set_well(&self, well: bool) {
        self.well.store(well, Ordering::Relaxed);
        if let Some(count) = self.turns.get(usize::from(well)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Seat {
    /// None where another took the only one.
    pub(super) fn take(member: &Arc<Member>, now: Instant) -> Option<Self> {
        let probe = member.breaker.ask(now).ok()?;
        member.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Self { member: Arc::clone(member), probe })
    }

    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    pub fn target(&self) -> &Arc<Target> {
        &self.member.target
    }

    /// Its answer was a good one to its end, or was not: see `Favour`.
    pub fn judged(&self, good: bool) {
        if good { self.member.favour.regain() } else { self.member.favour.lose(Instant::now()) }
    }

    /// The target answered, whatever it said.
    pub fn answered(&mut self) {
        self.tell(Outcome::Success);
    }

    /// A fresh connection to it stands, its TLS included. Where it was left alone because none did, that is over, and
    /// nobody waits for the answer of the one that found it so.
    pub fn connected(&mut self) {
        if self.probe.is_some() && self.member.breaker.connected() {
            self.probe = None;
        }
    }

    /// It could not be reached, broke off before the answer's head, or did not answer in time. What is one client's and
    /// counts no longer costs it our favour: others are asked first, where there are others.
    pub fn failed(&mut self, by: By) {
        self.member.addresses.doubt();
        if !self.tell(Outcome::Failure(by)) {
            self.judged(false);
        }
    }

    fn tell(&mut self, outcome: Outcome) -> bool {
        self.member.breaker.tell(Instant::now(), self.probe.take(), outcome)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.member.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(probe) = self.probe {
            self.member.breaker.give_up(Instant::now(), probe);
        }
    }
}
