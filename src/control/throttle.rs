//! Guessing is slowed down: by account, whoever guesses, and by address, whichever account is guessed at.
//!
//! From the fifth failure of an account on, and the fiftieth of an address, behind which there may be many people, each
//! doubles the wait, up to a quarter of an hour. What is remembered is bounded, and keyed
//! by a hash that nobody outside can aim at. Each edge counts for itself.

use std::net::IpAddr;
use std::time::Duration;

use ahash::RandomState;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::hashing::Asker;
use super::refusal::{Code, Refusal};
use crate::identity::network;

/// Failures of an account before any wait.
const FREE: u32 = 4;
/// The same of an address: an office, or a provider's customers, may share one.
const FREE_OF_ADDRESS: u32 = 49;
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// They are forgotten so long after the last of them. A try that did not fail adds nothing to that, however many there are.
const MEMORY: Duration = Duration::from_secs(60 * 60);
/// Accounts, and addresses, that are remembered.
const MOST: u64 = 100_000;

pub(super) struct Throttle {
    accounts: Failures,
    addresses: Failures,
}

struct Failures {
    hasher: RandomState,
    free: u32,
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

/// A try at an account from an address, counted as failed of both until it is known to be none.
#[must_use = "a try that is not settled stays counted as failed"]
pub(super) struct Try<'a> {
    throttle: &'a Throttle,
    account: u64,
    address: Option<u64>,
    is_forgiven: bool,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { accounts: Failures::new(FREE), addresses: Failures::new(FREE_OF_ADDRESS) }
    }
}

impl Throttle {
    /// The failure is counted at once: of many tries at the same time no more get through than one by one.
    pub fn begin(&self, account: &str, address: Option<IpAddr>) -> Result<Try<'_>, Refusal> {
        let address = address.map(|address| self.addresses.key(network(address)));
        self.check(address)?;
        let account = self.accounts.key(account);
        self.accounts.check(account)?;
        self.accounts.count_one(account);
        if let Some(address) = address {
            self.addresses.count_one(address);
        }
        Ok(Try { throttle: self, account, address, is_forgiven: false })
    }

    /// What is known of who asks from there.
    pub fn asker(&self, address: Option<IpAddr>) -> Asker {
        let network = address.map(network);
        Asker { network, failures: network.map_or(0, |network| self.addresses.count(self.addresses.key(network))) }
    }

    /// For tries at what is no account's: invitations, tokens, links that do not hold.
    pub fn check_address(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        self.check(address.map(|address| self.addresses.key(network(address))))
    }

    pub fn address_failed(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            let key = self.addresses.key(network(address));
            self.addresses.count_one(key);
            self.addresses.fail(key);
        }
    }

    fn check(&self, address: Option<u64>) -> Result<(), Refusal> {
        address.map_or(Ok(()), |address| self.addresses.check(address))
    }
}

impl Try<'_> {
    /// The account's failures are forgotten. Of the address's only this try is: who has an account of their own could wash
    /// them off.
    pub fn succeeded(mut self) {
        self.throttle.accounts.found.invalidate(&self.account);
        self.forgive_address();
    }

    /// As it was counted.
    pub fn failed(self) {
        drop(self);
    }

    /// Nothing was found out.
    pub fn came_to_nothing(mut self) {
        self.throttle.accounts.forgive(self.account);
        self.forgive_address();
    }

    fn forgive_address(&mut self) {
        self.is_forgiven = true;
        if let Some(address) = self.address {
            self.throttle.addresses.forgive(address);
        }
    }
}

/// Also one whose client left before it was known.
impl Drop for Try<'_> {
    fn drop(&mut self) {
        if self.is_forgiven {
            return;
        }
        self.throttle.accounts.fail(self.account);
        if let Some(address) = self.address {
            self.throttle.addresses.fail(address);
        }
    }
}

impl Failures {
    fn new(free: u32) -> Self {
        let found = Cache::builder().max_capacity(MOST).time_to_live(MEMORY).eviction_policy(EvictionPolicy::lru());
        Self { hasher: RandomState::new(), free, found: found.build() }
    }

    fn key(&self, of: impl std::hash::Hash) -> u64 {
        self.hasher.hash_one(of)
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
            Failed { count, until: now + wait(count, self.free), last }
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
}

impl Failed {
    /// What is kept for longer than that begins anew with each write, those of tries that did not fail among them.
    fn is_remembered(&self) -> bool {
        self.last.elapsed() < MEMORY
    }
}

fn wait(failures: u32, free: u32) -> Duration {
    match failures.checked_sub(free + 1) {
        None => Duration::ZERO,
        Some(doublings) => Duration::from_secs(1 << doublings.min(20)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn fail(throttle: &Throttle, account: &str, from: Option<IpAddr>) -> Option<u64> {
        match throttle.begin(account, from) {
            Ok(tried) => {
                tried.failed();
                None
            }
            Err(refusal) => refusal.retry_after_seconds(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_from_the_fifth_failure_on() {
        let throttle = Throttle::default();
        for _ in 0..5 {
            assert_eq!(fail(&throttle, "ada@example.org", None), None);
        }
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            assert_eq!(fail(&throttle, "ada@example.org", None), Some(expected));
            tokio::time::advance(Duration::from_secs(expected)).await;
            assert_eq!(fail(&throttle, "ada@example.org", None), None);
        }
        assert_eq!(fail(&throttle, "bob@example.org", None), None, "others are not held up");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_held_up_whichever_account_it_tries() {
        let throttle = Throttle::default();
        for guess in 0..50 {
            let from = address(&format!("2001:db8:0:7::{guess:x}"));
            assert_eq!(fail(&throttle, &format!("user{guess}@example.org"), from), None);
        }
        assert_eq!(fail(&throttle, "ada@example.org", address("2001:db8:0:7:ffff::1")), Some(1), "the same /64");
        assert_eq!(fail(&throttle, "ada@example.org", address("2001:db8:0:8::1")), None);
        assert_eq!(fail(&throttle, "eve@example.org", address("192.0.2.1")), None);
        let mapped = fail(&throttle, "eve@example.org", address("::ffff:192.0.2.1"));
        assert_eq!(mapped, None);
        let failures = |from| throttle.asker(address(from)).failures;
        assert_eq!(failures("2001:db8:0:7:1::2"), 50, "what is under way counts as failed");
        assert_eq!((failures("192.0.2.1"), failures("192.0.2.2"), throttle.asker(None).failures), (2, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn success_clears_the_account_and_not_the_address() {
        let throttle = Throttle::default();
        let from = address("192.0.2.1");
        for guess in 0..49 {
            assert_eq!(fail(&throttle, &format!("user{guess}@example.org"), from), None);
        }
        for _ in 0..4 {
            assert_eq!(fail(&throttle, "ada@example.org", None), None);
        }
        throttle.begin("ada@example.org", from).ok().unwrap().succeeded();
        for guess in 0..2 {
            let held_up = fail(&throttle, "ada@example.org", from);
            assert_eq!(held_up, (guess == 1).then_some(1), "her address has 49 failures still");
        }
        assert_eq!(fail(&throttle, "ada@example.org", address("192.0.2.2")), None, "she has one");
    }

    #[tokio::test(start_paused = true)]
    async fn tries_from_one_address_at_once_are_as_many_as_one_by_one() {
        let throttle = Throttle::default();
        let from = address("192.0.2.1");
        let at_once = |guess: u32| throttle.begin(&format!("user{guess}@example.org"), from).ok();
        let tries: Vec<_> = (0..100).filter_map(at_once).collect();
        assert_eq!(tries.len(), 50);
        tries.into_iter().for_each(Try::came_to_nothing);
        assert_eq!(fail(&throttle, "ada@example.org", from), None);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_forgotten_an_hour_after_the_last_also_where_others_sign_in_all_the_time() {
        let throttle = Throttle::default();
        let from = address("192.0.2.1");
        for guess in 0..50 {
            assert_eq!(fail(&throttle, &format!("user{guess}@example.org"), from), None);
        }
        let failures = || throttle.asker(from).failures;
        for _ in 0..59 {
            tokio::time::advance(Duration::from_secs(60)).await;
            throttle.begin("ada@example.org", from).ok().unwrap().succeeded();
            throttle.begin("bob@example.org", from).ok().unwrap().came_to_nothing();
            assert_eq!(failures(), 50);
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(failures(), 0);
        for guess in 0..49 {
            assert_eq!(fail(&throttle, &format!("user{guess}@example.org"), from), None);
        }
        tokio::time::advance(Duration::from_secs(59 * 60)).await;
        drop(throttle.begin("ada@example.org", from));
        tokio::time::advance(Duration::from_secs(59 * 60)).await;
        assert_eq!(failures(), 50, "who hangs up has failed as well, and the hour began with that");
    }

    #[tokio::test(start_paused = true)]
    async fn many_tries_at_once_are_as_many_as_one_by_one() {
        let throttle = Throttle::default();
        let tries: Vec<_> = (0..100).filter_map(|_| throttle.begin("ada@example.org", None).ok()).collect();
        assert_eq!(tries.len(), 5);
        tries.into_iter().for_each(Try::came_to_nothing);
        assert_eq!(fail(&throttle, "ada@example.org", None), None);
    }
}
