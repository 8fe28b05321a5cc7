//! A project's public keys: kept, fetched anew, and used for a while longer where they cannot be.
//!
//! Failure stance: open for an hour past their time, since keys seldom change and an outage of Supabase should not keep
//! out who has a good token; closed from then on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::auth::SupabaseAuth;
use crate::clock::Clock;
use crate::units::Timestamp;

/// Keys are taken without asking for so long.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// And for so long beyond it where nobody answers.
const STALE: Duration = Duration::from_secs(60 * 60);
/// Between two questions, whatever key a token names: anyone can name one that is not there.
const PAUSE: Duration = Duration::from_secs(30);

/// One public key and the algorithm that it is for.
#[derive(Clone)]
pub(super) struct Key {
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

#[derive(Debug)]
pub(super) enum KeyProblem {
    /// The project has no such key.
    Unknown,
    /// Its keys are not known here.
    Away { retry_after: Duration },
}

#[derive(Default)]
pub(super) struct Jwks {
    kept: Mutex<Option<Arc<Kept>>>,
    /// One asks at a time, and the others are answered by what it learns.
    asking: tokio::sync::Mutex<Option<Asked>>,
}

struct Kept {
    url: String,
    since: Timestamp,
    keys: Vec<(String, Key)>,
}

struct Asked {
    url: String,
    at: Timestamp,
}

/// Who is asked, and when it is.
pub(super) struct Source<'a> {
    pub auth: &'a dyn SupabaseAuth,
    pub clock: &'a dyn Clock,
    /// The project's, without a slash at its end.
    pub url: &'a str,
}

impl Jwks {
    pub async fn key(&self, source: &Source<'_>, kid: &str) -> Result<Key, KeyProblem> {
        if let Some(key) = self.kept(source, FRESH).and_then(|kept| kept.find(kid)) {
            return Ok(key);
        }
        let waited = self.ask(source, kid).await;
        match self.kept(source, FRESH + STALE) {
            Some(kept) => kept.find(kid).ok_or(KeyProblem::Unknown),
            None => Err(KeyProblem::Away { retry_after: PAUSE.saturating_sub(waited).max(Duration::from_secs(1)) }),
        }
    }

    /// Asks, unless somebody just has; how long ago that was.
    async fn ask(&self, source: &Source<'_>, kid: &str) -> Duration {
        let mut asked = self.asking.lock().await;
        if self.kept(source, FRESH).is_some_and(|kept| kept.find(kid).is_some()) {
            return Duration::ZERO; // another has asked meanwhile
        }
        let waited = asked.as_ref().filter(|asked| asked.url == source.url).map(|asked| source.since(asked.at));
        if let Some(waited) = waited.filter(|waited| *waited < PAUSE) {
            return waited;
        }
        let at = source.clock.now();
        *asked = Some(Asked { url: source.url.to_owned(), at });
        match source.auth.keys(source.url).await.and_then(|text| keys(&text)) {
            Ok(keys) => {
                let kept = Kept { url: source.url.to_owned(), since: at, keys };
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(kept));
            }
            Err(why) => tracing::warn!("Supabase's keys were not fetched: {why}"),
        }
        Duration::ZERO
    }

    fn kept(&self, source: &Source<'_>, life: Duration) -> Option<Arc<Kept>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|kept| kept.url == source.url && source.since(kept.since) < life).cloned()
    }
}

impl Source<'_> {
    /// How long ago that was. A clock that was set back since must keep nothing alive, and nobody waiting.
    fn since(&self, then: Timestamp) -> Duration {
        let now = self.clock.now();
        if now < then { Duration::MAX } else { then.until(now) }
    }
}

impl Kept {
    fn find(&self, kid: &str) -> Option<Key> {
        self.keys.iter().find(|(id, _)| id == kid).map(|(_, key)| key.clone())
    }
}

/// The keys that tokens may be signed with: those of other kinds, or for other uses, are passed over.
fn keys(text: &[u8]) -> Result<Vec<(String, Key)>, String> {
    #[derive(serde::Deserialize)]
    struct Document {
        keys: Vec<serde_json::Value>,
    }
    let document: Document = serde_json::from_slice(text).map_err(|_| "they are no JWKS".to_owned())?;
    let known = document.keys.into_iter().filter_map(|value| {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        Some((jwk.common.key_id.clone()?, key(&jwk)?))
    });
    Ok(known.collect())
}

fn key(jwk: &Jwk) -> Option<Key> {
    let (algorithm, said) = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        _ => return None,
    };
    let for_signing = matches!(&jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let for_this = jwk.common.key_algorithm.is_none_or(|algorithm| algorithm == said);
    let key = DecodingKey::from_jwk(jwk).ok()?;
    (for_signing && for_this).then_some(Key { algorithm, key })
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
