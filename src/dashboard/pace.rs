//! How many pages are made: each costs the edge and the database time that requests to models want, too.
//!
//! A user has a pace, and all users together have one. Who shows a session that the edge has not vouched for yet has one by
//! address, and all of those together have theirs: made-up sessions take nothing from who is signed in. What is beyond
//! costs neither edge nor database anything.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use uuid::Uuid;

use crate::identity::SessionToken;

/// Beyond so many the time between two is too short to be counted in.
const MOST_PAGES: NonZeroU32 = NonZeroU32::new(100_000).unwrap();
/// Of the pages a second that there are for all, what one user has, or one address of strangers.
const PARTS: u32 = 5;
/// Seconds' worth of pages that may come at once after a pause, of one user's: somebody who opens a dozen tabs waits for none.
const BURST: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// The same of all: not so many that a database is at work on nothing else.
const BURST_OF_ALL: NonZeroU32 = NonZeroU32::new(2).unwrap();
/// Times as many for strangers: whose session it is costs the edge one look-up, and the database nothing more where it is
/// nobody's. After a restart everybody is one.
const STRANGERS: NonZeroU32 = NonZeroU32::new(4).unwrap();
/// Sessions, users and addresses that are remembered, and how long after the last page: about as long as a session lasts.
const MOST: u64 = 10_000;
const MEMORY: Duration = Duration::from_secs(12 * 60 * 60);

/// Pages a second of all users together, where nobody says otherwise: a page a minute for fifteen hundred of them.
pub const PAGES: NonZeroU32 = NonZeroU32::new(25).unwrap();

/// Pages a second, drawn from as pages are asked for.
pub struct Pace {
    all: DefaultDirectRateLimiter,
    users: Paces,
    all_strangers: DefaultDirectRateLimiter,
    /// By network.
    strangers: Paces,
    /// Whose a session is, by the first half of its token's hash.
    sessions: Cache<u128, u128>,
    each: Quota,
    clock: DefaultClock,
}

type Paces = Cache<u128, Arc<DefaultDirectRateLimiter>>;

/// Why a page is not made, and after how long it may be asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its user has asked for too many.
    TooMany(Duration),
    /// All users have.
    Busy(Duration),
    /// Whoever shows sessions that nobody vouched for has.
    Strange(Duration),
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Page,
    /// A form was sent: no load of others keeps a user from revoking a key.
    Form,
}

impl Pace {
    /// So many pages a second for all users together, up to a hundred thousand.
    pub fn new(pages: NonZeroU32) -> Self {
        let pages = pages.min(MOST_PAGES);
        let part = NonZeroU32::new(pages.get() / PARTS).unwrap_or(NonZeroU32::MIN);
        let quota = |pages: NonZeroU32, burst| Quota::per_second(pages).allow_burst(pages.saturating_mul(burst));
        let paces = || Cache::builder().max_capacity(MOST).time_to_idle(MEMORY).eviction_policy(EvictionPolicy::lru());
        Self {
            all: RateLimiter::direct(quota(pages, BURST_OF_ALL)),
            users: paces().build(),
            all_strangers: RateLimiter::direct(quota(pages.saturating_mul(STRANGERS), BURST_OF_ALL)),
            strangers: paces().build(),
            sessions: Cache::builder()
                .max_capacity(MOST)
                .time_to_idle(MEMORY)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            each: quota(part, BURST),
            clock: DefaultClock::default(),
        }
    }

    /// Counts what is asked for with this session from this address.
    pub(super) fn take(&self, token: &SessionToken, from: Option<IpAddr>, asked: Asked) -> Result<(), Refused> {
        let Some(user) = self.sessions.get(&half(token)) else {
            self.draw(&self.of(&self.strangers, network(from))).map_err(Refused::Strange)?;
            return self.draw(&self.all_strangers).map_err(Refused::Strange);
        };
        self.draw(&self.of(&self.users, user)).map_err(Refused::TooMany)?;
        match asked {
            Asked::Page => self.draw(&self.all).map_err(Refused::Busy),
            Asked::Form => Ok(()),
        }
    }

    /// The edge says that this session is `user`'s.
    pub(super) fn vouched(&self, token: &SessionToken, user: Uuid) {
        self.sessions.insert(half(token), user.as_u128());
    }

    /// The session is over: whoever shows it now draws on nobody's pace.
    pub(super) fn forget(&self, token: &SessionToken) {
        self.sessions.invalidate(&half(token));
    }

    fn of(&self, paces: &Paces, whose: u128) -> Arc<DefaultDirectRateLimiter> {
        paces.get_with(whose, || Arc::new(RateLimiter::direct(self.each)))
    }

    /// Err: how long until there is room for one more.
    fn draw(&self, from: &DefaultDirectRateLimiter) -> Result<(), Duration> {
        from.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

fn half(token: &SessionToken) -> u128 {
    let hash = token.hash();
    hash.first_chunk().map_or(0, |half| u128::from_be_bytes(*half))
}

/// What somebody may have many addresses of: a /64 of IPv6.
fn network(address: Option<IpAddr>) -> u128 {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => address.to_bits().into(),
        Some(IpAddr::V6(address)) => address.to_bits() >> 64 << 64,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    /// How many of so many pages in a row are made.
    fn made(pace: &Pace, token: &SessionToken, asked: u32) -> u32 {
        (0..asked).map(|_| u32::from(pace.take(token, HERE, Asked::Page).is_ok())).sum()
    }

    fn sessions<const N: usize>() -> [SessionToken; N] {
        std::array::from_fn(|_| SessionToken::mint().unwrap())
    }

    /// Five pages a second in all and one of each user: what is added while a test runs is little beside the bursts.
    fn pace() -> Pace {
        Pace::new(NonZeroU32::new(PARTS).unwrap())
    }

    fn until_refused(pace: &Pace, token: &SessionToken) -> Refused {
        loop {
            if let Err(refused) = pace.take(token, HERE, Asked::Page) {
                return refused;
            }
        }
    }

    #[test]
    fn a_user_has_one_pace_however_many_sessions() {
        let (pace, [one, other]) = (pace(), sessions());
        pace.vouched(&one, Uuid::from_u128(1));
        pace.vouched(&other, Uuid::from_u128(1));
        assert_eq!(made(&pace, &one, 3) + made(&pace, &other, 2), 5);
        assert!(matches!(until_refused(&pace, &one), Refused::TooMany(wait) if wait <= Duration::from_secs(1)));
        assert!(matches!(until_refused(&pace, &other), Refused::TooMany(_)));
    }

    #[test]
    fn all_users_have_one_pace() {
        let (pace, tokens) = (pace(), sessions::<20>());
        let refused = tokens.iter().zip(1..).flat_map(|(token, user)| {
            pace.vouched(token, Uuid::from_u128(user));
            [(); 4].map(|()| pace.take(token, HERE, Asked::Page).err())
        });
        let refused: Vec<_> = refused.collect();
        assert_eq!(refused.iter().take(10).flatten().next(), None, "two seconds' worth come at once");
        assert!(refused.iter().any(|refused| matches!(refused, Some(Refused::Busy(_)))));
        let form = tokens.iter().map(|token| pace.take(token, HERE, Asked::Form));
        assert!(form.into_iter().all(|taken| taken.is_ok()), "what a user sends is held up by no other");
    }

    #[test]
    fn made_up_sessions_have_the_pace_of_their_address_and_take_nothing_from_users() {
        let (pace, [known, one, other]) = (pace(), sessions());
        pace.vouched(&known, Uuid::from_u128(1));
        assert_eq!(made(&pace, &one, 5), 5);
        assert!(matches!(until_refused(&pace, &one), Refused::Strange(_)));
        assert!(matches!(until_refused(&pace, &other), Refused::Strange(_)));
        let elsewhere = Some(IpAddr::from([203, 0, 113, 9]));
        assert_eq!(pace.take(&other, elsewhere, Asked::Page), Ok(()), "nor from who has just come back from lunch");
        assert_eq!(made(&pace, &known, 5), 5);
        pace.forget(&known);
        assert!(
            matches!(until_refused(&pace, &known), Refused::Strange(_)),
            "a session that is over is one more of them"
        );
    }

    #[test]
    fn an_address_is_one_of_its_network() {
        let of = |address: &str| network(Some(address.parse().unwrap()));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_eq!(of("::ffff:203.0.113.9"), of("203.0.113.9"));
        assert_ne!(of("203.0.113.9"), of("203.0.113.8"));
    }
}
