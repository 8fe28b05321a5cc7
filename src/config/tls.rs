//! What `cfx.yaml` says of TLS beside the names of files: how it is spoken, and who issues certificates.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::Secret;

/// The least that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// With forward secrecy and authenticated encryption only.
    #[default]
    V1_2,
    V1_3,
}

/// Certificates that clients of one entrypoint may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// PEM: the CAs whose certificates are taken.
    pub ca: PathBuf,
    /// What was in it when it was read; at least one.
    pub taken: Arc<[CertificateDer<'static>]>,
    /// Whether a client without one gets no connection. Else it gets one, and routes that want a certificate refuse it.
    pub required: bool,
}

/// A CA that speaks ACME (RFC 8555), and what is ordered from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The URL of its directory, `https`.
    pub directory: String,
    /// Whom it may write to.
    pub email: Option<String>,
    /// Lower case, no wildcards; at least one. Each gets a certificate of its own.
    pub domains: Vec<String>,
    pub challenge: Challenge,
    pub external_account: Option<ExternalAccount>,
    /// PEM: the CAs that its directory's own certificate is trusted by. None: the system's.
    pub trust: Option<PathBuf>,
}

impl Issuer {
    /// Whether it is asked in the same way, for whichever domains.
    pub fn is_asked_like(&self, other: &Self) -> bool {
        let Self { directory, email, domains: _, challenge, external_account, trust } = self;
        *directory == other.directory
            && *email == other.email
            && *challenge == other.challenge
            && *external_account == other.external_account
            && *trust == other.trust
    }
}

/// How a domain is shown to be ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Challenge {
    /// By an answer on port 80.
    #[default]
    Http01,
    /// By a certificate on port 443 (RFC 8737).
    TlsAlpn01,
}

/// An account that there is with the CA already, and that the one of ACME is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    pub key_id: String,
    /// In base64, as CAs hand it out.
    pub hmac_key: Secret,
}
