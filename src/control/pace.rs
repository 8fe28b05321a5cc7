//! How often somebody may do what leaves something behind each time: so many within so long, then a wait.
//!
//! What is remembered is bounded, and keyed by a hash that nobody outside can aim at. Each edge counts for itself.

use std::hash::Hash;
use std::time::Duration;

use ahash::RandomState;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::refusal::{Code, Refusal};

/// Users, or addresses, that are remembered.
const MOST: u64 = 100_000;

pub(super) struct Pace {
    most: u32,
    within: Duration,
    /// What there are too many of, as in "too many {what} were made".
    what: &'static str,
    hasher: RandomState,
    begun: Cache<u64, Spell>,
}

#[derive(Debug, Clone, Copy)]
struct Spell {
    count: u32,
    ends: Instant,
}

impl Pace {
    pub fn new(most: u32, within: Duration, what: &'static str) -> Self {
        let begun = Cache::builder().max_capacity(MOST).time_to_live(within).eviction_policy(EvictionPolicy::lru());
        Self { most, within, what, hasher: RandomState::new(), begun: begun.build() }
    }

    /// Counts one more. What is refused does not make the wait longer.
    pub fn take(&self, who: impl Hash) -> Result<(), Refusal> {
        let now = Instant::now();
        let entry = self.begun.entry(self.hasher.hash_one(who)).and_upsert_with(|before| {
            match before.map(moka::Entry::into_value).filter(|spell| now < spell.ends) {
                Some(spell) => Spell { count: spell.count.saturating_add(1), ..spell },
                None => Spell { count: 1, ends: now + self.within },
            }
        });
        let spell = entry.into_value();
        if spell.count <= self.most {
            return Ok(());
        }
        let message = format!("too many {} were made within a short time", self.what);
        Err(Refusal::new(Code::TooManyAttempts, message).retry_after(spell.ends.saturating_duration_since(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_are_free_and_the_next_waits_for_the_end_of_the_minute() {
        let pace = Pace::new(3, Duration::from_secs(60), "keys");
        let refused = |who: &str| pace.take(who).err().and_then(|refusal| refusal.retry_after_seconds());
        for _ in 0..3 {
            assert_eq!(refused("ada"), None);
        }
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(refused("ada"), Some(40));
        assert_eq!(refused("bob"), None, "others are not held up");
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(refused("ada"), Some(20), "what is refused is no longer wait");
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(refused("ada"), None);
    }
}
