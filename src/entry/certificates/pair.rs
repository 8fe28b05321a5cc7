//! One certificate and its key: read whole, held against each other, or refused with the reason.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use x509_parser::extensions::GeneralName;

use crate::config::CertificateFiles;
use crate::units::Timestamp;

/// Why a certificate cannot be served. Names the file at fault.
#[derive(Debug, thiserror::Error)]
pub enum CertificateProblem {
    #[error(
        "no certificate is configured: name a pair under tls.certificates in cfx.yaml, or remove the https entrypoint"
    )]
    NoneConfigured,
    #[error("{}: {source}", file.display())]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("{}: no certificate in it (expected PEM with BEGIN CERTIFICATE)", file.display())]
    NoCertificate { file: PathBuf },
    #[error("{}: its certificate cannot be read: {why}", file.display())]
    Malformed { file: PathBuf, why: String },
    #[error("{}: no private key in it (expected PEM with BEGIN PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY)", file.display())]
    NoKey { file: PathBuf },
    #[error("{}: not a key TLS can sign with (expected RSA, ECDSA P-256 or P-384, or Ed25519): {why}", file.display())]
    UnusableKey { file: PathBuf, why: String },
    #[error("{}: does not belong to the first certificate in {}", key.display(), cert.display())]
    KeyMismatch { key: PathBuf, cert: PathBuf },
    #[error("{}: expired at {}", file.display(), expired.rfc3339())]
    Expired { file: PathBuf, expired: Timestamp },
}

/// One certificate that can be served.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Lower case; `*.` begins a wildcard. Names of the certificate's subjectAltName: DNS names, then addresses.
    pub names: Vec<String>,
    /// Its life begins here.
    pub begins: Timestamp,
    pub expires: Timestamp,
    pub(super) signed: Arc<CertifiedKey>,
}

impl Certificate {
    /// Reads one pair and holds key and certificate against each other.
    pub fn read(files: &CertificateFiles, now: Timestamp) -> Result<Self, CertificateProblem> {
        let read = Self::whole(
            files,
            chain_of(&files.cert, &read_file(&files.cert)?)?,
            key_of(&files.key, &read_file(&files.key)?)?,
        )?;
        match read.expires <= now {
            true => Err(CertificateProblem::Expired { file: files.cert.clone(), expired: read.expires }),
            false => Ok(read),
        }
    }

    /// Of a text that has both, which messages call `file`. It may have expired.
    pub fn of_pem(file: &Path, pem: &[u8]) -> Result<Self, CertificateProblem> {
        let files = CertificateFiles { cert: file.to_owned(), key: file.to_owned() };
        Self::whole(&files, chain_of(file, pem)?, key_of(file, pem)?)
    }

    fn whole(
        files: &CertificateFiles,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateProblem> {
        let (names, [begins, expires]) = names_and_life(&files.cert, &chain)?;
        let provider = rustls::crypto::ring::default_provider();
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|why| CertificateProblem::UnusableKey { file: files.key.clone(), why: why.to_string() })?;
        let signed = CertifiedKey::new(chain, key);
        match signed.keys_match() {
            Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(TlsError::InconsistentKeys(_)) => {
                return Err(CertificateProblem::KeyMismatch { key: files.key.clone(), cert: files.cert.clone() });
            }
            Err(why) => {
                return Err(CertificateProblem::Malformed { file: files.cert.clone(), why: why.to_string() });
            }
        }
        Ok(Self { names, begins, expires, signed: Arc::new(signed) })
    }

    /// Whether it is good for a host: a name in lower case, or an address. A wildcard stands for one label (RFC 6125,
    /// 6.4.3): `*.a.example` is `x.a.example`, not `x.y.a.example`.
    pub fn covers(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(wild) => Some(wild) == parent,
            None => name == host,
        })
    }

    /// What metrics call it.
    pub fn label(&self) -> &str {
        self.names.first().map_or("unnamed", String::as_str)
    }
}

fn read_file(file: &Path) -> Result<Vec<u8>, CertificateProblem> {
    std::fs::read(file).map_err(|source| CertificateProblem::Unreadable { file: file.to_owned(), source })
}

fn chain_of(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateProblem> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|why| CertificateProblem::Malformed { file: file.to_owned(), why: why.to_string() })?;
    if chain.is_empty() {
        return Err(CertificateProblem::NoCertificate { file: file.to_owned() });
    }
    Ok(chain)
}

/// A reader's own words about a key file could quote the key, so they are not passed on.
fn key_of(file: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateProblem> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| CertificateProblem::NoKey { file: file.to_owned() })
}

/// Its names, and when it begins and expires.
fn names_and_life(
    file: &Path,
    chain: &[CertificateDer<'static>],
) -> Result<(Vec<String>, [Timestamp; 2]), CertificateProblem> {
    let malformed = |why: String| CertificateProblem::Malformed { file: file.to_owned(), why };
    let leaf = chain.first().ok_or_else(|| CertificateProblem::NoCertificate { file: file.to_owned() })?;
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|why| malformed(why.to_string()))?;
    let subject = parsed.subject_alternative_name().map_err(|why| malformed(why.to_string()))?;
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    for name in subject.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
            GeneralName::IPAddress(octets) => addresses.extend(address(octets)),
            _ => {}
        }
    }
    names.append(&mut addresses);
    let validity = parsed.validity();
    let life =
        [validity.not_before, validity.not_after].map(|end| Timestamp(end.timestamp().saturating_mul(1_000_000)));
    Ok((names, life))
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| std::net::Ipv4Addr::from(octets).to_string());
    let v6 = || <[u8; 16]>::try_from(octets).map(|octets| std::net::Ipv6Addr::from(octets).to_string());
    v4.or_else(|_| v6()).ok()
}
