//! The people who may hold keys, and the port to where they are kept.

use async_trait::async_trait;

use super::{Email, PasswordHash};
use crate::units::{StoreError, Timestamp, UserId};

/// One person who may hold keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: UserId,
    pub email: Email,
    pub created_at: Timestamp,
    /// None: active. The keys of a disabled account are not valid, and nobody signs in to it.
    pub disabled_at: Option<Timestamp>,
    /// Requests per UTC day; wins over the configuration's. None: as configured.
    pub daily_requests: Option<u32>,
    pub role: Role,
}

/// What a signed-in person may do beside what is their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Role {
    #[default]
    Member,
    /// Sees upstreams, certificates and problems, reloads, and keeps accounts and their limits.
    Operator,
}

/// What is to change of an account. None: stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// Some(None): active again.
    pub disabled_at: Option<Option<Timestamp>>,
    /// Some(None): as configured.
    pub daily_requests: Option<Option<u32>>,
    pub role: Option<Role>,
}

/// Where accounts are kept.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// False, and nothing changed, when the address, or the id, is taken.
    async fn create(&self, account: Account, password: Option<PasswordHash>) -> Result<bool, StoreError>;

    /// By address. A row that cannot be read is logged and passed over: one of them must not hide all the others.
    async fn list(&self) -> Result<Vec<Account>, StoreError>;

    async fn find(&self, email: &Email) -> Result<Option<Account>, StoreError>;

    async fn by_id(&self, user: UserId) -> Result<Option<Account>, StoreError>;

    /// False where there is no such account. One that is disabled loses its sessions and its links
    /// in the same transaction.
    async fn change(&self, user: UserId, change: Change) -> Result<bool, StoreError>;

    /// None where the account has none, or is not there.
    async fn password(&self, user: UserId) -> Result<Option<PasswordHash>, StoreError>;

    /// Sets it, and ends every link of the account and every session but `keep` (by its token's hash). False where there
    /// is no such account.
    async fn set_password(
        &self,
        user: UserId,
        password: PasswordHash,
        keep: Option<[u8; 32]>,
    ) -> Result<bool, StoreError>;
}

impl Account {
    /// A new active account of a member without limits of its own.
    pub fn new(email: Email, now: Timestamp) -> Self {
        Self {
            id: UserId(uuid::Uuid::new_v4()),
            email,
            created_at: now,
            disabled_at: None,
            daily_requests: None,
            role: Role::Member,
        }
    }
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Member => "member",
            Role::Operator => "operator",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Role::Member, Role::Operator].into_iter().find(|role| role.as_str() == text)
    }
}
