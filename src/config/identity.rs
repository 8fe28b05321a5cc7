//! Who may have an account, and by whose word.

use std::time::Duration;

use super::snapshot::Secret;

/// `identity` in `cfx.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub registration: Registration,
    /// How long a session holds that is not refreshed.
    pub session: Duration,
    /// None: accounts have passwords of their own alone.
    pub supabase: Option<Supabase>,
}

/// Who may make an account for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Registration {
    Closed,
    /// Who shows an invitation.
    #[default]
    Invited,
    Open,
}

/// A Supabase project whose users are ours too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supabase {
    /// `https://abc.supabase.co`, without a slash at its end. Tokens are issued by `{url}/auth/v1`.
    pub url: String,
    /// The project's older way to sign (HS256). None: by the keys that `{url}/auth/v1/.well-known/jwks.json` has.
    pub jwt_secret: Option<Secret>,
    /// The project's public key, sent as `apikey`. None: its users sign in with its tokens alone, not with their passwords.
    pub anon_key: Option<Secret>,
    /// What tokens must be for. Usually `authenticated`.
    pub audience: String,
}

/// Longer than a day at work, shorter than a night away.
const SESSION: Duration = Duration::from_secs(12 * 3600);

impl Default for Identity {
    fn default() -> Self {
        Self { registration: Registration::default(), session: SESSION, supabase: None }
    }
}
