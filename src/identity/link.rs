//! Links that work once: into an account, or to one that is yet to be made.

use async_trait::async_trait;

use super::{Email, Role, token};
use crate::units::{StoreError, Timestamp, UserId};

const PREFIX: &str = "cfx_link_";

/// What such a link carries. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkToken(String);

/// One link, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Of the token's text.
    pub token_hash: [u8; 32],
    pub purpose: Purpose,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Signs in to the account, which may then be given a password.
    SignIn(UserId),
    /// Lets somebody register: as this address alone, where one is named.
    Invitation { email: Option<Email>, role: Role },
}

/// Where links are kept.
#[async_trait]
pub trait LinkStore: Send + Sync {
    /// Forgets links that are over, too.
    async fn put(&self, link: Link) -> Result<(), StoreError>;

    /// What it is for, where it is there and not over at `now`. It stays.
    async fn look(&self, token_hash: [u8; 32], now: Timestamp) -> Result<Option<Purpose>, StoreError>;

    /// The same, and it is gone: of many who take it at once one has it.
    async fn take(&self, token_hash: [u8; 32], now: Timestamp) -> Result<Option<Purpose>, StoreError>;
}

impl LinkToken {
    /// A new random one. Fails only where the operating system has no randomness to give.
    pub fn mint() -> Result<Self, getrandom::Error> {
        token::mint(PREFIX).map(Self)
    }

    /// None where it has not the form of one; nothing is looked up.
    pub fn parse(text: &str) -> Option<Self> {
        token::is_formed(text, PREFIX).then(|| Self(text.to_owned()))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn hash(&self) -> [u8; 32] {
        token::hash(&self.0)
    }
}

impl std::fmt::Debug for LinkToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LinkToken")
    }
}
