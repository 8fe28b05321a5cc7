use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
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
    let table = certificates.table();
    let chosen = table.choose(server_name.map(normal).as_deref()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&chosen.signed.cert[0]).unwrap();
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

fn label(certificates: &Certificates, server_name: &str) -> (String, Arc<Certificate>) {
    let table = certificates.table();
    let chosen = table.choose(Some(server_name)).unwrap();
    (chosen.label().to_owned(), Arc::clone(chosen))
}

/// Puts `with` in the place of `files` as editors and CAs' clients do: written beside, then renamed.
fn replace(files: &CertificateFiles, with: &CertificateFiles) {
    for (old, new) in [(&files.key, &with.key), (&files.cert, &with.cert)] {
        let beside = old.with_extension("new");
        fs::copy(new, &beside).unwrap();
        fs::rename(&beside, old).unwrap();
    }
}

#[test]
fn files_that_change_are_served_at_the_next_look_however_they_were_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (pair(dir.path(), "a", &["a.example"]), pair(dir.path(), "b", &["b.example"]));
    let certificates = Certificates::load(&[a.clone(), b.clone()], NOW).unwrap();
    assert!(certificates.look(NOW).changed.is_empty(), "nothing has changed");

    replace(&a, &pair(dir.path(), "next", &["a.example", "www.a.example"]));
    let look = certificates.look(NOW);
    assert_eq!(look.changed.iter().map(|served| served.label()).collect::<Vec<_>>(), ["a.example"]);
    assert_eq!(label(&certificates, "www.a.example").0, "a.example");

    let next = pair(dir.path(), "in-place", &["b.example", "www.b.example"]);
    fs::write(&b.key, fs::read(&next.key).unwrap()).unwrap();
    fs::write(&b.cert, fs::read(&next.cert).unwrap()).unwrap();
    assert_eq!(certificates.look(NOW).changed.len(), 1);
    assert_eq!(label(&certificates, "www.b.example").0, "b.example");
}

/// As Kubernetes mounts a secret: the files are links into `..data`, a link that is replaced as one.
#[test]
fn a_folder_behind_links_is_swapped_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (folder, name) in [("one", "old.example"), ("two", "new.example")] {
        fs::create_dir(at(folder)).unwrap();
        pair(&at(folder), "tls", &[name]);
    }
    std::os::unix::fs::symlink("one", at("..data")).unwrap();
    let files = CertificateFiles { cert: at("tls.pem"), key: at("tls.key") };
    std::os::unix::fs::symlink("..data/tls.pem", &files.cert).unwrap();
    std::os::unix::fs::symlink("..data/tls.key", &files.key).unwrap();
    let certificates = Certificates::load(&[files], NOW).unwrap();
    assert_eq!(label(&certificates, "any").0, "old.example");
    std::os::unix::fs::symlink("two", at("..next")).unwrap();
    fs::rename(at("..next"), at("..data")).unwrap();
    assert_eq!(certificates.look(NOW).changed.len(), 1);
    assert_eq!(label(&certificates, "any").0, "new.example");
}

#[test]
fn a_pair_that_does_not_go_together_is_told_once_and_the_last_good_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (pair(dir.path(), "a", &["a.example"]), pair(dir.path(), "b", &["b.example"]));
    let next = pair(dir.path(), "next", &["a.example", "new.example"]);
    let certificates = Certificates::load(&[a.clone(), b.clone()], NOW).unwrap();
    let before = label(&certificates, "a.example").1;

    fs::copy(&next.cert, &a.cert).unwrap(); // halfway: its key is still the old one
    fs::remove_file(&b.key).unwrap();
    let problems: Vec<String> = certificates.look(NOW).problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("a.key: does not belong to the first certificate in"), "{problems:?}");
    assert!(problems[1].contains("b.key: No such file"), "{problems:?}");
    assert!(Arc::ptr_eq(&before, &label(&certificates, "a.example").1));
    assert!(certificates.look(NOW).problems.is_empty(), "the same mistake is not told every minute");
    let told = certificates.reload(&[a.clone(), b.clone()], NOW).unwrap_err().to_string();
    assert!(told.contains("a.key: does not belong to"), "who asks is told: {told}");

    fs::copy(&next.key, &a.key).unwrap();
    assert_eq!(certificates.look(NOW).changed.len(), 1);
    assert_eq!(label(&certificates, "new.example").0, "a.example");
}

#[test]
fn a_reload_says_what_it_changed_and_a_wrong_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| pair(dir.path(), name, &[&format!("{name}.example")]));
    let certificates = Certificates::load(&[a.clone(), b.clone()], NOW).unwrap();
    let kept = label(&certificates, "a.example").1;
    let wrong = CertificateFiles { cert: a.cert.clone(), key: b.key.clone() };
    assert!(certificates.reload(&[c.clone(), wrong], NOW).is_err());
    assert!(certificates.reload(&[], NOW).is_err(), "there would be nothing to show");
    assert_eq!(label(&certificates, "b.example").0, "b.example");

    replace(&b, &pair(dir.path(), "next", &["b.example", "other.example"]));
    let issued = Arc::new(Certificate::read(&pair(dir.path(), "issued", &["issued.example"]), NOW).unwrap());
    certificates.set_issued(vec![issued]);
    let summary = certificates.reload(&[c, a.clone()], NOW).unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let expected =
        Summary { added: names(&["c.example"]), changed: Vec::new(), removed: names(&["b.example"]), unchanged: 1 };
    assert_eq!(summary, expected);
    assert!(Arc::ptr_eq(&kept, &label(&certificates, "a.example").1), "what has not changed is not read again");
    assert_eq!(label(&certificates, "unknown").0, "c.example", "the first of the file");
    assert_eq!(label(&certificates, "issued.example").0, "issued.example", "those of a CA stay");

    let in_a_century = Timestamp(NOW.0 + 100 * 365 * 86_400_000_000);
    assert!(certificates.reload(std::slice::from_ref(&a), in_a_century).is_ok(), "an old one is no reason to refuse");
}

#[test]
fn a_certificate_is_good_for_its_names_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let read = Certificate::read(&pair(dir.path(), "a", &["*.a.example", "b.example", "192.0.2.1"]), NOW).unwrap();
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
