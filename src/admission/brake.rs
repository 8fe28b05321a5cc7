//! The brake on look-ups of unknown keys, one for each client address.
//!
//! Checksums are public, so anyone can mint well-formed keys, and each would cost the store a question. An address gets
//! so many questions a minute that are answered "no such key"; then its unknown keys are refused unasked. No more of its
//! questions are under way than may yet fail: the next waits for one of them, since a team behind one address may well
//! ask for more keys than that at once, all of them good, where an edge has just started. Keys that are cached never come
//! here, so whoever shares an address with an attacker goes on working. Behind a proxy that is not among
//! `trusted_proxies` all clients share its address.
//!
//! Failure stance: open. An address that the bounded table has no room for is not braked; the cap on look-ups in flight
//! still is above it.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::units::Timestamp;

const WINDOW: Duration = Duration::from_secs(60);

/// The failed look-ups of every address.
pub(super) struct Brake {
    windows: Cache<IpAddr, Arc<Window>>,
    failures: u32,
}

/// A minute of one address.
#[derive(Debug)]
struct Window {
    began: Timestamp,
    /// Look-ups that may still fail.
    left: AtomicU32,
    /// As many places; each failure takes one along, and the last closes the door.
    places: Arc<Semaphore>,
}

/// One look-up on the address's account, not begun.
pub(super) struct Attempt {
    window: Arc<Window>,
    /// What is left of the minute.
    wait: Duration,
}

/// One look-up that is under way. Dropping it gives its place to the next, unless it failed.
pub(super) struct UnderWay {
    window: Arc<Window>,
    place: OwnedSemaphorePermit,
}

/// How long an address must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Braked(pub(super) Duration);

impl Brake {
    /// `failures` a minute for each of at most `capacity` addresses.
    pub(super) fn new(failures: u32, capacity: u64) -> Self {
        // moka's own time only bounds memory: minutes are counted by our clock.
        let windows = Cache::builder().max_capacity(capacity).time_to_live(2 * WINDOW).build();
        Self { windows, failures }
    }

    /// A look-up for `address`, unless as many failed in this minute as may.
    pub(super) fn begin(&self, address: IpAddr, now: Timestamp) -> Result<Attempt, Braked> {
        let (network, is_over) = (network(address), |window: &Arc<Window>| window.began.until(now) >= WINDOW);
        let window = self.windows.get(&network).filter(|window| !is_over(window));
        let fresh = || Arc::new(Window::new(now, self.failures));
        let window =
            window.unwrap_or_else(|| self.windows.entry(network).or_insert_with_if(fresh, is_over).into_value());
        let wait = WINDOW.saturating_sub(window.began.until(now));
        if window.places.is_closed() { Err(Braked(wait)) } else { Ok(Attempt { window, wait }) }
    }
}

impl Window {
    fn new(began: Timestamp, failures: u32) -> Self {
        let places = Arc::new(Semaphore::new(usize::try_from(failures).unwrap_or(Semaphore::MAX_PERMITS)));
        if failures == 0 {
            places.close();
        }
        Self { began, left: AtomicU32::new(failures), places }
    }
}

impl Attempt {
    /// Waits for its place, as long as enough of those under way do not fail.
    pub(super) async fn under_way(self) -> Result<UnderWay, Braked> {
        let Self { window, wait } = self;
        let place = Arc::clone(&window.places).acquire_owned().await.map_err(|_| Braked(wait))?;
        Ok(UnderWay { window, place })
    }
}

impl UnderWay {
    /// The store has no such key.
    pub(super) fn failed(self) {
        self.place.forget();
        if self.window.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.window.places.close();
        }
    }
}

/// What one client can be assumed to hold: an IPv4 address, or a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const NOON: Timestamp = Timestamp(1_769_860_800_000_000); // 2026-01-31T12:00:00Z

    fn after(seconds: i64) -> Timestamp {
        Timestamp(NOON.0 + seconds * 1_000_000)
    }

    fn fail(brake: &Brake, address: IpAddr) {
        begun(brake, address).unwrap().failed();
    }

    /// A look-up that has its place at once, or none.
    fn begun(brake: &Brake, address: IpAddr) -> Option<UnderWay> {
        brake.begin(address, NOON).ok()?.under_way().now_or_never()?.ok()
    }

    #[test]
    fn failures_are_counted_by_the_minute_and_successes_are_not() {
        let brake = Brake::new(3, 100);
        let address: IpAddr = "203.0.113.9".parse().unwrap();
        for _ in 0..10 {
            drop(begun(&brake, address).unwrap());
        }
        for _ in 0..3 {
            fail(&brake, address);
        }
        assert_eq!(brake.begin(address, after(20)).err(), Some(Braked(Duration::from_secs(40))));
        assert!(brake.begin("203.0.113.10".parse().unwrap(), after(20)).is_ok(), "others are not concerned");
        assert!(brake.begin(address, after(60)).is_ok());
    }

    #[tokio::test]
    async fn no_more_are_under_way_than_may_fail_and_the_next_waits() {
        let brake = Brake::new(2, 100);
        let address: IpAddr = "203.0.113.9".parse().unwrap();
        let (first, second) = (begun(&brake, address).unwrap(), begun(&brake, address).unwrap());
        assert!(begun(&brake, address).is_none());
        let mut next = Box::pin(brake.begin(address, NOON).ok().unwrap().under_way());
        assert!(next.as_mut().now_or_never().is_none());
        drop(first);
        let third = next.await.ok().unwrap();
        let last = brake.begin(address, after(1)).ok().unwrap().under_way();
        second.failed();
        third.failed();
        assert_eq!(last.await.err(), Some(Braked(Duration::from_secs(59))), "who waits hears that it is over");
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_a_slash_64() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:203.0.113.9"), "203.0.113.9");
        assert_ne!(of("2001:db8:1:3::1"), of("2001:db8:1:2::1"));
    }

    #[test]
    fn the_table_is_bounded() {
        let brake = Brake::new(2, 1_000);
        for number in 0..50_000_u32 {
            fail(&brake, IpAddr::V4(number.into()));
        }
        brake.windows.run_pending_tasks();
        assert!(brake.windows.entry_count() <= 1_000, "{}", brake.windows.entry_count());
    }
}
