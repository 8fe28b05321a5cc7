//! Name and password (RFC 7617).
//!
//! Hashes are dear on purpose: they are worked out beside the threads that serve, few at a time, and what was right is
//! remembered for a minute.
//!
//! Failure stance: closed.

use std::sync::Arc;
use std::time::Duration;

use argon2::{Argon2, PasswordVerifier as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header::AUTHORIZATION};
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::{BasicAuth, Hash, Secret, User};
use crate::proxy::refuse::{Reason, Refusal};

/// At once, all routes together.
const MOST_AT_ONCE: usize = 2;
const WAITS: Duration = Duration::from_secs(2);
const REMEMBERED: Duration = Duration::from_secs(60);
const MOST_REMEMBERED: u64 = 10_000;

pub struct Passwords {
    turns: Arc<Semaphore>,
    /// Digests of passwords that were right, with the hash that they were right by.
    right: Cache<[u8; 32], ()>,
    /// Without which a digest could be guessed from a core dump.
    salt: [u8; 32],
}

impl Default for Passwords {
    fn default() -> Self {
        let mut salt = [0; 32];
        // Without randomness nothing is remembered wrongly either: the digests stay in this process.
        let _ = getrandom::fill(&mut salt);
        let right = Cache::builder().max_capacity(MOST_REMEMBERED).time_to_live(REMEMBERED).build();
        Self { turns: Arc::new(Semaphore::new(MOST_AT_ONCE)), right, salt }
    }
}

impl Passwords {
    /// The user's name, where the password is theirs.
    pub async fn check(&self, basic: &BasicAuth, headers: &HeaderMap) -> Result<String, Refusal> {
        let (name, password) = credentials(headers).ok_or_else(refused)?;
        let known = basic.users.iter().find(|user| user.name == name);
        // An unknown name costs what a known one does, and so tells nobody that it is none.
        let user = known.or(basic.users.first()).ok_or_else(refused)?;
        let digest = self.digest(user, &password);
        if self.right.contains_key(&digest) && known.is_some() {
            return Ok(name);
        }
        let turn = timeout(WAITS, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let busy = Refusal::new(Reason::Overloaded, "too many passwords are being checked");
            return Err(busy.retry_after(Duration::from_secs(1)));
        };
        let hash = user.hash.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            fits(&hash, &password)
        });
        if !checked.await.unwrap_or(false) || known.is_none() {
            return Err(refused());
        }
        self.right.insert(digest, ());
        Ok(name)
    }

    fn digest(&self, user: &User, password: &[u8]) -> [u8; 32] {
        let (Hash::Bcrypt(hash) | Hash::Argon2(hash)) = &user.hash;
        let mut digest = Sha256::new_with_prefix(self.salt);
        digest.update(user.name.as_bytes());
        digest.update([0]);
        digest.update(hash.expose().as_bytes());
        digest.update([0]);
        digest.update(password);
        digest.finalize().into()
    }
}

fn refused() -> Refusal {
    Refusal::new(Reason::Unauthorized, "name and password are needed here").final_word()
}

fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let colon = memchr::memchr(b':', &decoded)?;
    let (name, password) = decoded.split_at(colon);
    Some((String::from_utf8(name.to_vec()).ok()?, password.get(1..)?.to_vec()))
}

fn fits(hash: &Hash, password: &[u8]) -> bool {
    let text = |secret: &Secret| secret.expose().to_owned();
    match hash {
        Hash::Bcrypt(hash) => bcrypt::verify(password, &text(hash)).unwrap_or(false),
        Hash::Argon2(hash) => Argon2::default().verify_password(password, hash.expose()).is_ok(),
    }
}
