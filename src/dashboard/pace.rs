//! How many pages are made: each costs the edge and the database time that requests to models want, too.
//!
//! A user has a pace, and another one for what they send; all users together have one. Of that one, whoever was made many
//! pages lately leaves up to half to the others, so that a few who ask as fast as they may keep nobody waiting who has not asked. Who shows a session that the
//! edge has not vouched for yet has a pace by address, and all of those together have theirs: made-up sessions take nothing
//! from who is signed in. What is beyond costs neither edge nor database anything.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::Expiry;
use moka::policy::EvictionPolicy;
use moka::sync::{Cache, CacheBuilder};
use tokio::time::Instant;
use uuid::Uuid;

use crate::identity::{SessionToken, network};

/// Beyond so many the time between two is too short to be counted in.
const MOST_PAGES: NonZeroU32 = NonZeroU32::new(100_000).unwrap();
/// Of the pages a second that there are for all, what one user has, or one address of strangers.
const PARTS: u32 = 5;
/// Pages that may come at once after a pause, in the time they are made in: a user's, because somebody who opens a dozen tabs
/// waits for none.
const AT_ONCE: Duration = Duration::from_secs(5);
/// The same of all: not so many that a database is at work on nothing else.
const AT_ONCE_OF_ALL: Duration = Duration::from_secs(2);
/// Times as many for strangers: whose session it is costs the edge one look-up, and the database nothing more where it is
/// nobody's. After a restart everybody is one.
const STRANGERS: NonZeroU32 = NonZeroU32::new(4).unwrap();
/// So long a page counts as made lately, the next one as long again, up to so long together. Who is made thirty beyond one a
/// second leaves to others what can be left.
const LATELY_EACH: Duration = Duration::from_secs(1);
const LATELY: Duration = Duration::from_secs(30);
/// Sessions, users and addresses that are remembered.
const MOST: u64 = 10_000;

/// Pages a second of all users together, where nobody says otherwise: a page a minute for fifteen hundred of them.
pub const PAGES: NonZeroU32 = NonZeroU32::new(25).unwrap();

/// Pages a second, drawn from as pages are asked for.
pub struct Pace {
    all: Shared,
    /// By the bits of their ids.
    users: Cache<u128, Shared>,
    /// What users send, apart from the pages they ask for.
    senders: Cache<u128, Shared>,
    all_strangers: Shared,
    /// By the bits of their networks.
    strangers: Cache<u128, Shared>,
    /// Whose a session is, by the first half of its token's hash.
    sessions: Cache<u128, Vouched>,
    of_all: Quota,
    of_all_strangers: Quota,
    of_each: Quota,
}

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

/// Whose pace was drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "once a stranger turns out to be a user, it counts as theirs too"]
pub(super) enum Asker {
    User,
    Stranger,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Page,
    /// A form was sent: neither a load of others nor pages asked for with another session of theirs keep a user from revoking
    /// a key.
    Form,
}

/// A steady pace, and how much may come at once after a pause: the generic cell rate algorithm. `governor`, by which routes
/// count, has it too, but it takes what it looks at: here a page is drawn from two paces or from neither, and how much of the
/// second has to be left depends on who asks, so that looking comes first, and drawing behind it under the same two locks.
#[derive(Debug, Clone, Copy)]
struct Quota {
    /// What one takes.
    each: Duration,
    at_once: Duration,
}

/// What was drawn. Both lie in the past where nothing was for a while.
#[derive(Debug, Clone, Copy)]
struct Drawn {
    /// When all that was drawn would have been at a steady pace.
    until: Instant,
    /// When no page counts as made lately any more.
    lately: Instant,
}

type Shared = Arc<Mutex<Drawn>>;

#[derive(Debug, Clone, Copy)]
struct Vouched {
    user: Uuid,
    life: Duration,
}

/// A session is forgotten when it is over.
struct AtItsEnd;

impl Expiry<u128, Vouched> for AtItsEnd {
    fn expire_after_create(&self, _: &u128, session: &Vouched, _: std::time::Instant) -> Option<Duration> {
        Some(session.life)
    }

    fn expire_after_update(
        &self,
        _: &u128,
        session: &Vouched,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(session.life)
    }
}

impl Pace {
    /// So many pages a second for all users together, up to a hundred thousand.
    pub fn new(pages: NonZeroU32) -> Self {
        let pages = pages.min(MOST_PAGES);
        let part = NonZeroU32::new(pages.get() / PARTS).unwrap_or(NonZeroU32::MIN);
        let quota = |pages: NonZeroU32, at_once| Quota { each: Duration::from_secs(1) / pages.get(), at_once };
        Self {
            all: nothing(),
            users: bounded().time_to_idle(LATELY).build(),
            senders: bounded().time_to_idle(AT_ONCE).build(),
            all_strangers: nothing(),
            strangers: bounded().time_to_idle(AT_ONCE).build(),
            sessions: bounded().expire_after(AtItsEnd).build(),
            of_all: quota(pages, AT_ONCE_OF_ALL),
            of_all_strangers: quota(pages.saturating_mul(STRANGERS), AT_ONCE_OF_ALL),
            of_each: quota(part, AT_ONCE),
        }
    }

    /// Counts what is asked for with this session from this address.
    pub(super) fn take(&self, token: &SessionToken, from: Option<IpAddr>, asked: Asked) -> Result<Asker, Refused> {
        match self.sessions.get(&half(token)) {
            Some(Vouched { user, .. }) => self.take_as(user, asked).map(|()| Asker::User),
            None => self.take_as_stranger(from).map(|()| Asker::Stranger),
        }
    }

    fn take_as_stranger(&self, from: Option<IpAddr>) -> Result<(), Refused> {
        let now = Instant::now();
        let one = self.strangers.get_with(bits(from), nothing);
        let mut one = locked(&one);
        self.of_each.room(&one, Duration::ZERO, now).map_err(Refused::Strange)?;
        let mut all = locked(&self.all_strangers);
        self.of_all_strangers.room(&all, Duration::ZERO, now).map_err(Refused::Strange)?;
        self.of_each.draw(&mut one, now);
        self.of_all_strangers.draw(&mut all, now);
        Ok(())
    }

    /// Counts what this user asks for, whichever the session.
    pub(super) fn take_as(&self, user: Uuid, asked: Asked) -> Result<(), Refused> {
        let now = Instant::now();
        let own = match asked {
            Asked::Page => &self.users,
            Asked::Form => &self.senders,
        };
        let own = own.get_with(user.as_u128(), nothing);
        let mut own = locked(&own);
        self.of_each.room(&own, Duration::ZERO, now).map_err(Refused::TooMany)?;
        if asked == Asked::Page {
            let mut all = locked(&self.all);
            self.of_all.room(&all, left_to_others(&own, now), now).map_err(Refused::Busy)?;
            self.of_all.draw(&mut all, now);
            own.lately = (own.lately.max(now) + LATELY_EACH).min(now + LATELY);
        }
        self.of_each.draw(&mut own, now);
        Ok(())
    }

    /// The edge says that this session is `user`'s, and lasts for so long.
    pub(super) fn vouched(&self, token: &SessionToken, user: Uuid, life: Duration) {
        self.sessions.insert(half(token), Vouched { user, life });
    }

    /// The session is over: whoever shows it now draws on nobody's pace.
    pub(super) fn forget(&self, token: &SessionToken) {
        self.sessions.invalidate(&half(token));
    }
}

impl Quota {
    /// Err: how long until there is room for one more beside what is `left` to others.
    fn room(&self, drawn: &Drawn, left: Duration, now: Instant) -> Result<(), Duration> {
        let after = drawn.until.saturating_duration_since(now) + self.each + left;
        match after.checked_sub(self.at_once.max(self.each + left)) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(wait) => Err(wait),
        }
    }

    fn draw(&self, drawn: &mut Drawn, now: Instant) {
        drawn.until = drawn.until.max(now) + self.each;
    }
}

/// Up to half of what all may have at once, by how much was made for this user lately.
fn left_to_others(own: &Drawn, now: Instant) -> Duration {
    (AT_ONCE_OF_ALL / 2).mul_f64(own.lately.saturating_duration_since(now).div_duration_f64(LATELY).min(1.0))
}

fn nothing() -> Shared {
    let now = Instant::now();
    Arc::new(Mutex::new(Drawn { until: now, lately: now }))
}

fn locked(drawn: &Shared) -> std::sync::MutexGuard<'_, Drawn> {
    drawn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of an address's network. Who has no address is one stranger: no network's bits are 1.
fn bits(from: Option<IpAddr>) -> u128 {
    match from.map(network) {
        Some(IpAddr::V6(network)) => network.to_bits(),
        Some(IpAddr::V4(network)) => network.to_ipv6_mapped().to_bits(),
        None => 1,
    }
}

/// Where there are too many, who was not seen for longest is forgotten first.
fn bounded<V: Clone + Send + Sync + 'static>() -> CacheBuilder<u128, V, Cache<u128, V>> {
    Cache::builder().max_capacity(MOST).eviction_policy(EvictionPolicy::lru())
}

fn half(token: &SessionToken) -> u128 {
    let hash = token.hash();
    hash.first_chunk().map_or(0, |half| u128::from_be_bytes(*half))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    /// The first half a minute after so many users signed in, each with a session.
    struct Spell<const N: usize> {
        pace: Pace,
        sessions: [SessionToken; N],
    }

    impl<const N: usize> Spell<N> {
        fn of(pages: u32) -> Self {
            let spell = Self {
                pace: Pace::new(NonZeroU32::new(pages).unwrap()),
                sessions: std::array::from_fn(|_| SessionToken::mint().unwrap()),
            };
            for (token, user) in spell.sessions.iter().zip(1..) {
                spell.pace.vouched(token, Uuid::from_u128(user), Duration::from_secs(3_600));
            }
            spell
        }

        fn ask(&self, user: usize) -> Result<Asker, Refused> {
            self.pace.take(&self.sessions[user], HERE, Asked::Page)
        }

        /// How many of so many pages in a row are made.
        fn made(&self, user: usize, asked: u32) -> u32 {
            (0..asked).map(|_| u32::from(self.ask(user).is_ok())).sum()
        }
    }

    async fn pass(millis: u64) {
        tokio::time::advance(Duration::from_millis(millis)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_has_one_pace_however_many_sessions() {
        let spell = Spell::<1>::of(25);
        let other = SessionToken::mint().unwrap();
        spell.pace.vouched(&other, Uuid::from_u128(1), Duration::from_secs(60));
        assert_eq!(spell.made(0, 20), 20);
        for _ in 0..5 {
            assert_eq!(spell.pace.take(&other, HERE, Asked::Page), Ok(Asker::User));
        }
        let wait = Duration::from_millis(200);
        assert_eq!(spell.ask(0), Err(Refused::TooMany(wait)));
        assert_eq!(spell.pace.take(&other, HERE, Asked::Page), Err(Refused::TooMany(wait)));
        pass(200).await;
        assert_eq!(spell.made(0, 9), 1, "five a second after the twenty-five at once");
    }

    #[tokio::test(start_paused = true)]
    async fn pages_keep_no_user_from_sending_forms_nor_forms_from_pages() {
        let spell = Spell::<1>::of(25);
        assert_eq!(spell.made(0, 100), 25, "whoever has another session of hers");
        let send = || spell.pace.take(&spell.sessions[0], HERE, Asked::Form);
        for _ in 0..25 {
            assert_eq!(send(), Ok(Asker::User));
        }
        assert_eq!(send(), Err(Refused::TooMany(Duration::from_millis(200))));
        pass(200).await;
        assert_eq!((spell.made(0, 2), send()), (1, Ok(Asker::User)));
    }

    #[tokio::test(start_paused = true)]
    async fn all_users_have_one_pace() {
        let spell = Spell::<60>::of(25);
        let made: u32 = (0..60).map(|user| spell.made(user, 1)).sum();
        assert_eq!(made, 50, "two seconds' worth come at once");
        assert_eq!(spell.ask(59), Err(Refused::Busy(Duration::from_millis(40))));
        let form = |token| spell.pace.take(token, HERE, Asked::Form);
        assert!(spell.sessions.iter().map(form).all(|taken| taken.is_ok()), "what a user sends is held up by no other");
        pass(1_000).await;
        assert_eq!((50..60).map(|user| spell.made(user, 3)).sum::<u32>(), 25);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asked_for_nothing_lately_waits_for_nobody_who_asks_all_the_time() {
        let spell = Spell::<8>::of(25);
        let mut made = [0; 8];
        for millis in 0..30_000 {
            for (user, made) in made.iter_mut().enumerate().take(6) {
                *made += spell.made(user, 1);
            }
            if millis % 3_000 == 0 {
                // Somebody looks at a page every three seconds.
                made[6] += spell.made(6, 1);
            }
            pass(1).await;
        }
        assert_eq!(made[6], 10, "{made:?}");
        assert_eq!(spell.made(7, 12), 12, "and who has just come opens a dozen tabs");
        let greedy: u32 = made[..6].iter().sum();
        assert!((25 * 30 - 10..=25 * 30 + 50).contains(&greedy), "nothing is left unused: {made:?}");
        let Err(Refused::Busy(wait)) = spell.ask(0) else { panic!("one of six who ask for all there is") };
        assert!(wait < Duration::from_secs(2), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn even_a_single_page_a_second_is_made() {
        let spell = Spell::<2>::of(1);
        assert_eq!((spell.made(0, 9), spell.made(1, 9)), (1, 1));
        for second in 1..60 {
            pass(1_000).await;
            assert_eq!(spell.made(0, 1) + spell.made(1, 1), 1, "{second}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_sessions_have_the_pace_of_their_address_and_take_nothing_from_users() {
        let (spell, made_up) = (Spell::<1>::of(25), [(); 2].map(|()| SessionToken::mint().unwrap()));
        let strange = |token, from| spell.pace.take(token, from, Asked::Page);
        let here = (0..30).filter(|_| strange(&made_up[0], HERE).is_ok()).count();
        assert_eq!(here, 25);
        assert!(matches!(strange(&made_up[1], HERE), Err(Refused::Strange(_))));
        let elsewhere = Some(IpAddr::from([203, 0, 113, 9]));
        assert_eq!(strange(&made_up[1], elsewhere), Ok(Asker::Stranger), "nor from who has just come back from lunch");
        assert_eq!(spell.made(0, 25), 25);
        spell.pace.forget(&spell.sessions[0]);
        assert!(matches!(spell.ask(0), Err(Refused::Strange(_))), "a session that is over is one more of them");
    }
}
