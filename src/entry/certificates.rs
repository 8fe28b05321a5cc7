//! The certificates TLS listeners serve: read whole or refused with the reason, chosen by the name a client asks for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use x509_parser::extensions::GeneralName;

use crate::config::CertificateFiles;
use crate::units::Timestamp;

/// What is served, and can be changed while it is.
#[derive(Debug)]
pub struct Certificates(ArcSwap<Served>);

#[derive(Debug)]
struct Served {
    /// In the configuration's order; never empty.
    all: Vec<Certificate>,
    /// By exact name; the first certificate that has it.
    exact: HashMap<String, usize>,
    /// By what follows `*.`.
    wildcard: HashMap<String, usize>,
}

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
    pub expires: Timestamp,
    signed: Arc<CertifiedKey>,
}

impl Certificates {
    /// Reads all pairs. `now` tells which have expired: those are refused, no client would accept them.
    pub fn load(files: &[CertificateFiles], now: Timestamp) -> Result<Self, CertificateProblem> {
        Ok(Self(ArcSwap::from_pointee(Served::load(files, now)?)))
    }

    /// Serves what the files hold now, from the next handshake on. Yields the names of what it did not serve before.
    /// Where one pair cannot be served all stays as it is.
    pub fn reload(&self, files: &[CertificateFiles], now: Timestamp) -> Result<Vec<String>, CertificateProblem> {
        let next = Served::load(files, now)?;
        let before = self.0.load_full();
        let known = |other: &Certificate| before.all.iter().any(|one| one.signed.cert == other.signed.cert);
        let new = next.all.iter().filter(|served| !known(served)).map(|served| served.label().to_owned()).collect();
        self.0.store(Arc::new(next));
        Ok(new)
    }

    /// The first name of each certificate and when it expires.
    pub fn expiries(&self) -> Vec<(String, Timestamp)> {
        self.0.load().all.iter().map(|served| (served.label().to_owned(), served.expires)).collect()
    }

    /// The certificate for a server name: its own, else a wildcard's, else the first of all.
    fn choose(&self, server_name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        self.0.load().choose(server_name)
    }
}

impl Served {
    fn load(files: &[CertificateFiles], now: Timestamp) -> Result<Self, CertificateProblem> {
        let all = files.iter().map(|pair| Certificate::read(pair, now)).collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            return Err(CertificateProblem::NoneConfigured);
        }
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for (place, served) in all.iter().enumerate() {
            for name in &served.names {
                match name.strip_prefix("*.") {
                    Some(parent) => wildcard.entry(parent.to_owned()).or_insert(place),
                    None => exact.entry(name.clone()).or_insert(place),
                };
            }
        }
        Ok(Self { all, exact, wildcard })
    }

    fn choose(&self, server_name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let place = server_name.and_then(|name| self.find(name)).unwrap_or(0);
        self.all.get(place).map(|served| Arc::clone(&served.signed))
    }

    /// A wildcard stands for one label (RFC 6125, 6.4.3): `*.a.example` is `x.a.example`, not `x.y.a.example`.
    fn find(&self, server_name: &str) -> Option<usize> {
        let name = server_name.trim_end_matches('.').to_ascii_lowercase();
        let by_wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(&name).or_else(by_wildcard).copied()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name())
    }
}

impl Certificate {
    /// Reads one pair and holds key and certificate against each other.
    pub fn read(files: &CertificateFiles, now: Timestamp) -> Result<Self, CertificateProblem> {
        let chain = read_chain(&files.cert)?;
        let (names, expires) = names_and_expiry(&files.cert, &chain)?;
        let key = read_key(&files.key)?;
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
        if expires <= now {
            return Err(CertificateProblem::Expired { file: files.cert.clone(), expired: expires });
        }
        Ok(Self { names, expires, signed: Arc::new(signed) })
    }

    /// What metrics call it.
    fn label(&self) -> &str {
        self.names.first().map_or("unnamed", String::as_str)
    }
}

fn read_file(file: &Path) -> Result<Vec<u8>, CertificateProblem> {
    std::fs::read(file).map_err(|source| CertificateProblem::Unreadable { file: file.to_owned(), source })
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateProblem> {
    let pem = read_file(file)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|why| CertificateProblem::Malformed { file: file.to_owned(), why: why.to_string() })?;
    if chain.is_empty() {
        return Err(CertificateProblem::NoCertificate { file: file.to_owned() });
    }
    Ok(chain)
}

/// A reader's own words about a key file could quote the key, so they are not passed on.
fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, CertificateProblem> {
    PrivateKeyDer::from_pem_slice(&read_file(file)?).map_err(|_| CertificateProblem::NoKey { file: file.to_owned() })
}

fn names_and_expiry(
    file: &Path,
    chain: &[CertificateDer<'static>],
) -> Result<(Vec<String>, Timestamp), CertificateProblem> {
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
    let expires = parsed.validity().not_after.timestamp();
    Ok((names, Timestamp(expires.saturating_mul(1_000_000))))
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| std::net::Ipv4Addr::from(octets).to_string());
    let v6 = || <[u8; 16]>::try_from(octets).map(|octets| std::net::Ipv6Addr::from(octets).to_string());
    v4.or_else(|_| v6()).ok()
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
