//! Certificates from a CA, by a whole edge and pebble: ordered by either challenge, kept, renewed when asked to, and
//! shown again after a restart without another order.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;

use crate::harness::client::{PATIENCE, trusting};
use crate::harness::pebble::{EXTERNAL, FORBIDDEN, Manner, NOWHERE, Pebble};
use crate::harness::ports::free_addresses;
use crate::harness::process::{cfx_of, printed};
use crate::harness::trust::shown;
use crate::harness::{Client, Harness, Request};
use crate::reloading::{reload, rewrite, told};

/// An edge that orders from this CA, at the ports that the CA looks at.
fn edge(manner: Manner, issuer: impl Fn(&Pebble) -> String) -> (Pebble, Harness) {
    let [http, https, _] = free_addresses();
    let pebble = Pebble::start(http.port(), https.port(), manner);
    let acme = format!("acme: {}", issuer(&pebble));
    let edge = Harness::builder().tls(&acme).redirecting().listening(http, https).start();
    (pebble, edge)
}

/// The certificate that is shown for `name`, once it is one of this CA.
fn issued(edge: &Harness, pebble: &Pebble, name: &str) -> CertificateDer<'static> {
    let root = pebble.root();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = Client::tls_as(edge.https, name, Arc::new(trusting(&root, &[b"http/1.1"])));
        match client.shake_hands() {
            Ok(session) => return session.peer_certificates().expect("certificates")[0].clone().into_owned(),
            Err(error) => assert!(Instant::now() < deadline, "{name}: {error}\n{}", edge.process.log()),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn cert(edge: &Harness, arguments: &[&str]) -> String {
    let mut command = cfx_of(&edge.data());
    command.arg("cert").args(arguments).arg("--conf").arg(edge.conf()).arg("--data").arg(edge.data());
    printed(&command.output().expect("cfx starts"))
}

/// The files under the data folder's `acme`.
fn kept(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { kept(&path) } else { vec![path] }).collect()
}

#[test]
fn a_certificate_is_ordered_kept_and_shown_again_after_a_restart() {
    let (pebble, mut edge) = edge(Manner::default(), |pebble| pebble.issuer("one.test, two.test", "http-01"));
    let (one, two) = (issued(&edge, &pebble, "one.test"), issued(&edge, &pebble, "two.test"));
    assert!(one != two, "each has its own");
    assert!(shown(edge.https, "cfx.test") == edge.certificate, "those of files are left alone");
    assert!(shown(edge.https, "elsewhere.test") == edge.certificate, "and come first");
    let mut client = Client::tls_as(edge.https, "one.test", Arc::new(trusting(&pebble.root(), &[])));
    assert_eq!(client.ask(&Request::get("/").instead("Host", "two.test")).status, 421);

    edge.assert_metric("cfx_acme_orders_total", &["outcome=\"issued\""], 2.0);
    assert!(edge.metric("cfx_certificate_expiry_seconds", &["name=\"one.test\""]) > 0.0);
    let files = kept(&edge.data().join("acme"));
    assert_eq!(files.len(), 5, "an account, two certificates, and when to order again: {files:?}");
    for file in &files {
        let mode = std::fs::metadata(file).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }

    pebble.switch.kill();
    edge.restart();
    assert!(shown(edge.https, "one.test") == one && shown(edge.https, "two.test") == two, "from disk");
    let list = cert(&edge, &["list"]);
    assert!(list.contains("one.test") && list.contains("cfx.test.pem"), "{list}");

    pebble.switch.revive();
    let said = cert(&edge, &["renew", "one.test"]);
    assert!(said.contains("one.test"), "{said}");
    let deadline = Instant::now() + PATIENCE;
    while shown(edge.https, "one.test") == one {
        assert!(Instant::now() < deadline, "{}", edge.process.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(shown(edge.https, "two.test") == two, "nobody asked for that one");
    edge.assert_metric("cfx_acme_orders_total", &["outcome=\"issued\""], 1.0);
    let refused = cert(&edge, &["renew", "cfx.test"]);
    assert!(refused.contains("is not ordered from a CA"), "{refused}");

    let kept = files.iter().find(|file| file.ends_with("two.test.pem")).expect("a file");
    std::fs::write(kept, "nothing").expect("a file");
    let list = cert(&edge, &["list"]);
    assert!(list.contains("two.test.pem: no certificate in it"), "{list}");
}

/// What a start takes a reload takes, and what a start refuses it refuses.
#[test]
fn a_reload_turns_from_files_to_a_ca_and_not_to_nothing() {
    let [http, https, _] = free_addresses();
    let pebble = Pebble::start(http.port(), https.port(), Manner::default());
    let edge = told().listening(http, https).start();
    let files = {
        let conf = edge.conf();
        let conf = conf.display();
        format!("certificates: [{{ cert: \"{conf}/cfx.test.pem\", key: \"{conf}/cfx.test.key\" }}]")
    };
    let acme = format!("acme: {}", pebble.issuer("one.test", "tls-alpn-01"));
    rewrite(&edge, "cfx.yaml", &files, &acme);
    let answer = reload(&edge);
    assert_eq!((answer.status, &answer.json()["restart"]), (200, &serde_json::json!([])), "{answer}");
    let one = issued(&edge, &pebble, "one.test");
    assert!(shown(edge.https, "cfx.test") == one, "that of the file has gone");

    let line = format!("  {acme}\n");
    rewrite(&edge, "cfx.yaml", &line, "  min_version: \"1.2\"\n");
    let refused = reload(&edge);
    assert_eq!(refused.status, 422, "{refused}");
    assert!(refused.text().contains("no certificate is configured"), "{refused}");
    assert!(shown(edge.https, "one.test") == one);

    // The listener goes with the next start, and shows what it has until then.
    let https = format!("  https: {{ address: \"{}\", tls: true, http2: true }}\n", edge.https);
    rewrite(&edge, "cfx.yaml", &https, "");
    let answer = reload(&edge);
    assert_eq!((answer.status, &answer.json()["restart"][0]["path"]), (200, &"entrypoints.https".into()), "{answer}");
    assert!(shown(edge.https, "one.test") == one);
    edge.assert_metric("cfx_acme_failures", &["name=\"one.test\""], 0.0);
}

#[test]
fn over_tls_a_ca_looks_before_there_is_a_certificate_and_bad_names_hold_nobody_up() {
    let domains = format!("{NOWHERE}, {FORBIDDEN}, good.test");
    let (pebble, edge) = edge(Manner::default(), |pebble| pebble.issuer(&domains, "tls-alpn-01"));
    issued(&edge, &pebble, "good.test");
    edge.assert_metric("cfx_acme_failures", &[&format!("name=\"{NOWHERE}\"")], 1.0);
    edge.assert_metric("cfx_acme_failures", &[&format!("name=\"{FORBIDDEN}\"")], 1.0);
    edge.assert_metric("cfx_acme_orders_total", &["outcome=\"refused\""], 2.0);
    assert!(edge.metric("cfx_tls_handshakes_total", &["outcome=\"challenge\""]) >= 1.0);
    let meanwhile = shown(edge.https, NOWHERE);
    let (_, meanwhile) = x509_parser::parse_x509_certificate(&meanwhile).expect("a certificate");
    let names = meanwhile.subject_alternative_name().expect("names").expect("names");
    assert_eq!(names.value.general_names[0].to_string(), format!("DNSName({NOWHERE})"), "one of our own");
    let list = cert(&edge, &["list"]);
    assert!(list.contains("Failed to connect to 127.0.0.9"), "{list}");
    assert_eq!(edge.ask(&Request::get("/.well-known/acme-challenge/unknown")).status, 308, "no order waits for it");
}

/// From another CA's first answer on, its certificate; until then that of the one before, a restart in between included.
#[test]
fn who_turns_to_another_ca_shows_what_the_one_before_issued_until_there_is_another() {
    let [http, https, _] = free_addresses();
    let before = Pebble::start(http.port(), https.port(), Manner::default());
    let after = Pebble::start(http.port(), https.port(), Manner::default());
    let (from, to) = (before.issuer("one.test", "tls-alpn-01"), after.issuer("one.test", "tls-alpn-01"));
    let builder = told().tls(&format!("acme: {from}")).redirecting().listening(http, https);
    let mut edge = builder.start();
    let first = issued(&edge, &before, "one.test");

    after.switch.kill();
    rewrite(&edge, "cfx.yaml", &from, &to);
    let answer = reload(&edge);
    assert_eq!((answer.status, &answer.json()["restart"]), (200, &serde_json::json!([])), "{answer}");
    edge.assert_metric("cfx_acme_orders_total", &["outcome=\"unreachable\""], 1.0);
    assert!(shown(edge.https, "one.test") == first);
    edge.restart();
    assert!(shown(edge.https, "one.test") == first, "from the folder of the CA before");

    after.switch.revive();
    cert(&edge, &["renew", "one.test"]);
    let second = issued(&edge, &after, "one.test");
    assert!(second != first);
    let mut client = Client::tls_as(edge.https, "one.test", Arc::new(trusting(&after.root(), &[])));
    assert_eq!(client.ask(&Request::get("/health").instead("Host", "one.test")).status, 200);
}

#[test]
fn a_ca_that_wants_an_account_of_its_own_gets_one_bound_to_it() {
    let manner = Manner { wants_external: true, ..Manner::default() };
    let (pebble, edge) = edge(manner, |pebble| {
        let bound = format!("eab: {{ key_id: {}, hmac_key: {} }}", EXTERNAL.0, EXTERNAL.1);
        let without = pebble.issuer("unbound.test", "http-01");
        let with = pebble.issuer("bound.test", "http-01").replace(" }", &format!(", {bound} }}"));
        format!("[{without}, {with}]")
    });
    issued(&edge, &pebble, "bound.test");
    edge.assert_metric("cfx_acme_failures", &["name=\"unbound.test\""], 1.0);
    let list = cert(&edge, &["list"]);
    assert!(list.contains("externalAccountRequired"), "{list}");
    assert!(!edge.process.log().contains(EXTERNAL.1), "its key is in no log");
}
