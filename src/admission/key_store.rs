//! The port to where keys are looked up, and the words in which a store says that some have changed.

use async_trait::async_trait;

use crate::admission::key::{KeyHash, PublicId};
use crate::admission::principal::Principal;
use crate::units::{KeyId, StoreError, Timestamp};

/// Where keys are looked up.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// The key with this public id, revoked ones included. A look-up whose future is dropped before the store was
    /// asked is not made.
    async fn find(&self, public_id: &str) -> Result<Option<StoredKey>, StoreError>;

    /// Which keys may have changed, by whatever process, since an earlier answer was given that ended in `since`.
    async fn changes(&self, since: Option<u64>) -> Result<Changes, StoreError>;

    /// Keeps the later of what is stored and what is given, for each key.
    async fn mark_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), StoreError>;
}

/// A key as the store has it.
#[derive(Debug, Clone)]
pub struct StoredKey {
    pub hash: KeyHash,
    /// Not revoked, and its user not disabled.
    pub active: bool,
    /// Set on a key that was replaced: from then on it counts as revoked.
    pub retires_at: Option<Timestamp>,
    pub principal: Principal,
}

/// What is known of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    pub what: Changed,
    /// To ask with next time.
    pub mark: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// These keys and no others; none at all where the list is empty.
    Keys(Vec<PublicId>),
    /// Any key, for all that is known.
    Any,
}
