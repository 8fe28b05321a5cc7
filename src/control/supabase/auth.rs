//! What is asked of a project's Supabase Auth.

use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;

/// A project's own service. Errors are for the operator's log: they name where and why, and nothing of what was sent.
#[async_trait]
pub trait SupabaseAuth: Send + Sync {
    /// The document with the public keys of the project at this URL.
    async fn keys(&self, project: &str) -> Result<Vec<u8>, String>;

    /// What it answers to an address and a password, which `body` has as JSON; whatever its status.
    async fn password(&self, project: &str, anon_key: &str, body: Vec<u8>) -> Result<AuthAnswer, String>;
}

/// An answer that came whole, of a bounded length.
pub struct AuthAnswer {
    pub status: StatusCode,
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
}
