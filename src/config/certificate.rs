//! One certificate and its key: read whole, held against each other, or refused with the reason.
//!
//! The one rule on what can be served: whatever can be read and goes together. One that has merely expired, or is
//! not valid yet, is served, and told of loudly by whoever serves it: to refuse it would hold up the change that mends something else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use x509_parser::extensions::GeneralName;

use super::problem::{Place, Problem};
use super::snapshot::CertificateFiles;
use super::stamp::Stamp;
use crate::units::Timestamp;

/// A certificate that was made just now may begin later than now by somebody else's clock: an hour, in microseconds.
const CLOCKS_DIFFER: i64 = 3_600_000_000;

/// Why a certificate cannot be served. Names the file at fault.
#[derive(Debug, thiserror::Error)]
pub enum CertificateProblem {
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
}

/// One certificate that can be served.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Lower case; `*.` begins a wildcard. Names of the certificate's subjectAltName: DNS names, then addresses.
    pub names: Vec<String>,
    /// Its life begins here.
    pub begins: Timestamp,
    pub expires: Timestamp,
    signed: Arc<CertifiedKey>,
}

/// A certificate and its key on disk, as they were read last.
#[derive(Debug, Clone)]
pub struct CertificatePair {
    pub files: CertificateFiles,
    pub certificate: Arc<Certificate>,
    /// Where a file of the configuration names it.
    place: Option<Place>,
    /// How certificate and key looked before they were read.
    seen: [Option<Stamp>; 2],
}

/// Two that name the same files say the same: what is in the files changes without the configuration, and has an account
/// of its own.
impl PartialEq for CertificatePair {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl CertificatePair {
    /// Reads both files. An error has what is wrong with each of them.
    pub fn read(files: CertificateFiles, place: Option<Place>) -> Result<Self, Vec<CertificateProblem>> {
        let seen = files.seen();
        let certificate = Arc::new(Certificate::read(&files)?);
        Ok(Self { files, certificate, place, seen })
    }

    /// Reads the files again where they look otherwise than when they were read last. None: they do not, or have the same
    /// in them. An error, which is told once, leaves the certificate as it was.
    pub fn read_again(&mut self) -> Option<Result<(), Vec<CertificateProblem>>> {
        let seen = self.files.seen();
        if seen == self.seen {
            return None;
        }
        self.seen = seen;
        match Certificate::read(&self.files) {
            Ok(next) if next.is(&self.certificate) => None,
            Ok(next) => {
                self.certificate = Arc::new(next);
                Some(Ok(()))
            }
            Err(problems) => Some(Err(problems)),
        }
    }

    /// What is to be said of it where it has expired, or its life has not begun.
    pub fn untimely(&self, now: Timestamp) -> Option<Problem> {
        let Certificate { begins, expires, .. } = *self.certificate;
        let file = self.files.cert.display();
        let message = if expires <= now {
            format!("{file} expired at {}, and no client takes it any more", expires.rfc3339())
        } else if self.certificate.is_early(now) {
            format!("{file} is not valid before {}, and no client takes it until then", begins.rfc3339())
        } else {
            return None;
        };
        Some(Problem::of(self.place.as_ref(), message))
    }
}

impl CertificateFiles {
    fn seen(&self) -> [Option<Stamp>; 2] {
        [&self.cert, &self.key].map(|file| Stamp::of(file))
    }
}

impl CertificateProblem {
    /// Whether it is the file of the key that is at fault, and not that of the certificate.
    pub(super) fn is_of_key(&self, files: &CertificateFiles) -> bool {
        match self {
            Self::NoKey { .. } | Self::UnusableKey { .. } | Self::KeyMismatch { .. } => true,
            Self::Unreadable { file, .. } => *file == files.key,
            Self::NoCertificate { .. } | Self::Malformed { .. } => false,
        }
    }
}

impl Certificate {
    /// Reads one pair and holds key and certificate against each other. It may have expired. An error has what is wrong
    /// with each of the two.
    pub fn read(files: &CertificateFiles) -> Result<Self, Vec<CertificateProblem>> {
        let chain = read_file(&files.cert).and_then(|pem| chain_of(&files.cert, &pem));
        let key = read_file(&files.key).and_then(|pem| key_of(&files.key, &pem));
        match (chain, key) {
            (Ok(chain), Ok(key)) => Self::whole(files, chain, key).map_err(|problem| vec![problem]),
            (chain, key) => Err(chain.err().into_iter().chain(key.err()).collect()),
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

    /// Whether its life has not begun, by more than clocks may differ.
    pub fn is_early(&self, now: Timestamp) -> bool {
        now.0.saturating_add(CLOCKS_DIFFER) < self.begins.0
    }

    /// Whether it is this very one, and not one that took its place.
    pub fn is(&self, other: &Self) -> bool {
        self.signed.cert == other.signed.cert
    }

    /// What TLS shows and signs with.
    pub fn signed(&self) -> &Arc<CertifiedKey> {
        &self.signed
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NOW: Timestamp = Timestamp(1_769_903_999_000_000);

    /// A pair in `dir` for `names`, alive from 1970 to `until`.
    fn pair(dir: &Path, stem: &str, names: &[&str], until: i32) -> CertificateFiles {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(1970, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let files = CertificateFiles { cert: dir.join(format!("{stem}.pem")), key: dir.join(format!("{stem}.key")) };
        fs::write(&files.cert, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn every_problem_names_its_file_and_says_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let good = pair(dir.path(), "good", &["good.example"], 2100);
        let other = pair(dir.path(), "other", &["other.example"], 2100);
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let with_cert = |cert: PathBuf| CertificateFiles { cert, key: good.key.clone() };
        let with_key = |key: PathBuf| CertificateFiles { cert: good.cert.clone(), key };
        let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (files, file, expected, of_key) in [
            (with_cert(dir.path().join("none.pem")), "none.pem", "No such file", false),
            (with_cert(write("empty.pem", "")), "empty.pem", "no certificate in it", false),
            (with_cert(good.key.clone()), "good.key", "no certificate in it", false),
            (with_cert(write("garbled.pem", garbled)), "garbled.pem", "cannot be read", false),
            (with_key(dir.path().join("none.key")), "none.key", "No such file", true),
            (with_key(good.cert.clone()), "good.pem", "no private key in it", true),
            (with_key(other.key.clone()), "other.key", "does not belong to the first certificate in", true),
        ] {
            let problems = Certificate::read(&files).unwrap_err();
            let problem = problems[0].to_string();
            assert!(problem.contains(file) && problem.contains(expected), "{problem}");
            assert_eq!(problems[0].is_of_key(&files), of_key, "{problem}");
        }
        let swapped = CertificateFiles { cert: good.key, key: good.cert };
        assert_eq!(Certificate::read(&swapped).unwrap_err().len(), 2, "each of the two is told of");
    }

    #[test]
    fn one_that_has_expired_is_read_like_any_other_and_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let old = CertificatePair::read(pair(dir.path(), "old", &["old.example"], 2020), None).unwrap();
        let problem = old.untimely(NOW).unwrap().to_string();
        assert!(problem.contains("old.pem expired at 2020-01-01T00:00:00Z"), "{problem}");
        let good = CertificatePair::read(pair(dir.path(), "good", &["good.example"], 2100), None).unwrap();
        assert!(good.untimely(NOW).is_none());
        let life = good.certificate.begins.0;
        assert!(good.untimely(Timestamp(life - 3_600_000_000)).is_none(), "clocks differ");
        let early = good.untimely(Timestamp(life - 3_600_000_001)).unwrap().to_string();
        assert!(early.contains("good.pem is not valid before 1970-01-01"), "{early}");
    }

    #[test]
    fn a_certificate_is_good_for_its_names_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let files = pair(dir.path(), "a", &["*.a.example", "b.example", "192.0.2.1"], 2100);
        let read = Certificate::read(&files).unwrap();
        for (host, good) in [
            ("x.a.example", true),
            ("b.example", true),
            ("192.0.2.1", true),
            ("a.example", false),
            ("x.y.a.example", false),
            ("x.b.example", false),
            ("192.0.2.2", false),
        ] {
            assert_eq!(read.covers(host), good, "{host}");
        }
    }
}
