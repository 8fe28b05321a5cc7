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
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn fail(throttle: &Arc<Throttle>, account: &str, from: Option<IpAddr>) -> Option<u64> {
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
        let throttle = Arc::<Throttle>::default();
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
        let throttle = Arc::<Throttle>::default();
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
        let throttle = Arc::<Throttle>::default();
        let from = address("192.0.2.1");
        for guess in 0..45 {
            assert_eq!(fail(&throttle, &format!("user{guess}@example.org"), from), None);
        }
        for _ in 0..4 {
            assert_eq!(fail(&throttle, "ada@example.org", from), None);
        }
        throttle.begin("ada@example.org", from).ok().unwrap().succeeded();
        for guess in 0..2 {
            let held_up = fail(&throttle, "ada@example.org", from);
            assert_eq!(held_up, (guess == 1).then_some(1), "her address has 49 failures still");
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(fail(&throttle, "ada@example.org", from), None, "she has one");
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_from_one_network_keeps_nobody_out_who_comes_from_elsewhere() {
        let throttle = Arc::<Throttle>::default();
        let (guessing, hers) = (address("198.51.100.9"), address("203.0.113.9"));
        let mut let_through = 0;
        for _ in 0..4 * 60 * 60 {
            let_through += u32::from(fail(&throttle, "ada@example.org", guessing).is_none());
            let tried = throttle.begin("ada@example.org", hers).expect("whatever they do over there");
            tried.came_to_nothing();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!((10..35).contains(&let_through), "{let_through} guesses in four hours");
    }

    #[tokio::test(start_paused = true)]
    async fn asking_again_while_held_up_is_held_against_the_address() {
        let throttle = Arc::<Throttle>::default();
        let from = address("192.0.2.1");
        for asked in 1..=50 {
            assert_eq!(fail(&throttle, "ada@example.org", from), (asked > 5).then_some(1));
            assert_eq!(throttle.asker(from).failures, asked);
        }
        assert_eq!(fail(&throttle, "bob@example.org", from), Some(1), "and now for every account");
        assert_eq!(throttle.asker(from).failures, 50);
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_at_one_account_from_many_networks_is_held_up_where_its_user_is_not() {
        let throttle = Arc::<Throttle>::default();
        let home = address("203.0.113.9");
        throttle.begin("ada@example.org", home).ok().unwrap().succeeded();
        let mut guesses = 0;
        let mut network = 0;
        for second in 0..60 * 60 {
            // As many networks as it takes: each is used once.
            loop {
                network += 1;
                let from = Some(IpAddr::from(u32::to_be_bytes(0x0a00_0000 + network)));
                if fail(&throttle, "ada@example.org", from).is_some() {
                    break;
                }
                guesses += 1;
            }
            if second % 600 == 0 {
                throttle.begin("ada@example.org", home).expect("she was here").succeeded();
                assert_eq!(fail(&throttle, "bob@example.org", address("192.0.2.7")), None);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!((200..=100 + 120 + 20).contains(&guesses), "{guesses} guesses in an hour");
        let elsewhere = address("192.0.2.8");
        if let Some(wait) = fail(&throttle, "ada@example.org", elsewhere) {
            assert!(wait <= 30, "{wait}");
            tokio::time::advance(Duration::from_secs(wait)).await;
            assert_eq!(fail(&throttle, "ada@example.org", elsewhere), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tries_from_one_address_at_once_are_as_many_as_one_by_one() {
        let throttle = Arc::<Throttle>::default();
        let from = address("192.0.2.1");
        let at_once = |guess: u32| throttle.begin(&format!("user{guess}@example.org"), from).ok();
        let tries: Vec<_> = (0..100).filter_map(at_once).collect();
        assert_eq!(tries.len(), 50);
        tries.into_iter().for_each(Try::came_to_nothing);
        assert_eq!(fail(&throttle, "ada@example.org", from), None);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_forgotten_an_hour_after_the_last_also_where_others_sign_in_all_the_time() {
        let throttle = Arc::<Throttle>::default();
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
        let throttle = Arc::<Throttle>::default();
        let tries: Vec<_> = (0..100).filter_map(|_| throttle.begin("ada@example.org", None).ok()).collect();
        assert_eq!(tries.len(), 5);
        tries.into_iter().for_each(Try::came_to_nothing);
        assert_eq!(fail(&throttle, "ada@example.org", None), None);
    }
}
