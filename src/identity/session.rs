//! Who is signed in: an opaque token of the client's, whose SHA-256 stands in the store.

use std::time::Duration;

use async_trait::async_trait;

use super::{Account, token};
use crate::units::{StoreError, Timestamp, UserId};

const PREFIX: &str = "cfx_session_";

/// What a signed-in client shows. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

/// One signing-in, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Of the token's text.
    pub token_hash: [u8; 32],
    pub user: UserId,
    /// When this token was made.
    pub created_at: Timestamp,
    /// When its user signed in; a refresh keeps it.
    pub began_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A session that holds, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub account: Account,
    pub session: Session,
    /// Of the account's own: else it signs in by links, or by Supabase's.
    pub has_password: bool,
    pub shown: Shown,
}

/// By which of a session's tokens it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The present one. Some: the one before it holds until then as well.
    Present(Option<Timestamp>),
    /// The one before it, from which with this salt the present one was made. The session's `expires_at` is the end of that one;
    /// when it was made is not known any more, and its `created_at` is when its user signed in.
    Before([u8; 32]),
}

/// A session's next token, which takes the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// As it is from now on.
    pub session: Session,
    pub salt: [u8; 32],
}

/// How long a token holds once the one in its place is used: what was asked for with it may be on its way.
pub const OVERLAP: Duration = Duration::from_secs(30);

/// Where sessions are kept.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Forgets sessions that are over, too.
    async fn open(&self, session: Session) -> Result<(), StoreError>;

    /// None where there is none, where it is over at `now`, or where its account is disabled.
    async fn signed(&self, token_hash: [u8; 32], now: Timestamp) -> Result<Option<Signed>, StoreError>;

    /// Puts the renewed session in the place of the one with this hash, which is the one before from now on, and holds as long
    /// as it would have. The one before that is over. False, and nothing changed, where that is gone.
    async fn replace(&self, token_hash: [u8; 32], renewal: Renewal) -> Result<bool, StoreError>;

    /// The session with this hash has come to its user: the one before it holds until `until` at most.
    async fn arrived(&self, token_hash: [u8; 32], until: Timestamp) -> Result<(), StoreError>;

    /// By its present token or the one before. False where there was none.
    async fn end(&self, token_hash: [u8; 32]) -> Result<bool, StoreError>;
}

impl SessionToken {
    /// A new random one. Fails only where the operating system has no randomness to give.
    pub fn mint() -> Result<Self, getrandom::Error> {
        token::mint(PREFIX).map(Self)
    }

    /// None where it has not the form of one; nothing is looked up.
    pub fn parse(text: &str) -> Option<Self> {
        token::is_formed(text, PREFIX).then(|| Self(text.to_owned()))
    }

    /// The one in its place: always the same with the same salt. Who has but one of the two cannot tell it.
    pub fn renewed(&self, salt: &[u8; 32]) -> Self {
        let salt: String = salt.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(token::derive(PREFIX, token::hash(&format!("renewed:{salt}:{}", self.0))))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn hash(&self) -> [u8; 32] {
        token::hash(&self.0)
    }

    /// What a form of the session's own carries, in hexadecimal: nobody can tell it who has not the token, and it does not
    /// tell the token.
    pub fn csrf(&self) -> String {
        let hash = token::hash(&format!("csrf:{}", self.0));
        hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for SessionToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SessionToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_shows_itself_to_no_log() {
        let token = SessionToken::mint().unwrap();
        assert_eq!(SessionToken::parse(token.expose()), Some(token.clone()));
        assert_eq!(format!("{token:?}"), "SessionToken");
        assert!(SessionToken::parse("cfx_session_").is_none());
        assert!(SessionToken::parse(&format!("{} ", token.expose())).is_none());
    }

    #[test]
    fn a_renewed_token_is_one_and_the_same_for_who_has_the_old_one() {
        let (one, other) = (SessionToken::mint().unwrap(), SessionToken::mint().unwrap());
        let next = one.renewed(&[1; 32]);
        assert_eq!(SessionToken::parse(next.expose()), Some(next.clone()));
        assert!(next == one.renewed(&[1; 32]) && next != one.renewed(&[2; 32]) && next != other.renewed(&[1; 32]));
    }

    #[test]
    fn what_forms_carry_is_of_the_session_and_tells_nothing_of_it() {
        let (one, other) = (SessionToken::mint().unwrap(), SessionToken::mint().unwrap());
        assert_eq!(one.csrf(), one.csrf());
        assert_ne!(one.csrf(), other.csrf());
        assert_eq!(one.csrf().len(), 32);
    }
}
