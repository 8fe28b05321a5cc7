//! Accounts, as operators see and change them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{DayOfUse, Today};

/// An account, as operators see it.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct User {
    pub id: Uuid,
    pub email: String,
    #[schema(pattern = "^(member|operator)$")]
    pub role: String,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub disabled_at: Option<String>,
    /// None: as configured.
    pub daily_requests: Option<u32>,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    #[schema(min_length = 3, max_length = 254)]
    pub email: String,
    /// `member` (the default) or `operator`.
    #[schema(pattern = "^(member|operator)$")]
    pub role: Option<String>,
    #[schema(minimum = 1, maximum = 1000000000)]
    pub daily_requests: Option<u32>,
}

/// A new account and the link that signs in to it once.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct UserWithLink {
    pub user: User,
    /// `cfx_link_…`, to be opened at the dashboard's `/sign-in/link#…`.
    pub link: String,
    #[schema(format = DateTime)]
    pub expires_at: String,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    pub disabled: Option<bool>,
    /// A number, or 0 to go back to what is configured.
    #[schema(maximum = 1000000000)]
    pub daily_requests: Option<u32>,
    #[schema(pattern = "^(member|operator)$")]
    pub role: Option<String>,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    /// None: whoever has the link.
    #[schema(min_length = 3, max_length = 254)]
    pub email: Option<String>,
    #[schema(pattern = "^(member|operator)$")]
    pub role: Option<String>,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Invitation {
    pub link: String,
    #[schema(format = DateTime)]
    pub expires_at: String,
}

/// What one user used, as operators see it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct UseOfUser {
    pub user: User,
    pub today: Today,
    /// Days on which anything was asked, oldest first.
    pub days: Vec<DayOfUse>,
}
