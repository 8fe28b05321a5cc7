//! Certificates of our own: that of `cfx dev`, made once and kept, so that a browser is asked to trust it only once, and
//! what is shown while a CA has not answered yet.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use crate::config::{Certificate, CertificateFiles, CertificateProblem};
use crate::entry::whole_file::write_whole;
use crate::units::Timestamp;

/// Always in the certificate, whatever else is asked for.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// The longest life Apple's clients accept of a certificate that a user trusts by hand.
const LIFE: Duration = Duration::from_secs(825 * 86_400);
/// Clocks of clients differ from ours: valid a little before it was made.
const SLACK: Duration = Duration::from_secs(3_600);

const STOPGAP_LIFE: Duration = Duration::from_secs(7 * 86_400);

#[derive(Debug, thiserror::Error)]
pub enum StopgapProblem {
    #[error(transparent)]
    Made(#[from] rcgen::Error),
    #[error(transparent)]
    Read(#[from] CertificateProblem),
}

#[derive(Debug, thiserror::Error)]
pub enum SelfSignedProblem {
    #[error("{}: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("no certificate could be made for {names}: {source}")]
    Refused { names: String, source: rcgen::Error },
}

/// One for a name that has none yet, kept nowhere. No client trusts it; a short life keeps it from being taken for one
/// that is to stay.
pub fn stopgap(name: &str, now: Timestamp) -> Result<Certificate, StopgapProblem> {
    let (cert, key) = make(&[name.to_owned()], now, STOPGAP_LIFE)?;
    Ok(Certificate::of_pem(Path::new(name), [cert, key].concat().as_bytes())?)
}

/// The certificate in `dir` (`self-signed.pem`, `self-signed.key`), made where there is none that is whole, alive at
/// `now` and good for all `names` (DNS names or addresses) beside localhost.
pub fn ensure(dir: &Path, names: &[&str], now: Timestamp) -> Result<CertificateFiles, SelfSignedProblem> {
    let files = CertificateFiles { cert: dir.join("self-signed.pem"), key: dir.join("self-signed.key") };
    let wanted = wanted_names(names);
    let kept = Certificate::read(&files)
        .is_ok_and(|kept| now < kept.expires && wanted.iter().all(|name| kept.names.iter().any(|has| has == name)));
    if kept {
        return Ok(files);
    }
    let (cert, key) =
        make(&wanted, now, LIFE).map_err(|source| SelfSignedProblem::Refused { names: wanted.join(", "), source })?;
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        |source| SelfSignedProblem::Unwritable { path, source }
    };
    fs::create_dir_all(dir).map_err(unwritable(dir))?;
    // Death between the two leaves a pair that does not match, which the next start sees and makes anew.
    write_whole(&files.key, &key, 0o600).map_err(unwritable(&files.key))?;
    write_whole(&files.cert, &cert, 0o644).map_err(unwritable(&files.cert))?;
    Ok(files)
}

fn wanted_names(names: &[&str]) -> Vec<String> {
    let mut wanted: Vec<String> = OWN_NAMES.map(str::to_owned).to_vec();
    for name in names {
        // Addresses have many spellings; the certificate has the shortest.
        let name = name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string());
        if !wanted.contains(&name) {
            wanted.push(name);
        }
    }
    wanted
}

/// Certificate and key, PEM.
fn make(names: &[String], now: Timestamp, life: Duration) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    let since_epoch = Duration::from_micros(u64::try_from(now.0).unwrap_or(0));
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch.saturating_sub(SLACK);
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch.saturating_sub(SLACK) + life;
    params.distinguished_name.push(DnType::CommonName, "cfx self-signed");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let cert = params.self_signed(&key)?;
    Ok((cert.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: Timestamp = Timestamp(1_769_903_999_000_000);

    fn at(days: i64) -> Timestamp {
        Timestamp(NOW.0 + days * 86_400_000_000)
    }

    fn texts(files: &CertificateFiles) -> (String, String) {
        (fs::read_to_string(&files.cert).unwrap(), fs::read_to_string(&files.key).unwrap())
    }

    #[test]
    fn is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("not/there/yet");
        let files = ensure(&dir, &["cfx.example", "0:0::1"], NOW).unwrap();
        let first = texts(&files);
        let read = Certificate::read(&files).unwrap();
        assert_eq!(read.names, ["localhost", "cfx.example", "127.0.0.1", "::1"]);
        assert_eq!(read.expires, Timestamp(NOW.0 + 825 * 86_400_000_000 - 3_600_000_000));
        let mode = fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        ensure(&dir, &["CFX.example"], at(824)).unwrap();
        assert_eq!(texts(&files), first);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn is_made_anew_when_expired() {
        let dir = tempfile::tempdir().unwrap();
        let files = ensure(dir.path(), &[], NOW).unwrap();
        let first = texts(&files);
        ensure(dir.path(), &[], at(825)).unwrap();
        assert_ne!(texts(&files), first);
        assert!(at(825) < Certificate::read(&files).unwrap().expires);
    }

    #[test]
    fn is_made_anew_when_a_name_is_missing_or_the_pair_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let files = ensure(dir.path(), &[], NOW).unwrap();
        let first = texts(&files);
        ensure(dir.path(), &["new.example"], NOW).unwrap();
        assert_ne!(texts(&files), first);

        fs::write(&files.key, &first.1).unwrap();
        ensure(dir.path(), &["new.example"], NOW).unwrap();
        assert!(Certificate::read(&files).is_ok());
    }

    #[test]
    fn says_where_it_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let problem = ensure(&file, &[], NOW).unwrap_err().to_string();
        assert!(problem.starts_with(&file.display().to_string()), "{problem}");
    }
}
