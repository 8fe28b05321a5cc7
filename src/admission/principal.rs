//! Who a request comes from, once its key has been proved.

use std::sync::Arc;

use crate::units::{KeyId, Stage, Timestamp, UserId};

/// The holder of a valid key and what that key may do. One is shared by all requests of a cached key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub user: UserId,
    /// Lower case.
    pub email: Arc<str>,
    pub key: KeyId,
    /// Whose counter the key's own quota runs on: the first key's of those that replaced one another, so that a
    /// rotation begins no new count. The key's own id where it replaced none.
    pub counter: KeyId,
    /// The name the user gave the key.
    pub label: String,
    /// None: every stage.
    pub stages: Option<Vec<Stage>>,
    /// Model aliases. None: every model.
    pub models: Option<Vec<String>>,
    /// The key's own quota, counted beside the user's by a counter of the key's own. None: the user's alone holds.
    pub daily_requests: Option<u32>,
    /// The user's quota as set on the account; wins over the configuration's.
    pub user_daily_requests: Option<u32>,
    pub expires_at: Option<Timestamp>,
}

impl Principal {
    /// Whether the key's life is over. Always asked of the local clock: no outage of the store prolongs it.
    pub fn expired_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }
}
