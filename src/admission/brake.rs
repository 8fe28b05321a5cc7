//! The brake on look-ups of unknown keys, one for each client address.
//!
//! Checksums are public, so anyone can mint well-formed keys, and each would cost the store a question. An address gets
//! so many questions a minute that are answered "no such key"; then its unknown keys are refused unasked. Keys that are
//! cached never come here, so whoever shares an address with an attacker goes on working. Behind a proxy that is not
//! among `trusted_proxies` all clients share its address.
//!
//! Failure stance: open. An address that the bounded table has no room for is not braked; the cap on look-ups in flight
//! still is above it.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

use crate::units::Timestamp;

const WINDOW: Duration = Duration::from_secs(60);

/// The failed look-ups of every address.
pub(super) struct Brake {
    windows: Cache<IpAddr, Arc<Mutex<Window>>>,
    failures: u32,
}

/// A minute of one address.
#[derive(Debug)]
struct Window {
    began: Timestamp,
    /// Look-ups that failed, and those that may yet.
    count: u32,
}

/// One look-up on the address's account. Dropping it takes it off again, unless it failed.
pub(super) struct Attempt(Option<Arc<Mutex<Window>>>);

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

    /// Opens a look-up for `address`, where it has one left in this minute.
    pub(super) fn begin(&self, address: IpAddr, now: Timestamp) -> Result<Attempt, Braked> {
        let fresh = || Arc::new(Mutex::new(Window { began: now, count: 0 }));
        let window = self.windows.get_with(network(address), fresh);
        {
            let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
            let passed = window.began.until(now);
            if passed >= WINDOW {
                *window = Window { began: now, count: 0 };
            } else if window.count >= self.failures {
                return Err(Braked(WINDOW.saturating_sub(passed)));
            }
            window.count += 1;
        }
        Ok(Attempt(Some(window)))
    }
}

impl Attempt {
    /// The store has no such key.
    pub(super) fn failed(mut self) {
        self.0 = None;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(window) = self.0.take() {
            let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
            window.count = window.count.saturating_sub(1);
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
    use super::*;

    const NOON: Timestamp = Timestamp(1_769_860_800_000_000); // 2026-01-31T12:00:00Z

    fn after(seconds: i64) -> Timestamp {
        Timestamp(NOON.0 + seconds * 1_000_000)
    }

    #[test]
    fn failures_are_counted_by_the_minute_and_successes_are_not() {
        let brake = Brake::new(3, 100);
        let address: IpAddr = "203.0.113.9".parse().unwrap();
        for _ in 0..10 {
            drop(brake.begin(address, NOON).ok().unwrap());
        }
        for _ in 0..3 {
            brake.begin(address, NOON).ok().unwrap().failed();
        }
        assert_eq!(brake.begin(address, after(20)).err(), Some(Braked(Duration::from_secs(40))));
        assert!(brake.begin("203.0.113.10".parse().unwrap(), after(20)).is_ok(), "others are not concerned");
        assert!(brake.begin(address, after(60)).is_ok());
    }

    #[test]
    fn those_under_way_count_until_they_succeed() {
        let brake = Brake::new(2, 100);
        let address: IpAddr = "203.0.113.9".parse().unwrap();
        let under_way = [brake.begin(address, NOON).ok(), brake.begin(address, NOON).ok()];
        assert!(brake.begin(address, NOON).is_err());
        drop(under_way);
        assert!(brake.begin(address, NOON).is_ok());
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
            if let Ok(attempt) = brake.begin(IpAddr::V4(number.into()), NOON) {
                attempt.failed();
            }
        }
        brake.windows.run_pending_tasks();
        assert!(brake.windows.entry_count() <= 1_000, "{}", brake.windows.entry_count());
    }
}
