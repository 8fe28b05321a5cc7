//! Whether the pepper is the one that the keys of a store were hashed with.
//!
//! With another one every key would be unknown, which reads like a mass revocation; so the store keeps a fingerprint of
//! the first pepper it met, and everything that hashes keys compares before it begins.
//!
//! Failure stance: closed. It is asked at start and by commands, which fail when the store is away.

use async_trait::async_trait;

use crate::admission::key::Pepper;
use crate::units::StoreError;

/// Where the fingerprint is kept.
#[async_trait]
pub trait PepperStore: Send + Sync {
    /// Keeps `fresh` if there is none yet, and gives what stands. Atomic: of two who come first, one wins and both are
    /// given the winner's.
    async fn pepper_fingerprint(&self, fresh: &str) -> Result<String, StoreError>;
}

/// Why keys cannot be hashed with a pepper, for the operator.
#[derive(Debug, thiserror::Error)]
pub enum PepperProblem {
    #[error(
        "KEY_HASH_PEPPER is another one than the keys in this store were made with (its fingerprint is {found}, theirs \
         {kept}): set it to the value it had; if that is lost, no key can be saved: delete the rows of api_keys and the \
         row pepper_fingerprint of settings, and create the keys anew"
    )]
    Another { found: String, kept: String },
    #[error("the pepper cannot be checked: {0}")]
    Store(#[from] StoreError),
}

impl Pepper {
    /// Refuses this pepper where the store's keys were hashed with another.
    pub async fn check(&self, store: &dyn PepperStore) -> Result<(), PepperProblem> {
        let found = self.fingerprint();
        let kept = store.pepper_fingerprint(&found).await?;
        if kept == found {
            return Ok(());
        }
        let short = |fingerprint: &str| fingerprint.chars().take(8).collect();
        Err(PepperProblem::Another { found: short(&found), kept: short(&kept) })
    }
}
