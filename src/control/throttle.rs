//! Guessing is slowed down: by account and network together, by network, whichever account is guessed at, and by account,
//! whoever guesses.
//!
//! From the fifth failure of an account from one network on, and the fiftieth of a network, behind which there may be many
//! people, each doubles the wait, up to a quarter of an hour. So nobody keeps a user out who comes from elsewhere. Who guesses
//! at one account from many networks is held up by the account's failures from all of them: from the hundredth on, for up to
//! half a minute, and never where its user has signed in lately. What is remembered is bounded, and keyed by a hash that nobody
//! outside can aim at. Each edge counts for itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::hashing::Asker;
use super::refusal::{Code, Refusal};
use crate::identity::network;

/// Failures of an account from one network before any wait.
const FREE: u32 = 4;
/// The same of a network: an office, or a provider's customers, may share one.
const FREE_OF_NETWORK: u32 = 49;
/// The same of an account from anywhere: from fewer than twenty networks nobody gets so far at once.
const FREE_OF_ACCOUNT: u32 = 99;
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Of an account from anywhere: who signs in from a new place while others guess is let try twice a minute at least.
const LONGEST_OF_ACCOUNT: Duration = Duration::from_secs(30);
/// They are forgotten so long after the last of them. A try that did not fail adds nothing to that, however many there are.
const MEMORY: Duration = Duration::from_secs(60 * 60);
/// Where a user has signed in is forgotten so long after the last time.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 86_400);
/// Accounts, networks, and pairs of them, that are remembered.
const MOST: u64 = 100_000;

pub(super) struct Throttle {
    hasher: RandomState,
    pairs: Failures,
    networks: Failures,
    accounts: Failures,
    /// Networks that an account was signed in to from.
    known: Cache<u64, ()>,
}

struct Failures {
    free: u32,
    longest: Duration,
    found: Cache<u64, Failed>,
}

#[derive(Debug, Clone, Copy)]
struct Failed {
    /// With the tries that are under way.
    count: u32,
    /// Nothing is tried before then.
    until: Instant,
    /// When the last one was known to have failed; while there is none yet, when the first try began.
    last: Instant,
}

/// A try at an account from a network, counted as failed of both until it is known to be none.
#[must_use = "a try that is not settled stays counted as failed"]
pub(super) struct Try {
    throttle: Arc<Throttle>,
    pair: u64,
    account: u64,
    /// None: nobody says.
    network: Option<u64>,
    is_settled: bool,
}

impl Default for Throttle {
    fn default() -> Self {
        let known = Cache::builder().max_capacity(MOST).time_to_live(KNOWN_FOR).eviction_policy(EvictionPolicy::lru());
        Self {
            hasher: RandomState::new(),
            pairs: Failures::new(FREE, LONGEST),
            networks: Failures::new(FREE_OF_NETWORK, LONGEST),
            accounts: Failures::new(FREE_OF_ACCOUNT, LONGEST_OF_ACCOUNT),
            known: known.build(),
        }
    }
}

impl Throttle {
    /// The failure is counted at once: of many tries at the same time no more get through than one by one. Who is held up for
    /// an account's failures has failed once more as a network.
    pub fn begin(self: &Arc<Self>, account: &str, address: Option<IpAddr>) -> Result<Try, Refusal> {
        let from = address.map(network);
        let network = from.map(|from| self.key(from));
        self.check(network)?;
        let (account, pair) = (self.key(account), self.key((account, from)));
        let held_up = self.pairs.check(pair).and_then(|()| match self.known.contains_key(&pair) {
            true => Ok(()),
            false => self.accounts.check(account),
        });
        if let Err(refusal) = held_up {
            self.address_failed(address);
            return Err(refusal);
        }
        self.pairs.count_one(pair);
        self.accounts.count_one(account);
        if let Some(network) = network {
            self.networks.count_one(network);
        }
        Ok(Try { throttle: Arc::clone(self), pair, account, network, is_settled: false })
    }

    /// What is known of who asks from there.
    pub fn asker(&self, address: Option<IpAddr>) -> Asker {
        let network = address.map(network);
        Asker { network, failures: network.map_or(0, |network| self.networks.count(self.key(network))) }
    }

    /// For tries at what is no account's: invitations, tokens, links that do not hold.
    pub fn check_address(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        self.check(address.map(|address| self.key(network(address))))
    }

    pub fn address_failed(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            let key = self.key(network(address));
            self.networks.count_one(key);
            self.networks.fail(key);
        }
    }

    fn check(&self, network: Option<u64>) -> Result<(), Refusal> {
        network.map_or(Ok(()), |network| self.networks.check(network))
    }

    fn key(&self, of: impl std::hash::Hash) -> u64 {
        self.hasher.hash_one(of)
    }
}

impl Try {
    /// The account's failures from there are forgotten, and from there it is not held up for what others do. Of the network's,
    /// and of the account's from elsewhere, only this try is: who has an account of their own could wash them off.
    pub fn succeeded(mut self) {
        self.throttle.pairs.found.invalidate(&self.pair);
        self.throttle.known.insert(self.pair, ());
        self.forgive();
    }

    /// As it was counted.
    pub fn failed(self) {
        drop(self);
    }

    /// Nothing was found out.
    pub fn came_to_nothing(mut self) {
        self.throttle.pairs.forgive(self.pair);
        self.forgive();
    }

    fn forgive(&mut self) {
        self.is_settled = true;
        self.throttle.accounts.forgive(self.account);
        if let Some(network) = self.network {
            self.throttle.networks.forgive(network);
        }
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        self.throttle.pairs.fail(self.pair);
        self.throttle.accounts.fail(self.account);
        if let Some(network) = self.network {
            self.throttle.networks.fail(network);
        }
    }
}

impl Failures {
    fn new(free: u32, longest: Duration) -> Self {
        let found = Cache::builder().max_capacity(MOST).time_to_live(MEMORY).eviction_policy(EvictionPolicy::lru());
        Self { free, longest, found: found.build() }
    }

    fn check(&self, key: u64) -> Result<(), Refusal> {
        let wait = self.known(key).map(|failed| failed.until.saturating_duration_since(Instant::now()));
        match wait {
            Some(wait) if !wait.is_zero() => {
                Err(Refusal::new(Code::TooManyAttempts, "too many attempts have failed").retry_after(wait))
            }
            _ => Ok(()),
        }
    }

    fn count(&self, key: u64) -> u32 {
        self.known(key).map_or(0, |failed| failed.count)
    }

    fn known(&self, key: u64) -> Option<Failed> {
        self.found.get(&key).filter(Failed::is_remembered)
    }

    /// One more, which may have failed.
    fn count_one(&self, key: u64) {
        let now = Instant::now();
        self.found.entry(key).and_upsert_with(|before| {
            let before = before.map(moka::Entry::into_value).filter(Failed::is_remembered);
            let (count, last) = before.map_or((0, now), |before| (before.count, before.last));
            let count = count.saturating_add(1);
            Failed { count, until: now + self.wait(count), last }
        });
    }

    /// One that was counted has failed.
    fn fail(&self, key: u64) {
        self.found.entry(key).and_compute_with(|before| match before.map(moka::Entry::into_value) {
            Some(failed) => Op::Put(Failed { last: Instant::now(), ..failed }),
            None => Op::Nop,
        });
    }

    fn forgive(&self, key: u64) {
        self.found.entry(key).and_compute_with(|before| match before.map(moka::Entry::into_value) {
            Some(failed) if failed.count > 1 => {
                Op::Put(Failed { count: failed.count - 1, until: Instant::now(), ..failed })
            }
            _ => Op::Remove,
        });
    }

    fn wait(&self, failures: u32) -> Duration {
        match failures.checked_sub(self.free + 1) {
            None => Duration::ZERO,
            Some(doublings) => Duration::from_secs(1 << doublings.min(20)).min(self.longest),
        }
    }
}

impl Failed {
    /// What is kept for longer than that begins anew with each write, those of tries that did not fail among them.
    fn is_remembered(&self) -> bool {
        self.last.elapsed() < MEMORY
    }
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
