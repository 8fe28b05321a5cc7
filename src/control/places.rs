//! Places for what stays open for long: so many a user, so many in all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::units::UserId;

#[derive(Debug)]
pub(super) struct Places {
    per_user: usize,
    in_all: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    in_all: usize,
    by_user: HashMap<UserId, usize>,
}

/// One place. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    user: UserId,
}

impl Places {
    pub fn new(per_user: usize, in_all: usize) -> Arc<Self> {
        Arc::new(Self { per_user, in_all, taken: Mutex::default() })
    }

    /// None: all are taken, of this user's or of all.
    pub fn take(self: &Arc<Self>, user: UserId) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by_user.get(&user).copied().unwrap_or_default();
        if own >= self.per_user || taken.in_all >= self.in_all {
            return None;
        }
        taken.by_user.insert(user, own + 1);
        taken.in_all += 1;
        Some(Place { places: Arc::clone(self), user })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.in_all = taken.in_all.saturating_sub(1);
        if let Some(own) = taken.by_user.get_mut(&self.user) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_dropped_is_free_again() {
        let places = Places::new(2, 3);
        let (ada, bob) = (UserId(uuid::Uuid::from_u128(1)), UserId(uuid::Uuid::from_u128(2)));
        let first = places.take(ada);
        let second = places.take(ada);
        assert!(first.is_some() && second.is_some());
        assert!(places.take(ada).is_none(), "her own are taken");
        let third = places.take(bob);
        assert!(third.is_some());
        assert!(places.take(bob).is_none(), "all are taken");
        drop(first);
        let fourth = places.take(ada);
        assert!(fourth.is_some());
        drop((second, third, fourth));
        assert!(places.taken.lock().unwrap().by_user.is_empty());
    }
}
