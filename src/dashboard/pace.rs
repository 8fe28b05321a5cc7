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
/// Seconds' worth of pages that may come at once after a pause, of one user's: somebody who opens a dozen tabs waits for none.
const BURST: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// The same of all: not so many that a database is at work on nothing else.
const BURST_OF_ALL: NonZeroU32 = NonZeroU32::new(2).unwrap();
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
    /// By user, and by session the pace of its user.
    users: Paces,
    sessions: Paces,
    clock: DefaultClock,
}

/// By a user's id, or by the first half of a token's hash.
type Paces = Cache<u128, Arc<DefaultDirectRateLimiter>>;

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
        let quota = |pages: NonZeroU32, burst| Quota::per_second(pages).allow_burst(pages.saturating_mul(burst));
        Self {
            all: RateLimiter::direct(quota(pages, BURST_OF_ALL)),
            strangers: RateLimiter::direct(quota(part, BURST)),
            each: quota(part, BURST),
            users: Cache::builder().max_capacity(MOST).time_to_idle(MEMORY).build(),
            sessions: Cache::builder().max_capacity(MOST).time_to_idle(MEMORY).build(),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a page of this session.
    pub(super) fn take(&self, token: &SessionToken) -> Result<(), Refused> {
        let Some(of_user) = self.sessions.get(&half(token)) else {
            return self.draw(&self.strangers).map_err(Refused::Busy);
        };
        self.draw(&of_user).map_err(Refused::TooMany)?;
        self.draw(&self.all).map_err(Refused::Busy)
    }

    /// The edge says that this session is `user`'s.
    pub(super) fn vouched(&self, token: &SessionToken, user: Uuid) {
        let session = half(token);
        if !self.sessions.contains_key(&session) {
            let of_user = self.users.get_with(user.as_u128(), || Arc::new(RateLimiter::direct(self.each)));
            self.sessions.insert(session, of_user);
        }
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

    /// Five pages a second in all and one of each user: what is added while a test runs is little beside the bursts.
    fn pace() -> Pace {
        Pace::new(NonZeroU32::new(PARTS).unwrap())
    }

    fn until_refused(pace: &Pace, token: &SessionToken) -> Refused {
        loop {
            if let Err(refused) = pace.take(token) {
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
            [(); 5].map(|()| pace.take(token).err())
        });
        let refused: Vec<_> = refused.collect();
        assert_eq!(refused.iter().take(10).flatten().next(), None, "two seconds' worth come at once");
        assert!(refused.iter().any(|refused| matches!(refused, Some(Refused::Busy(_)))));
    }

    #[test]
    fn made_up_sessions_share_one_pace_and_take_nothing_from_users() {
        let (pace, [known, one, other]) = (pace(), sessions());
        pace.vouched(&known, Uuid::from_u128(1));
        assert_eq!(made(&pace, &one, 5), 5);
        assert!(matches!(until_refused(&pace, &one), Refused::Busy(_)));
        assert!(matches!(until_refused(&pace, &other), Refused::Busy(_)));
        assert_eq!(made(&pace, &known, 5), 5);
    }
}
