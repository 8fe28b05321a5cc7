//! How many pages are made: each costs the edge and the database time that requests to models want, too.
//!
//! A user has a pace, and all users together have one. Sessions that the edge has not vouched for yet share a small one of
//! their own: made-up ones take nothing from who is signed in. What is beyond costs neither edge nor database anything.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;
use uuid::Uuid;

use crate::identity::SessionToken;

/// Beyond so many the time between two is too short to be counted in.
const MOST_PAGES: NonZeroU32 = NonZeroU32::new(100_000).unwrap();
/// Of the pages a second that there are for all, what one user has, and what sessions have that nobody vouched for.
const PARTS: u32 = 5;
/// Seconds' worth of pages that may come at once after a pause: somebody who opens a dozen tabs waits for none.
const BURST: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// Sessions, and users, that are remembered, and how long after the last page.
const MOST: u64 = 10_000;
const MEMORY: Duration = Duration::from_secs(30 * 60);

/// Pages a second of all users together, where nobody says otherwise: a page a minute for fifteen hundred of them.
pub const PAGES: NonZeroU32 = NonZeroU32::new(25).unwrap();

/// Pages a second, drawn from as pages are asked for.
pub struct Pace {
    all: DefaultDirectRateLimiter,
    strangers: DefaultDirectRateLimiter,
    each: Quota,
    users: Cache<Uuid, Arc<DefaultDirectRateLimiter>>,
    /// By the token's hash, whose user's pace it is.
    sessions: Cache<[u8; 32], Arc<DefaultDirectRateLimiter>>,
    clock: DefaultClock,
}

/// Why a page is not made, and after how long it may be asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its user has asked for too many.
    TooMany(Duration),
    /// Others have.
    Busy(Duration),
}

impl Pace {
    /// So many pages a second for all users together, up to a hundred thousand.
    pub fn new(pages: NonZeroU32) -> Self {
        let pages = pages.min(MOST_PAGES);
        let part = NonZeroU32::new(pages.get() / PARTS).unwrap_or(NonZeroU32::MIN);
        let quota = |pages: NonZeroU32| Quota::per_second(pages).allow_burst(pages.saturating_mul(BURST));
        Self {
            all: RateLimiter::direct(quota(pages)),
            strangers: RateLimiter::direct(quota(part)),
            each: quota(part),
            users: Cache::builder().max_capacity(MOST).time_to_idle(MEMORY).build(),
            sessions: Cache::builder().max_capacity(MOST).time_to_idle(MEMORY).build(),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a page of this session.
    pub(super) fn take(&self, token: &SessionToken) -> Result<(), Refused> {
        let Some(of_user) = self.sessions.get(&token.hash()) else {
            return self.draw(&self.strangers).map_err(Refused::Busy);
        };
        self.draw(&of_user).map_err(Refused::TooMany)?;
        self.draw(&self.all).map_err(Refused::Busy)
    }

    /// The edge says that this session is `user`'s.
    pub(super) fn vouched(&self, token: &SessionToken, user: Uuid) {
        let hash = token.hash();
        if !self.sessions.contains_key(&hash) {
            let of_user = self.users.get_with(user, || Arc::new(RateLimiter::direct(self.each)));
            self.sessions.insert(hash, of_user);
        }
    }

    /// Err: how long until there is room for one more.
    fn draw(&self, from: &DefaultDirectRateLimiter) -> Result<(), Duration> {
        from.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many pages in a row are made.
    fn made(pace: &Pace, token: &SessionToken, asked: u32) -> u32 {
        (0..asked).map(|_| u32::from(pace.take(token).is_ok())).sum()
    }

    fn sessions<const N: usize>() -> [SessionToken; N] {
        std::array::from_fn(|_| SessionToken::mint().unwrap())
    }

    /// One page a second at most, so that none is added while a test runs: bursts are all there is.
    fn pace() -> Pace {
        Pace::new(NonZeroU32::MIN)
    }

    #[test]
    fn a_user_has_one_pace_however_many_sessions() {
        let (pace, [one, other, of_another]) = (pace(), sessions());
        let user = Uuid::from_u128(1);
        pace.vouched(&one, user);
        pace.vouched(&other, user);
        assert_eq!(made(&pace, &one, 7) + made(&pace, &other, 7), 10);
        assert!(matches!(pace.take(&other), Err(Refused::TooMany(wait)) if wait <= Duration::from_secs(1)));
        pace.vouched(&of_another, Uuid::from_u128(2));
        assert!(matches!(pace.take(&of_another), Err(Refused::Busy(_))), "all together have no more, either");
    }

    #[test]
    fn made_up_sessions_share_one_pace_and_take_nothing_from_users() {
        let (pace, [known, one, other]) = (pace(), sessions());
        pace.vouched(&known, Uuid::from_u128(1));
        assert_eq!(made(&pace, &one, 20) + made(&pace, &other, 20), 10);
        assert!(matches!(pace.take(&one), Err(Refused::Busy(_))));
        assert_eq!(made(&pace, &known, 20), 10);
    }

    #[test]
    fn one_user_leaves_most_of_the_pages_to_others() {
        let (pace, tokens) = (Pace::new(NonZeroU32::new(5).unwrap()), sessions::<4>());
        for (token, user) in tokens.iter().zip(1..) {
            pace.vouched(token, Uuid::from_u128(user));
            assert_eq!(made(&pace, token, 100), 10);
        }
    }
}
