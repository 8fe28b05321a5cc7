//! Accounts: the people keys belong to.
//!
//! Owns: e-mail addresses and the port to where accounts are kept. Must not know: HTTP, SQL.
//! Failure stance: every call is an operator's own act and simply fails when the store is away.

use async_trait::async_trait;

use crate::units::{StoreError, Timestamp, UserId};

/// The longest address that can be delivered to (RFC 5321, 4.5.3.1.3, less its angle brackets).
const LONGEST: usize = 254;

/// An e-mail address as a name for an account: lower case, one `@`, something on both sides.
///
/// Whether mail reaches it is not asked: `dev@localhost` is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Email(String);

/// A text that is not an e-mail address, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an e-mail address: {why}")]
pub struct NotAnEmail {
    text: String,
    why: &'static str,
}

/// One person who may hold keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: UserId,
    pub email: Email,
    pub created_at: Timestamp,
    /// None: active. The keys of a disabled account are not valid.
    pub disabled_at: Option<Timestamp>,
    /// Requests per UTC day; wins over the configuration's. None: as configured.
    pub daily_requests: Option<u32>,
}

/// Where accounts are kept.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// False, and nothing changed, when the address is taken.
    async fn create(&self, account: Account) -> Result<bool, StoreError>;

    /// By address.
    async fn list(&self) -> Result<Vec<Account>, StoreError>;

    async fn find(&self, email: &Email) -> Result<Option<Account>, StoreError>;
}

impl Email {
    pub fn parse(text: &str) -> Result<Self, NotAnEmail> {
        let no = |why| NotAnEmail { text: text.to_owned(), why };
        let Some((local, domain)) = text.split_once('@') else { return Err(no("it has no @")) };
        if local.is_empty() || domain.is_empty() {
            return Err(no("something is missing beside the @"));
        }
        if domain.contains('@') {
            return Err(no("it has more than one @"));
        }
        if text.len() > LONGEST {
            return Err(no("it is longer than 254 bytes"));
        }
        if text.chars().any(|letter| letter.is_whitespace() || letter.is_control() || "<>\"',;".contains(letter)) {
            return Err(no("it holds a character that no address needs"));
        }
        Ok(Self(text.to_lowercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Email {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::str::FromStr for Email {
    type Err = NotAnEmail;

    fn from_str(text: &str) -> Result<Self, NotAnEmail> {
        Self::parse(text)
    }
}

impl Account {
    /// A new active account without limits of its own.
    pub fn new(email: Email, now: Timestamp) -> Self {
        Self { id: UserId(uuid::Uuid::new_v4()), email, created_at: now, disabled_at: None, daily_requests: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_in_lower_case() {
        assert_eq!(Email::parse("Ada@Example.org").unwrap().as_str(), "ada@example.org");
        assert_eq!(Email::parse("dev@localhost").unwrap().to_string(), "dev@localhost");
    }

    #[test]
    fn what_is_no_address_says_why() {
        let long = format!("{}@example.org", "a".repeat(250));
        for text in ["", "ada", "@example.org", "ada@", "a@b@c", "ada @example.org", "ada@exam\nple", &long] {
            assert!(Email::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Email::parse("ada").unwrap_err().to_string(), r#""ada" is not an e-mail address: it has no @"#);
    }
}
