//! Passwords, and their hashes by argon2id (RFC 9106) in the PHC string format.

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};

/// In characters. Shorter ones are guessed; NIST SP 800-63B asks for no more than a length.
pub const SHORTEST_PASSWORD: usize = 10;
/// In bytes. Hashing is dear, and a megabyte is nobody's password.
pub const LONGEST_PASSWORD: usize = 512;

/// A password as somebody typed it. `Debug` does not show it.
pub struct Password(String);

/// As it is stored: `$argon2id$v=19$m=19456,t=2,p=1$…`, with its salt.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// Why a text is no password to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAPassword {
    #[error("a password has at least {} characters", SHORTEST_PASSWORD)]
    Short,
    #[error("a password has at most {} bytes", LONGEST_PASSWORD)]
    Long,
}

impl Password {
    /// One that is chosen.
    pub fn choose(text: String) -> Result<Self, NotAPassword> {
        if text.chars().count() < SHORTEST_PASSWORD {
            return Err(NotAPassword::Short);
        }
        Self::try_with(text)
    }

    /// One that is tried. What nobody could have chosen is not worth hashing.
    pub fn try_with(text: String) -> Result<Self, NotAPassword> {
        if text.len() > LONGEST_PASSWORD { Err(NotAPassword::Long) } else { Ok(Self(text)) }
    }

    /// Blocks for some 20 ms and takes 19 MiB. Fails only where the operating system has no randomness for a salt.
    pub fn hash(&self) -> Result<PasswordHash, argon2::password_hash::Error> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|_| argon2::password_hash::Error::RngFailure)?;
        let hash = Argon2::default().hash_password_with_salt(self.0.as_bytes(), &salt)?;
        Ok(PasswordHash(hash.to_string()))
    }

    /// Whether `hash` is this one's. Blocks as long.
    pub fn is_of(&self, hash: &PasswordHash) -> bool {
        Phc::new(&hash.0).is_ok_and(|hash| Argon2::default().verify_password(self.0.as_bytes(), &hash).is_ok())
    }
}

impl PasswordHash {
    /// As a store has it.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Password")
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PasswordHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_its_password_alone() {
        let chosen = |text: &str| Password::choose(text.to_owned()).unwrap();
        let hash = chosen("correct horse battery").hash().unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_str());
        assert!(chosen("correct horse battery").is_of(&hash));
        assert!(!chosen("correct horse batterz").is_of(&hash));
        assert!(!chosen("correct horse battery").is_of(&PasswordHash::stored("nonsense".into())));
        assert_ne!(chosen("correct horse battery").hash().unwrap(), hash, "each has a salt of its own");
    }

    #[test]
    fn what_is_too_short_or_too_long_is_not_chosen() {
        assert_eq!(Password::choose("ninechars".into()).unwrap_err(), NotAPassword::Short);
        assert_eq!(Password::choose("ż".repeat(9)).unwrap_err(), NotAPassword::Short);
        assert!(Password::choose("ż".repeat(10)).is_ok());
        assert_eq!(Password::choose("x".repeat(1 << 20)).unwrap_err(), NotAPassword::Long);
        assert!(Password::try_with("x".into()).is_ok(), "an old one may be short");
    }
}
