//! API keys, as their owners see and change them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A key as it is listed.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Key {
    pub id: Uuid,
    pub label: String,
    /// `cfx_live_` and twelve characters.
    pub prefix: String,
    pub state: KeyState,
    pub stages: Option<Vec<String>>,
    pub models: Option<Vec<String>>,
    pub daily_requests: Option<u32>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    #[schema(format = DateTime)]
    pub retires_at: Option<String>,
    #[schema(format = DateTime)]
    pub last_used_at: Option<String>,
}

/// `active`, `revoked` or `expired`; `retiring` until a replaced key's end, and `revoked` from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    Active,
    Revoked,
    Expired,
    Retiring,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// 1 to 100 characters on one line, none of them unseen.
    #[schema(min_length = 1, max_length = 100)]
    pub label: String,
    /// RFC 3339, in the future.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Only these of plan, code, review, direct.
    #[schema(min_items = 1, max_items = 4)]
    pub stages: Option<Vec<String>>,
    /// Only these aliases.
    #[schema(min_items = 1, max_items = 100)]
    pub models: Option<Vec<String>>,
    /// Requests per UTC day with this key, within what its user may send.
    #[schema(minimum = 1, maximum = 1000000000)]
    pub daily_requests: Option<u32>,
}

impl KeyState {
    /// Whether the key can be used.
    pub fn holds(self) -> bool {
        matches!(self, KeyState::Active | KeyState::Retiring)
    }

    /// As it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyState::Active => "active",
            KeyState::Revoked => "revoked",
            KeyState::Expired => "expired",
            KeyState::Retiring => "retiring",
        }
    }
}

/// Shown once.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct RawKey {
    pub key: String,
    #[serde(flatten)]
    pub row: Key,
}

/// What is to change; the rest stays.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyChange {
    /// 1 to 100 characters on one line, none of them unseen.
    #[schema(min_length = 1, max_length = 100)]
    pub label: Option<String>,
    /// RFC 3339, or `never`.
    pub expires_at: Option<String>,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// For how long the old key holds beside the new one, in seconds; 0: not at all. At most 90 days.
    #[serde(default)]
    #[schema(maximum = 7776000)]
    pub overlap_seconds: u32,
}
