//! Signing in, and who is signed in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A signing-in by password.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    #[schema(max_length = 254)]
    pub email: String,
    #[schema(max_length = 512)]
    pub password: String,
}

/// A new account.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    #[schema(min_length = 3, max_length = 254)]
    pub email: String,
    /// Ten characters or more.
    #[schema(min_length = 10, max_length = 512)]
    pub password: String,
    /// `cfx_link_…`, where registration is by invitation.
    #[schema(pattern = "^cfx_link_[0-9A-Za-z]{43}$")]
    pub invitation: Option<String>,
}

/// A link that works once.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkLogin {
    /// `cfx_link_…`
    #[schema(pattern = "^cfx_link_[0-9A-Za-z]{43}$")]
    pub link: String,
}

/// A link that works once, and the password that is to hold from now on.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkPassword {
    /// `cfx_link_…`
    #[schema(pattern = "^cfx_link_[0-9A-Za-z]{43}$")]
    pub link: String,
    /// Ten characters or more.
    #[schema(min_length = 10, max_length = 512)]
    pub new: String,
}

/// A sign-in at Supabase, to be exchanged for a session of ours.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SupabaseLogin {
    #[schema(max_length = 16384)]
    pub access_token: String,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// Not needed where the account has none yet.
    #[schema(max_length = 512)]
    pub current: Option<String>,
    /// Ten characters or more.
    #[schema(min_length = 10, max_length = 512)]
    pub new: String,
}

/// A session, told once. Browsers have it as a cookie too; others show `token` as `Authorization: Bearer`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct NewSession {
    pub token: String,
    #[schema(format = DateTime)]
    pub expires_at: String,
    pub me: Me,
}

/// Who is signed in.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Me {
    pub id: Uuid,
    pub email: String,
    /// `member` or `operator`.
    #[schema(pattern = "^(member|operator)$")]
    pub role: String,
    /// Requests per UTC day that hold for this user.
    pub daily_limit: u32,
    /// Streams at once.
    pub concurrent_streams: u32,
    pub has_password: bool,
    /// To be sent as `X-CSRF-Token` with whatever changes something and is authenticated by cookie.
    pub csrf: String,
    /// When the session's token was made, by signing in or by a refresh.
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// Beyond this no refresh takes the session.
    #[schema(format = DateTime)]
    pub ends_at: String,
}
