use std::fs;
use std::net::TcpListener;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::*;
use crate::config::CertificateFiles;

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

fn read(files: &[CertificateFiles]) -> Vec<CertificatePair> {
    files.iter().map(|files| CertificatePair::read(files.clone(), None).unwrap()).collect()
}

fn showing(files: &[CertificateFiles]) -> Certificates {
    Certificates::new(&read(files), Vec::new())
}

fn chosen(certificates: &Certificates, server_name: Option<&str>) -> String {
    let table = certificates.table();
    let chosen = table.choose(server_name.map(normal).as_deref()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&chosen.signed().cert[0]).unwrap();
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
    let certificates = showing(&files);
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

/// A handshake over a real socket: the client trusts only the certificate it must be shown.
#[test]
fn a_real_handshake_gets_the_certificate_of_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let files = [pair(dir.path(), "a", &["a.example"]), pair(dir.path(), "b", &["*.b.example"])];
    let certificates = Arc::new(showing(&files));
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
    let certificates = showing(&[a.clone(), b.clone()]);
    assert!(certificates.look().changed.is_empty(), "nothing has changed");

    replace(&a, &pair(dir.path(), "next", &["a.example", "www.a.example"]));
    let look = certificates.look();
    assert_eq!(look.changed.iter().map(|served| served.label()).collect::<Vec<_>>(), ["a.example"]);
    assert_eq!(label(&certificates, "www.a.example").0, "a.example");

    let next = pair(dir.path(), "in-place", &["b.example", "www.b.example"]);
    fs::write(&b.key, fs::read(&next.key).unwrap()).unwrap();
    fs::write(&b.cert, fs::read(&next.cert).unwrap()).unwrap();
    assert_eq!(certificates.look().changed.len(), 1);
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
    let certificates = showing(&[files]);
    assert_eq!(label(&certificates, "any").0, "old.example");
    std::os::unix::fs::symlink("two", at("..next")).unwrap();
    fs::rename(at("..next"), at("..data")).unwrap();
    assert_eq!(certificates.look().changed.len(), 1);
    assert_eq!(label(&certificates, "any").0, "new.example");
}

#[test]
fn a_pair_that_does_not_go_together_is_told_once_and_the_last_good_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (pair(dir.path(), "a", &["a.example"]), pair(dir.path(), "b", &["b.example"]));
    let next = pair(dir.path(), "next", &["a.example", "new.example"]);
    let certificates = showing(&[a.clone(), b.clone()]);
    let before = label(&certificates, "a.example").1;

    fs::copy(&next.cert, &a.cert).unwrap(); // halfway: its key is still the old one
    fs::remove_file(&b.key).unwrap();
    let problems: Vec<String> = certificates.look().problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("a.key: does not belong to the first certificate in"), "{problems:?}");
    assert!(problems[1].contains("b.key: No such file"), "{problems:?}");
    assert!(Arc::ptr_eq(&before, &label(&certificates, "a.example").1));
    assert!(certificates.look().problems.is_empty(), "the same mistake is not told every minute");
    let told = CertificatePair::read(a.clone(), None).unwrap_err();
    assert!(told[0].to_string().contains("a.key: does not belong to"), "who asks is told: {told:?}");

    fs::copy(&next.key, &a.key).unwrap();
    assert_eq!(certificates.look().changed.len(), 1);
    assert_eq!(label(&certificates, "new.example").0, "a.example");
}

#[test]
fn a_reload_says_what_it_changed_and_leaves_the_rest_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| pair(dir.path(), name, &[&format!("{name}.example")]));
    let certificates = showing(&[a.clone(), b.clone(), d.clone()]);
    let kept = label(&certificates, "a.example").1;
    let issued = Certificate::read(&pair(dir.path(), "issued", &["issued.example"])).unwrap();
    certificates.set_issued(vec![Arc::new(issued)]);

    replace(&d, &pair(dir.path(), "next", &["d.example", "other.example"]));
    let summary = certificates.replace(&read(&[c, a, d]), None);
    let names = |name: &str| vec![name.to_owned()];
    let expected =
        Summary { added: names("c.example"), changed: names("d.example"), removed: names("b.example"), unchanged: 1 };
    assert_eq!(summary, expected);
    assert!(Arc::ptr_eq(&kept, &label(&certificates, "a.example").1), "what is the same is the same in memory");
    assert_eq!(label(&certificates, "unknown").0, "c.example", "the first of the file");
    assert_eq!(label(&certificates, "other.example").0, "d.example");
    assert_eq!(label(&certificates, "issued.example").0, "issued.example", "those of a CA stay");
    assert!(certificates.look().changed.is_empty(), "and nothing is read twice");
}
