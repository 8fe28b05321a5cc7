//! What is remembered of a key, from when, and whether the store has named it as changed since.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering, fence};

use ahash::RandomState;

use crate::admission::key::{KeyHash, PublicId};
use crate::admission::key_store::StoredKey;
use crate::admission::principal::Principal;
use crate::units::{KeyId, Timestamp};

/// When something was learnt from the store: all of it from before the store was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) at: Timestamp,
    pub(super) epoch: u64,
    /// The count of its key in [`Named`].
    pub(super) named: u64,
}

/// A key that the store knows and that was active when asked.
pub(super) struct Known {
    pub(super) hash: KeyHash,
    pub(super) retires_at: Option<Timestamp>,
    pub(super) principal: Arc<Principal>,
    pub(super) seen: Seen,
    /// The store has named this key since.
    changed: AtomicBool,
    last_used: AtomicI64,
    in_used: AtomicBool,
}

/// Counts how often keys were named as changed. Some share a count: a refusal is asked for again now and then because
/// another key was named.
pub(super) struct Named {
    counts: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Named {
    pub(super) fn new() -> Self {
        Self { counts: (0..4_096).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }

    pub(super) fn count(&self, id: PublicId) -> u64 {
        // Against `note`: of one that puts an answer in the cache and then looks here, and one that notes here and then
        // looks into the cache, at least one sees the other.
        fence(Ordering::SeqCst);
        self.place(id).load(Ordering::SeqCst)
    }

    pub(super) fn note(&self, id: PublicId) {
        self.place(id).fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    fn place(&self, id: PublicId) -> &AtomicU64 {
        let place = usize::try_from(self.hasher.hash_one(id)).unwrap_or_default() % self.counts.len();
        &self.counts[place]
    }
}

impl Known {
    pub(super) fn new(stored: StoredKey, seen: Seen) -> Self {
        Self {
            hash: stored.hash,
            retires_at: stored.retires_at,
            principal: Arc::new(stored.principal),
            seen,
            changed: AtomicBool::new(false),
            last_used: AtomicI64::new(0),
            in_used: AtomicBool::new(false),
        }
    }

    pub(super) fn is_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }

    pub(super) fn note_changed(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// True where it is to be put on the list of those used.
    pub(super) fn note_used(&self, now: Timestamp) -> bool {
        self.last_used.store(now.0, Ordering::Relaxed);
        !self.in_used.load(Ordering::Relaxed) && !self.in_used.swap(true, Ordering::AcqRel)
    }

    pub(super) fn take_last_used(&self) -> (KeyId, Timestamp) {
        // Cleared before the time is read, so that a use in between is told again, not lost.
        self.in_used.store(false, Ordering::Release);
        (self.principal.key, Timestamp(self.last_used.load(Ordering::Relaxed)))
    }
}
