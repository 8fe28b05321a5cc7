use std::fs;
use std::net::TcpListener;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::*;
use crate::entry::self_signed;

const NOW: Timestamp = Timestamp(1_769_903_999_000_000);

/// A pair in `dir` for `names`, alive from 1970 to 2100.
fn pair(dir: &Path, stem: &str, names: &[&str]) -> CertificateFiles {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(1970, 1, 1);
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let files = CertificateFiles { cert: dir.join(format!("{stem}.pem")), key: dir.join(format!("{stem}.key")) };
    fs::write(&files.cert, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

fn chosen(certificates: &Certificates, server_name: Option<&str>) -> String {
    let chosen = certificates.choose(server_name).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&chosen.cert[0]).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    names.value.general_names[0].to_string()
}

#[test]
fn the_name_a_client_asks_for_decides() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        pair(dir.path(), "first", &["first.example"]),
        pair(dir.path(), "wild", &["*.example.org"]),
        pair(dir.path(), "exact", &["API.example.org", "example.org"]),
        pair(dir.path(), "late", &["first.example"]),
    ];
    let certificates = Certificates::load(&files, NOW).unwrap();
    for (asked, expected) in [
        (Some("first.example"), "first.example"),
        (Some("x.example.org"), "*.example.org"),
        (Some("api.example.org"), "API.example.org"),
        (Some("Api.Example.ORG."), "API.example.org"),
        (Some("example.org"), "API.example.org"),
        (Some("x.y.example.org"), "first.example"),
        (Some("elsewhere"), "first.example"),
        (None, "first.example"),
    ] {
        assert_eq!(chosen(&certificates, asked), format!("DNSName({expected})"), "{asked:?}");
    }
    let names: Vec<String> = certificates.expiries().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["first.example", "*.example.org", "api.example.org", "first.example"]);
    assert_eq!(certificates.expiries()[0].1.rfc3339(), "2100-01-01T00:00:00Z");
}

#[test]
fn every_problem_names_its_file_and_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let good = pair(dir.path(), "good", &["good.example"]);
    let other = pair(dir.path(), "other", &["other.example"]);
    let short = self_signed::ensure(&dir.path().join("short"), &[], NOW).unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let with_cert = |cert: PathBuf| CertificateFiles { cert, key: good.key.clone() };
    let with_key = |key: PathBuf| CertificateFiles { cert: good.cert.clone(), key };
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let in_four_years = Timestamp(NOW.0 + 4 * 365 * 86_400_000_000);
    for (files, now, file, expected) in [
        (with_cert(dir.path().join("none.pem")), NOW, "none.pem", "No such file"),
        (with_cert(write("empty.pem", "")), NOW, "empty.pem", "no certificate in it"),
        (with_cert(good.key.clone()), NOW, "good.key", "no certificate in it"),
        (with_cert(write("garbled.pem", garbled)), NOW, "garbled.pem", "cannot be read"),
        (with_key(dir.path().join("none.key")), NOW, "none.key", "No such file"),
        (with_key(good.cert.clone()), NOW, "good.pem", "no private key in it"),
        (with_key(other.key.clone()), NOW, "other.key", "does not belong to the first certificate in"),
        (short, in_four_years, "self-signed.pem", "expired at 2028-05-05T22:59:59Z"),
    ] {
        let problem = Certificates::load(&[files], now).unwrap_err().to_string();
        assert!(problem.contains(file) && problem.contains(expected), "{problem}");
    }
    assert!(matches!(Certificates::load(&[], NOW), Err(CertificateProblem::NoneConfigured)));
}

/// A handshake over a real socket: the client trusts only the certificate it must be shown.
#[test]
fn a_real_handshake_gets_the_certificate_of_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let files = [pair(dir.path(), "a", &["a.example"]), pair(dir.path(), "b", &["*.b.example"])];
    let certificates = Arc::new(Certificates::load(&files, NOW).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files[1].cert).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut tls = ServerConnection::new(Arc::new(server)).unwrap();
            while tls.is_handshaking() {
                tls.complete_io(&mut stream).unwrap();
            }
        });
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let name = ServerName::try_from("x.b.example").unwrap();
        let mut tls = ClientConnection::new(Arc::new(client), name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).unwrap();
        }
    });
}
