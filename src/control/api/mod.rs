//! What goes over the wire: the bodies of the control API. Times are RFC 3339 in UTC, days ISO dates, money US dollars.

mod edge;
mod keys;
mod logs;
mod operators;
mod people;
mod usage;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use edge::{CertificateState, ConfigurationState, EdgeState, ModelState, Reloaded, TargetState, UpstreamState};
pub use keys::{Key, KeyChange, KeyState, NewKey, RawKey, Rotation};
pub use logs::{Gap, LogEntry, LogPage};
pub use operators::{Invitation, NewInvitation, NewUser, UseOfUser, User, UserChange, UserWithLink};
pub use people::{LinkLogin, LinkPassword, Login, Me, NewPassword, NewSession, Registration, SupabaseLogin};
pub use usage::{DayOfUse, Model, Offer, ShareOfUse, StageOfUse, Today};

/// The one shape of errors, as under `/v1`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Problem {
    pub error: ProblemBody,
    pub request_id: Option<String>,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ProblemBody {
    pub message: String,
    /// `invalid_request_error`, `authentication_error`, `permission_error`, `rate_limit_error`, `api_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The field or parameter it is about.
    pub param: Option<String>,
    pub code: String,
}
