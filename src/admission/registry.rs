//! The keys as their owners and operators see them: made, listed, rotated, revoked.
//!
//! Failure stance: every call is an operator's own act and simply fails when the store is away.

use std::time::Duration;

use async_trait::async_trait;

use crate::admission::key::{KeyHash, Pepper, RawKey};
use crate::units::{KeyId, Stage, StoreError, Timestamp, UserId};

/// Where key rows are kept.
#[async_trait]
pub trait KeyRegistry: Send + Sync {
    /// False, and nothing stored, where the user has `most` keys already that can be used when this one is created, however
    /// many are made at once. None: no end of them.
    async fn create(&self, key: NewKey, most: Option<u32>) -> Result<bool, StoreError>;

    /// Newest first. None: the keys of every user.
    async fn list(&self, user: Option<UserId>) -> Result<Vec<KeyRow>, StoreError>;

    /// Creates `new` in the place of `old` in one transaction: `old` is revoked, or with `retires_at` counts as revoked
    /// from then on; and both run on one daily counter, that of the first key of all that replaced one another. False,
    /// and nothing changed, when `old` is not active or has been replaced already, or `most` stand beside it as for
    /// [`create`](Self::create).
    async fn rotate(
        &self,
        old: KeyId,
        new: NewKey,
        retires_at: Option<Timestamp>,
        most: Option<u32>,
    ) -> Result<bool, StoreError>;

    /// Gives an active key another label, or another end (Some(None): no end). False, and nothing changed, when there was no
    /// such active key, or its end were a later one and `most` others of its user's can be used at `now`, counted as for
    /// [`create`](Self::create): a key that is over, or about to be, would come back beside them.
    async fn change(
        &self,
        key: KeyId,
        label: Option<String>,
        expires_at: Option<Option<Timestamp>>,
        now: Timestamp,
        most: Option<u32>,
    ) -> Result<bool, StoreError>;

    /// False when there was no such active key.
    async fn revoke(&self, key: KeyId, at: Timestamp) -> Result<bool, StoreError>;
}

/// Keys that are made for a while and used up in it: both tell them from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortLived {
    pub label: &'static str,
    pub life: Duration,
}

/// A key about to be stored: everything but the key.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub id: KeyId,
    pub user: UserId,
    /// The 12 characters that name it.
    pub public_id: String,
    /// What lists show: `cfx_live_` and the public id.
    pub prefix: String,
    pub hash: KeyHash,
    pub label: String,
    /// None: every stage.
    pub stages: Option<Vec<Stage>>,
    /// Model aliases. None: every model.
    pub models: Option<Vec<String>>,
    /// Requests per UTC day for this key alone. None: only the user's quota.
    pub daily_requests: Option<u32>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

/// A stored key, without its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub id: KeyId,
    pub user: UserId,
    pub email: String,
    pub prefix: String,
    pub label: String,
    pub status: KeyStatus,
    pub stages: Option<Vec<Stage>>,
    pub models: Option<Vec<String>>,
    pub daily_requests: Option<u32>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// Set on a key that was replaced: from then on it counts as revoked.
    pub retires_at: Option<Timestamp>,
    /// Written in batches: some seconds behind.
    pub last_used_at: Option<Timestamp>,
}

/// What a store says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    Active,
    Revoked,
}

/// What a key is at a moment, by its status and its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    Active,
    /// Replaced, and holding until its end.
    Retiring,
    /// Behind that end.
    Replaced,
    Expired,
    Revoked,
}

impl NewKey {
    /// The row of a freshly minted `raw`, without limits of its own.
    pub fn of(raw: &RawKey, pepper: &Pepper, user: UserId, label: &str, now: Timestamp) -> Self {
        Self {
            id: KeyId(uuid::Uuid::new_v4()),
            user,
            public_id: raw.public_id().as_str().to_owned(),
            prefix: raw.display_prefix().to_owned(),
            hash: pepper.hash(raw),
            label: label.to_owned(),
            stages: None,
            models: None,
            daily_requests: None,
            created_at: now,
            expires_at: None,
        }
    }
}

impl KeyRow {
    pub fn state(&self, now: Timestamp) -> KeyState {
        let over = |end: Option<Timestamp>| end.is_some_and(|end| now >= end);
        match self.status {
            KeyStatus::Revoked => KeyState::Revoked,
            KeyStatus::Active if over(self.retires_at) => KeyState::Replaced,
            KeyStatus::Active if over(self.expires_at) => KeyState::Expired,
            KeyStatus::Active if self.retires_at.is_some() => KeyState::Retiring,
            KeyStatus::Active => KeyState::Active,
        }
    }
}

impl KeyState {
    /// Whether the key can be used.
    pub fn holds(self) -> bool {
        matches!(self, KeyState::Active | KeyState::Retiring)
    }
}

impl KeyStatus {
    const ALL: [KeyStatus; 2] = [KeyStatus::Active, KeyStatus::Revoked];

    /// By what [`as_str`](Self::as_str) calls it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            KeyStatus::Active => "active",
            KeyStatus::Revoked => "revoked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_its_status_and_its_ends_make_it() {
        const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
        let (over, ahead) = (Some(NOW), Some(Timestamp(NOW.0 + 1)));
        let row = |status, expires_at, retires_at| KeyRow {
            id: KeyId(uuid::Uuid::nil()),
            user: UserId(uuid::Uuid::nil()),
            email: String::new(),
            prefix: String::new(),
            label: String::new(),
            status,
            stages: None,
            models: None,
            daily_requests: None,
            created_at: NOW,
            expires_at,
            retires_at,
            last_used_at: None,
        };
        for (status, expires_at, retires_at, state) in [
            (KeyStatus::Active, None, None, KeyState::Active),
            (KeyStatus::Active, ahead, None, KeyState::Active),
            (KeyStatus::Active, over, None, KeyState::Expired),
            (KeyStatus::Active, None, ahead, KeyState::Retiring),
            (KeyStatus::Active, over, ahead, KeyState::Expired),
            (KeyStatus::Active, ahead, over, KeyState::Replaced),
            (KeyStatus::Active, over, over, KeyState::Replaced),
            (KeyStatus::Revoked, over, over, KeyState::Revoked),
            (KeyStatus::Revoked, ahead, ahead, KeyState::Revoked),
        ] {
            let found = row(status, expires_at, retires_at).state(NOW);
            assert_eq!(found, state, "{status:?} {expires_at:?} {retires_at:?}");
            assert_eq!(KeyStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(KeyStatus::parse("retiring"), None);
    }
}
