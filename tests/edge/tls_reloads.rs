//! How TLS is spoken, and with whom, changed under a running edge: from the next handshake on, and for nobody who is in.

use std::path::Path;
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use serde_json::json;

use crate::harness::builder::certificate_for;
use crate::harness::trust::{shown, trusting_anybody};
use crate::harness::{Answer, Client, Harness, Request};
use crate::reloading::{SUCCESS, reload, rewrite, told};
use crate::tls::{SERVED, attempt, clients};

fn connect(edge: &Harness, config: &ClientConfig) -> Client {
    Client::tls_as(edge.https, "cfx.test", Arc::new(config.clone()))
}

fn health(client: &mut Client) -> u16 {
    client.ask(&Request::get("/health").instead("Host", "cfx.test")).status
}

/// How the handshake of one more connection went, on which a request was answered.
fn kind(edge: &Harness, config: &ClientConfig) -> HandshakeKind {
    let mut client = connect(edge, config);
    assert_eq!(health(&mut client), 200);
    client.shake_hands().expect("a session").handshake_kind().expect("a handshake")
}

/// What a reload changed, where nothing of it was put off.
fn changed(answer: &Answer) -> Vec<String> {
    let said = answer.json();
    assert_eq!((answer.status, &said["restart"]), (200, &json!([])), "{answer}");
    let changes = said["changed"].as_array().expect("a list").clone();
    changes.iter().map(|change| change["path"].as_str().expect("a path").to_string()).collect()
}

#[test]
fn the_oldest_version_changes_for_who_comes_and_not_for_who_is_there() {
    let edge = told().tls("min_version: \"1.2\"").start();
    let (old, new) = (trusting_anybody(&[&TLS12]), trusting_anybody(&[&TLS13]));
    let mut open = connect(&edge, &old);
    assert_eq!(health(&mut open), 200);
    assert_eq!([kind(&edge, &new), kind(&edge, &new)], [HandshakeKind::Full, HandshakeKind::Resumed]);

    rewrite(&edge, "models.yaml", "input: 1.00", "input: 1.50");
    assert_eq!(reload(&edge).status, 200);
    assert_eq!(kind(&edge, &new), HandshakeKind::Resumed, "a reload of something else ends no session");

    rewrite(&edge, "cfx.yaml", "min_version: \"1.2\"", "min_version: \"1.3\"");
    assert_eq!(changed(&reload(&edge)), ["tls.min_version"]);
    assert_eq!(health(&mut open), 200);
    assert!(connect(&edge, &old).shake_hands().is_err(), "1.2 is not spoken any more");
    assert_eq!(kind(&edge, &new), HandshakeKind::Full);

    rewrite(&edge, "cfx.yaml", "min_version: \"1.3\"", "min_version: \"1.2\"");
    assert_eq!(changed(&reload(&edge)), ["tls.min_version"]);
    assert_eq!(kind(&edge, &old), HandshakeKind::Full, "nor do sessions of two ways ago come back");
}

#[test]
fn whether_http_2_is_offered_changes_for_who_comes() {
    let edge = told().start();
    let chosen = || {
        let mut client = Client::over(edge.https, &edge.certificate, &[b"h2", b"http/1.1"]);
        client.shake_hands().expect("a session").alpn_protocol().map(<[u8]>::to_vec)
    };
    assert_eq!(chosen().as_deref(), Some(&b"h2"[..]));
    rewrite(&edge, "cfx.yaml", "http2: true", "http2: false");
    assert_eq!(changed(&reload(&edge)), ["entrypoints.https.http2"]);
    assert_eq!(chosen().as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(edge.tls_client().ask(&Request::get("/health")).status, 200);
}

/// Who is resumed is not asked for a certificate again: a session must not outlive the CAs that it was let in by.
#[test]
fn who_is_trusted_no_more_does_not_come_in_by_a_session_of_before() {
    for versions in [&[&TLS13], &[&TLS12]] {
        let clients = clients(versions);
        let edge = told().https(&clients.asked(true)).start();
        let mut open = connect(&edge, &clients.known);
        assert_eq!(health(&mut open), 200);
        assert_eq!(kind(&edge, &clients.known), HandshakeKind::Resumed);
        assert_eq!(attempt(&edge, &clients.stranger, "/"), None);

        // The name stays: it is what the file holds that is another.
        std::fs::write(clients.file(), &clients.other_ca).expect("a file");
        assert_eq!(changed(&reload(&edge)), ["entrypoints.https.client_certificates.sha256[0]"]);
        assert_eq!(attempt(&edge, &clients.known, "/"), None, "with a ticket of before");
        assert_eq!(attempt(&edge, &clients.known, "/"), None, "without one");
        assert_eq!(attempt(&edge, &clients.stranger, "/"), Some(SERVED));
        assert_eq!(health(&mut open), 200, "connections go on as they began");
    }
}

#[test]
fn who_came_in_without_a_certificate_does_not_come_back_once_one_is_required() {
    let clients = clients(&[&TLS13]);
    let edge = told().https(&clients.asked(false)).start();
    let anybody = trusting_anybody(&[&TLS13]);
    assert_eq!([kind(&edge, &anybody), kind(&edge, &anybody)], [HandshakeKind::Full, HandshakeKind::Resumed]);
    rewrite(&edge, "cfx.yaml", "required: false", "required: true");
    assert_eq!(changed(&reload(&edge)), ["entrypoints.https.client_certificates.required"]);
    assert_eq!(attempt(&edge, &anybody, "/health"), None);
    assert_eq!(attempt(&edge, &clients.known, "/health"), Some(200));
    rewrite(&edge, "cfx.yaml", &format!(", {}", clients.asked(true)), "");
    assert_eq!(changed(&reload(&edge)), ["entrypoints.https.client_certificates"]);
    assert_eq!(attempt(&edge, &anybody, "/health"), Some(200), "nobody is asked any more");
}

/// A new port takes a restart. Whom to ask for a certificate is not to wait for it.
#[test]
fn a_listener_that_is_to_move_is_strict_at_once() {
    let clients = clients(&[&TLS13]);
    let edge = told().https(&clients.asked(false)).start();
    rewrite(&edge, "cfx.yaml", "required: false", "required: true");
    rewrite(&edge, "cfx.yaml", &edge.https.to_string(), "127.0.0.1:9");
    let said = reload(&edge).json();
    assert_eq!(said["changed"][0]["path"], "entrypoints.https.client_certificates.required", "{said}");
    assert_eq!(said["restart"][0]["path"], "entrypoints.https.address", "{said}");
    assert_eq!(attempt(&edge, &trusting_anybody(&[&TLS13]), "/health"), None);
    assert_eq!(attempt(&edge, &clients.known, "/health"), Some(200));
}

#[test]
fn cas_that_cannot_be_read_are_told_with_their_place_and_those_of_before_stay() {
    let clients = clients(&[&TLS13]);
    let edge = told().https(&clients.asked(true)).start();
    std::fs::write(clients.file(), "nothing").expect("a file");
    let refused = reload(&edge);
    assert_eq!(refused.status, 422, "{refused}");
    let problem = &refused.json()["problems"][0];
    assert_eq!(problem["path"], "entrypoints.https.client_certificates.ca", "{refused}");
    assert!(problem["line"].is_u64() && problem["column"].is_u64(), "{refused}");
    assert_eq!(attempt(&edge, &clients.known, "/health"), Some(200));
    assert_eq!(attempt(&edge, &clients.stranger, "/health"), None);
}

#[test]
fn a_pair_that_is_broken_refuses_the_reload_at_its_line_and_the_last_good_one_is_shown() {
    let edge = told().certificate(&["other.test"]).start();
    let good = shown(edge.https, "other.test");
    let beside = tempfile::tempdir().expect("a folder");
    certificate_for(beside.path(), &["other.test".to_string()]);
    let copy = |file: &str| std::fs::copy(beside.path().join(file), edge.conf().join(file)).expect("a file");
    copy("other.test.pem"); // with another's key
    rewrite(&edge, "models.yaml", "upstream_model: upstream-smart", "upstream_model: upstream-other");
    let refused = reload(&edge);
    assert_eq!(refused.status, 422, "{refused}");
    let said = refused.json();
    assert_eq!(said["problems"].as_array().map(Vec::len), Some(1), "it is told once: {refused}");
    let problem = &said["problems"][0];
    assert_eq!(problem["path"], "tls.certificates[1].key", "{refused}");
    assert_eq!(problem["line"], 7, "{refused}");
    assert!(problem["message"].as_str().is_some_and(|text| text.contains("other.test.key: does not belong to")));
    assert!(shown(edge.https, "other.test") == good);
    assert_eq!(edge.chat().status, 200);
    assert_eq!(edge.upstream.last().json()["model"], "upstream-smart", "and nothing else is taken");

    copy("other.test.key");
    assert_eq!(reload(&edge).json()["certificates"], json!(["other.test"]));
    assert!(shown(edge.https, "other.test") != good);
}

/// A pair for `name` that is good in these years alone, in place of what is there.
fn write_good_in(years: [i32; 2], folder: &Path, name: &str) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(vec![name.to_string()]).expect("a name");
    parameters.not_before = rcgen::date_time_ymd(years[0], 1, 1);
    parameters.not_after = rcgen::date_time_ymd(years[1], 1, 1);
    let made = parameters.self_signed(&key).expect("a certificate");
    std::fs::write(folder.join(format!("{name}.pem")), made.pem()).expect("a file");
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
}

/// To refuse it would hold up the very change that mends something.
#[test]
fn a_certificate_that_has_expired_is_told_of_by_all_and_holds_up_nothing() {
    let mut edge = told().certificate(&["old.test"]).start();
    write_good_in([2019, 2020], &edge.conf(), "old.test");
    rewrite(&edge, "models.yaml", "upstream_model: upstream-smart", "upstream_model: upstream-other");
    let answer = reload(&edge);
    let said = answer.json();
    assert_eq!((answer.status, &said["certificates"]), (200, &json!(["old.test"])), "{answer}");
    let warning = &said["warnings"][0];
    assert_eq!((&warning["path"], &warning["line"]), (&json!("tls.certificates[1].cert"), &json!(7)), "{answer}");
    assert!(warning["message"].as_str().is_some_and(|text| text.contains("old.test.pem expired at 2020-01-01")));
    assert_eq!(edge.chat().status, 200);
    assert_eq!(edge.upstream.last().json()["model"], "upstream-other");
    edge.assert_metric(SUCCESS, &[], 1.0);
    edge.assert_metric("cfx_certificate_expiry_seconds", &["name=\"old.test\""], 1_577_836_800.0);
    let line = edge.process.wait_for_line("a certificate is served that no client takes").expect("the log says so");
    assert!(line.contains("cfx.yaml:7:") && line.contains("old.test.pem"), "{line}");
    let health = |https, name| Client::tls_as(https, name, Arc::new(trusting_anybody(&[&TLS13]))).shake_hands().is_ok();
    assert!(health(edge.https, "old.test") && health(edge.https, "cfx.test"));
    assert_eq!(reload(&edge).json()["warnings"].as_array().map(Vec::len), Some(1), "for as long as it is so");

    edge.restart();
    assert!(edge.process.log().contains("a certificate is served that no client takes"), "and so at a start");
    assert_eq!(edge.chat().status, 200);
    write_good_in([2150, 2160], &edge.conf(), "old.test");
    let early = reload(&edge).json()["warnings"][0]["message"].clone();
    assert!(early.as_str().is_some_and(|text| text.contains("old.test.pem is not valid before 2150-01-01")), "{early}");
    assert!(health(edge.https, "old.test"), "and is served all the same");
    certificate_for(&edge.conf(), &["old.test".to_string()]);
    assert_eq!(reload(&edge).json()["warnings"], json!([]));
}

/// Whether what speaks TLS finds something to show, whichever of the two the operator turns to.
#[test]
fn without_any_certificate_a_reload_is_refused() {
    let edge = told().start();
    let pair = format!("{{ cert: \"{0}/cfx.test.pem\", key: \"{0}/cfx.test.key\" }}", edge.conf().display());
    rewrite(&edge, "cfx.yaml", &pair, "");
    let refused = reload(&edge);
    assert_eq!(refused.status, 422, "{refused}");
    assert!(refused.text().contains("no certificate is configured"), "{refused}");
    assert!(shown(edge.https, "cfx.test") == edge.certificate);
}
