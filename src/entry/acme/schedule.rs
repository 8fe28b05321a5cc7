//! When a certificate is ordered: at the start where there is none, else at two thirds of its life, and after a failure
//! only once the CA has had time to forget it. Plain arithmetic on the clock's time.
//!
//! Jitter spreads those who ask, and is drawn from names and numbers: it is the same at each look and after a restart.

use std::time::Duration;

use crate::units::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Why an order came to nothing, as far as the next one goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// The CA could not be reached or had trouble of its own: nothing was counted against us.
    Unreachable,
    /// It refused. Let's Encrypt takes five refusals an hour for one name, and a good one after that waits too.
    Refused,
    /// It has had enough of us for now, and may have said for how long.
    RateLimited(Option<Duration>),
}

/// When a certificate that lives from `begins` to `expires` is replaced: at two thirds, or up to a thirtieth later.
pub fn renewal(name: &str, begins: Timestamp, expires: Timestamp) -> Timestamp {
    let life = begins.until(expires);
    later(begins, life * 2 / 3 + life.mul_f64(fraction(name, expires.0) / 30.0))
}

/// The earliest that another order may follow one that failed, for the `failures`th time in a row.
pub fn after_failure(name: &str, now: Timestamp, failures: u32, setback: Setback) -> Timestamp {
    let (first, longest) = match setback {
        Setback::Unreachable => (MINUTE, HOUR),
        Setback::Refused => (10 * MINUTE, DAY),
        Setback::RateLimited(_) => (HOUR, DAY),
    };
    let doublings = failures.saturating_sub(1).min(16);
    let wait = first.saturating_mul(1 << doublings).min(longest);
    let wait = match setback {
        Setback::RateLimited(Some(said)) => wait.max(said),
        _ => wait,
    };
    later(now, wait + wait.mul_f64(fraction(name, i64::from(failures)) / 10.0))
}

/// The earliest that another order may follow one that went well: a CA whose clock is not ours, or whose certificates
/// live for minutes, is not asked without end.
pub fn after_success(now: Timestamp, expires: Timestamp) -> Timestamp {
    later(now, (now.until(expires) / 6).clamp(MINUTE, DAY))
}

fn later(from: Timestamp, by: Duration) -> Timestamp {
    Timestamp(from.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}

/// From 0 to 1, the same for the same name and number.
fn fraction(name: &str, number: i64) -> f64 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(name.as_bytes());
    hash.update(&number.to_le_bytes());
    f64::from(hash.finalize()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_769_903_999_000_000);

    fn days(from: Timestamp, to: Timestamp) -> f64 {
        from.until(to).as_secs_f64() / 86_400.0
    }

    #[test]
    fn two_thirds_of_a_life_and_a_little_more_for_each_name() {
        for life in [90, 6] {
            let expires = later(NOW, life * DAY);
            let at: Vec<f64> = ["a.example", "b.example", "c.example"]
                .map(|name| days(NOW, renewal(name, NOW, expires)) / f64::from(life))
                .to_vec();
            assert!(at.iter().all(|part| (0.666..=0.7).contains(part)), "{at:?}");
            assert!(at[0] != at[1] && at[1] != at[2], "{at:?}");
        }
        let expires = later(NOW, 90 * DAY);
        assert_eq!(renewal("a", NOW, expires), renewal("a", NOW, expires), "no look finds another time");
    }

    #[test]
    fn the_longer_it_fails_the_longer_it_waits_and_longest_where_the_ca_says_so() {
        let minutes = |failures, setback| days(NOW, after_failure("a", NOW, failures, setback)) * 1440.0;
        for (setback, least, most) in [
            (Setback::Unreachable, [1.0, 2.0, 4.0, 8.0], 60.0),
            (Setback::Refused, [10.0, 20.0, 40.0, 80.0], 1440.0),
            (Setback::RateLimited(None), [60.0, 120.0, 240.0, 480.0], 1440.0),
        ] {
            for (failures, least) in (1..).zip(least) {
                let waits = minutes(failures, setback);
                assert!((least..=least * 1.1).contains(&waits), "{setback:?} {failures}: {waits}");
            }
            assert!((most..=most * 1.1).contains(&minutes(u32::MAX, setback)), "{setback:?}");
        }
        let two_days = Setback::RateLimited(Some(2 * DAY));
        assert!((2880.0..=3168.0).contains(&minutes(1, two_days)));
        // Within the first hour of refusals: four orders, where five refusals are too many.
        let hour: f64 = (1..=3).map(|failures| minutes(failures, Setback::Refused)).sum();
        assert!(hour > 60.0, "{hour}");
    }

    #[test]
    fn a_certificate_that_is_old_when_it_comes_is_not_ordered_again_at_once() {
        assert_eq!(after_success(NOW, later(NOW, 60 * DAY)), later(NOW, DAY));
        assert_eq!(after_success(NOW, later(NOW, 6 * HOUR)), later(NOW, HOUR));
        assert_eq!(after_success(NOW, Timestamp(NOW.0 - 1)), later(NOW, MINUTE));
    }
}
