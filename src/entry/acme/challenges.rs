//! Answers to a CA that looks whether a domain is ours, for as long as an order waits for them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// The protocol of RFC 8737, as ALPN names it.
pub const ACME_TLS: &[u8] = b"acme-tls/1";
/// Where a CA asks over HTTP (RFC 8555, 8.3).
const WELL_KNOWN: &str = "/.well-known/acme-challenge/";

/// What is to be answered at this moment.
#[derive(Debug, Default)]
pub struct Challenges(RwLock<Answers>);

#[derive(Debug, Default)]
struct Answers {
    /// By token.
    http: HashMap<String, Posts<String>>,
    /// By domain, lower case.
    tls: HashMap<String, Posts<Arc<ServerConfig>>>,
    /// Of the next one.
    number: u64,
}

/// Answers to the same question, each by the number of who has posted it: the last one is given. Two orders may wait at
/// once where a CA asks both for what it has asked before.
type Posts<T> = Vec<(u64, T)>;

/// An answer that is given until this is dropped.
#[derive(Debug)]
#[must_use = "the answer is taken back when this is dropped"]
pub struct Posted {
    challenges: Arc<Challenges>,
    key: Key,
    number: u64,
}

#[derive(Debug)]
enum Key {
    Token(String),
    Domain(String),
}

impl Challenges {
    /// What a request for this path is answered, where a CA may be asking.
    pub fn http(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(WELL_KNOWN)?;
        self.0.read().unwrap_or_else(PoisonError::into_inner).http.get(token).and_then(last)
    }

    /// How TLS is spoken with a CA that looks at this domain.
    pub fn tls(&self, domain: &str) -> Option<Arc<ServerConfig>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).tls.get(domain).and_then(last)
    }

    pub(super) fn post_http(self: &Arc<Self>, token: &str, answer: &str) -> Posted {
        let number = self.change(|answers, number| {
            answers.http.entry(token.to_owned()).or_default().push((number, answer.to_owned()));
        });
        Posted { challenges: Arc::clone(self), key: Key::Token(token.to_owned()), number }
    }

    /// `digest` is the SHA-256 of the key authorization.
    pub fn post_tls(self: &Arc<Self>, domain: &str, digest: &[u8]) -> Result<Posted, ChallengeProblem> {
        let config = Arc::new(tls_answer(domain, digest)?);
        let number = self.change(|answers, number| {
            answers.tls.entry(domain.to_owned()).or_default().push((number, config));
        });
        Ok(Posted { challenges: Arc::clone(self), key: Key::Domain(domain.to_owned()), number })
    }

    /// `change` is given a number that no other change has, which is handed back.
    fn change(&self, change: impl FnOnce(&mut Answers, u64)) -> u64 {
        let mut answers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let number = answers.number;
        answers.number += 1;
        change(&mut answers, number);
        number
    }
}

fn last<T: Clone>(posts: &Posts<T>) -> Option<T> {
    posts.last().map(|(_, answer)| answer.clone())
}

/// Takes one answer back, and leaves no room behind for a question that nobody waits for.
fn take_back<T>(posts: &mut HashMap<String, Posts<T>>, key: &str, number: u64) {
    if let Some(found) = posts.get_mut(key) {
        found.retain(|(posted, _)| *posted != number);
        if found.is_empty() {
            posts.remove(key);
        }
    }
}

/// Why a challenge cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeProblem {
    #[error("no certificate could be made for the challenge: {0}")]
    Made(#[from] rcgen::Error),
    #[error("the challenge's certificate cannot be shown: {0}")]
    Shown(#[from] rustls::Error),
}

/// A certificate for the domain alone with the digest in it, shown under that protocol alone (RFC 8737, 3).
fn tls_answer(domain: &str, digest: &[u8]) -> Result<ServerConfig, ChallengeProblem> {
    let mut params = CertificateParams::new([domain.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    // Unchecked: the extension is critical, and the library's own check of a pair knows no such.
    let shown = CertifiedKey::new(vec![certificate.der().clone()], any_ecdsa_type(&key)?);
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    config.send_tls13_tickets = 0; // nobody comes back
    Ok(config)
}

impl Drop for Posted {
    fn drop(&mut self) {
        self.challenges.change(|answers, _| match &self.key {
            Key::Token(token) => take_back(&mut answers.http, token, self.number),
            Key::Domain(domain) => take_back(&mut answers.tls, domain, self.number),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_an_answer_back_leaves_those_of_others() {
        let challenges = Arc::new(Challenges::default());
        let path = [WELL_KNOWN, "token"].concat();
        let [first, second] = ["one", "two"].map(|answer| challenges.post_http("token", answer));
        assert_eq!(challenges.http(&path).as_deref(), Some("two"));
        drop(first);
        assert_eq!(challenges.http(&path).as_deref(), Some("two"));
        drop(second);
        assert_eq!(challenges.http(&path), None);

        let [first, second] = [[1; 32], [2; 32]].map(|digest| challenges.post_tls("a.test", &digest).unwrap());
        let shown = challenges.tls("a.test").unwrap();
        drop(first);
        assert!(Arc::ptr_eq(&shown, &challenges.tls("a.test").unwrap()));
        drop(second);
        assert!(challenges.tls("a.test").is_none());
    }
}
