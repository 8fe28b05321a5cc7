//! What only the running edge knows.

use std::sync::Arc;

use async_trait::async_trait;

use super::api;
use crate::config::Snapshot;
use crate::units::UserId;

/// The edge that this control API belongs to.
#[async_trait]
pub trait EdgeView: Send + Sync {
    /// The configuration that holds now.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// How it stands, for its operators.
    async fn state(&self) -> api::EdgeState;

    /// Reads the configuration anew and takes it where it is sound.
    async fn reload(&self) -> api::Reloaded;

    /// How many requests of this user are counted today, where that is known better here than in the ledger, which is
    /// written behind. None: it is not.
    async fn used_today(&self, user: UserId) -> Option<u64>;

    /// Resolves when what is open for long is to end, because the edge stops or is replaced.
    async fn draining(&self);
}
