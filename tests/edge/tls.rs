//! TLS as clients meet it: which certificate they are shown, that they can come back without a whole handshake, what is
//! spoken, who is asked for a certificate, and that nobody is answered over another host's connection.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::{Resumption, Tls12Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, SupportedProtocolVersion};

use crate::harness::trust::{shown, trusting_anybody};
use crate::harness::{Answer, Client, Harness, Request, ordinary};

/// What the web application behind `/` says of every path.
pub const SERVED: u16 = 404;

fn certificate(edge: &Harness, stem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(edge.conf().join(format!("{stem}.pem"))).expect("a certificate")
}

/// A GET of `/health`, which is answered by cfx itself, or of another path, for this host over this connection.
fn get(client: &mut Client, path: &str, host: &str) -> Answer {
    client.ask(&Request::get(path).instead("Host", host))
}

fn connect(edge: &Harness, name: &str) -> Client {
    Client::tls_as(edge.https, name, Arc::new(trusting_anybody(rustls::ALL_VERSIONS)))
}

#[test]
fn each_name_is_shown_its_certificate_and_any_other_the_first() {
    let edge = Harness::builder().certificate(&["*.wild.test"]).certificate(&["own.wild.test", "two.test"]).start();
    for (name, stem) in [
        ("cfx.test", "cfx.test"),
        ("a.wild.test", "any.wild.test"),
        ("A.Wild.Test", "any.wild.test"),
        ("own.wild.test", "own.wild.test"),
        ("two.test", "own.wild.test"),
        ("a.b.wild.test", "cfx.test"),
        ("wild.test", "cfx.test"),
        ("elsewhere.test", "cfx.test"),
        ("127.0.0.1", "cfx.test"), // for an address nobody is asked for
    ] {
        assert!(shown(edge.https, name) == certificate(&edge, stem), "{name} is shown {stem}");
    }
}

/// How this many handshakes in a row went, each with a request, so that what the server sends behind one is read.
fn handshakes(edge: &Harness, config: ClientConfig, count: usize) -> Vec<HandshakeKind> {
    let config = Arc::new(config);
    let mut seen = Vec::new();
    for _ in 0..count {
        let mut client = Client::tls_as(edge.https, "cfx.test", Arc::clone(&config));
        assert_eq!(get(&mut client, "/health", "cfx.test").status, 200);
        seen.push(client.shake_hands().expect("a session").handshake_kind().expect("a handshake"));
    }
    seen
}

#[test]
fn who_comes_back_is_spared_the_whole_handshake() {
    let edge = Harness::start();
    let mut by_number = trusting_anybody(&[&TLS12]);
    by_number.resumption = Resumption::in_memory_sessions(8).tls12_resumption(Tls12Resumption::SessionIdOnly);
    let (full, resumed) = (HandshakeKind::Full, HandshakeKind::Resumed);
    for (how, config) in [
        ("1.3 by ticket", trusting_anybody(&[&TLS13])),
        ("1.2 by ticket", trusting_anybody(&[&TLS12])),
        ("1.2 by number", by_number),
    ] {
        assert_eq!(handshakes(&edge, config, 3), [full, resumed, resumed], "{how}");
    }
    edge.assert_metric("cfx_tls_handshakes_total", &["outcome=\"full\""], 3.0);
    edge.assert_metric("cfx_tls_handshakes_total", &["outcome=\"resumed\""], 6.0);
}

/// Keys of tickets never leave a process. Whoever comes with a ticket of the one before is not turned away for it.
#[test]
fn a_ticket_of_before_a_restart_is_as_good_as_none() {
    let mut edge = Harness::start();
    let (full, resumed) = (HandshakeKind::Full, HandshakeKind::Resumed);
    for version in [&TLS13, &TLS12] {
        let config = trusting_anybody(&[version]);
        assert_eq!(handshakes(&edge, config.clone(), 2), [full, resumed]);
        edge.restart();
        assert_eq!(handshakes(&edge, config, 2), [full, resumed], "behind a restart, {version:?}");
        edge.assert_metric("cfx_tls_handshakes_total", &["outcome=\"failed\""], 0.0);
    }
}

/// What is sent before the handshake's end can be sent again by whoever recorded it.
#[test]
fn no_ticket_lets_a_client_send_before_the_handshake_is_over() {
    let edge = Harness::start();
    let mut config = trusting_anybody(&[&TLS13]);
    config.enable_early_data = true;
    let config = Arc::new(config);
    for _ in 0..2 {
        let mut client = Client::tls_as(edge.https, "cfx.test", Arc::clone(&config));
        assert!(!client.offers_early_data(), "no ticket says that it may");
        assert_eq!(get(&mut client, "/health", "cfx.test").status, 200);
    }
}

#[test]
fn the_oldest_version_that_is_spoken_is_the_operators_to_say() {
    let usual = Harness::start();
    let strict = Harness::builder().tls("min_version: \"1.3\"").start();
    let version = |edge: &Harness, config: ClientConfig| {
        let mut client = Client::tls_as(edge.https, "cfx.test", Arc::new(config));
        client.shake_hands().map(|session| session.protocol_version().expect("a version"))
    };
    assert_eq!(version(&usual, trusting_anybody(&[&TLS12])).expect("1.2"), ProtocolVersion::TLSv1_2);
    assert_eq!(version(&usual, trusting_anybody(rustls::ALL_VERSIONS)).expect("1.3"), ProtocolVersion::TLSv1_3);
    assert_eq!(version(&strict, trusting_anybody(&[&TLS13])).expect("1.3"), ProtocolVersion::TLSv1_3);
    let refused = version(&strict, trusting_anybody(&[&TLS12])).expect_err("1.2 is too old");
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
    strict.assert_metric("cfx_tls_handshakes_total", &["outcome=\"failed\""], 1.0);
}

#[test]
fn nobody_is_answered_over_a_connection_that_was_opened_for_another_host() {
    let edge = Harness::builder().certificate(&["*.wild.test"]).certificate(&["own.wild.test", "two.test"]).start();
    for (name, host, expected) in [
        ("cfx.test", "cfx.test", SERVED),
        ("cfx.test", "CFX.test:8443", SERVED),
        ("cfx.test", "two.test", 421),
        ("own.wild.test", "two.test", SERVED),    // one certificate for both
        ("a.wild.test", "b.wild.test", SERVED),   // likewise
        ("a.wild.test", "own.wild.test", SERVED), // it has one of its own, but what was shown is good for it
        ("own.wild.test", "a.wild.test", 421),
        ("cfx.test", "elsewhere.test", SERVED), // would have been shown the same
        ("two.test", "elsewhere.test", 421),
        ("elsewhere.test", "two.test", 421),
        ("127.0.0.1", "two.test", SERVED), // who asks for no name is believed
    ] {
        let answer = get(&mut connect(&edge, name), "/", host);
        assert_eq!(answer.status, expected, "opened for {name}, asked for {host}: {answer}");
        if expected == 421 {
            assert_eq!(answer.code(), "misdirected_request");
        }
    }
    let mut client = connect(&edge, "cfx.test");
    assert_eq!(get(&mut client, "/", "two.test").status, 421);
    assert_eq!(get(&mut client, "/", "cfx.test").status, SERVED, "the connection itself is sound");
    assert_eq!(get(&mut edge.client(), "/", "two.test").status, SERVED, "without TLS nothing was promised");
    edge.assert_metric("cfx_refusals_total", &["reason=\"misdirected_request\""], 5.0);
}

#[test]
fn a_proxy_of_ours_may_connect_by_whatever_name() {
    let builder = Harness::builder().certificate(&["two.test"]).edge("trusted_proxies: [127.0.0.1]");
    let edge = builder.start();
    assert_eq!(get(&mut connect(&edge, "cfx.test"), "/", "two.test").status, SERVED);
}

#[test]
fn over_http_2_one_misdirected_stream_does_no_harm_to_the_others() {
    let edge = Harness::builder().certificate(&["two.test"]).start();
    let statuses = ordinary::bounded(async {
        let mut sender = ordinary::http2_connection(&edge, 1 << 16).await;
        let mut statuses = Vec::new();
        for host in ["cfx.test", "two.test", "cfx.test"] {
            let request = http::Request::get(format!("https://{host}/")).body(()).expect("a request");
            sender = sender.ready().await.expect("HTTP/2");
            let (response, _) = sender.send_request(request, true).expect("a stream");
            statuses.push(response.await.expect("an answer").status().as_u16());
        }
        statuses
    });
    assert_eq!(statuses, [SERVED, 421, SERVED]);
}

/// A CA for clients, written where the configuration names it, and a client with a certificate of it, or of another.
pub struct Clients {
    folder: tempfile::TempDir,
    pub known: ClientConfig,
    pub stranger: ClientConfig,
    /// The other's CA, PEM.
    pub other_ca: String,
}

pub fn clients(versions: &[&'static SupportedProtocolVersion]) -> Clients {
    let folder = tempfile::tempdir().expect("a folder");
    let client = |ca: &rcgen::CertifiedIssuer<'_, rcgen::KeyPair>| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["agent.test".to_string()]).expect("a name");
        let shown = params.signed_by(&key, ca).expect("a certificate").der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut anybody = trusting_anybody(versions);
        let resolver = rustls::sign::CertifiedKey::from_der(vec![shown], key, &provider).expect("a pair");
        let shown: Arc<dyn rustls::client::ResolvesClientCert> =
            Arc::new(rustls::sign::SingleCertAndKey::from(resolver));
        anybody.client_auth_cert_resolver = shown;
        anybody
    };
    let ca = || {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no name");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        rcgen::CertifiedIssuer::self_signed(params, key).expect("a CA")
    };
    let (ours, other) = (ca(), ca());
    std::fs::write(folder.path().join("clients.pem"), ours.pem()).expect("a file");
    Clients { known: client(&ours), stranger: client(&other), other_ca: other.pem(), folder }
}

impl Clients {
    /// Where the CA's certificate stands.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("clients.pem")
    }

    pub fn asked(&self, required: bool) -> String {
        format!("client_certificates: {{ ca: \"{}\", required: {required} }}", self.file().display())
    }
}

/// What comes of a request, where a connection comes of it at all.
pub fn attempt(edge: &Harness, config: &ClientConfig, path: &str) -> Option<u16> {
    let mut client = Client::tls_as(edge.https, "cfx.test", Arc::new(config.clone()));
    client.shake_hands().ok()?;
    client.send(&Request::get(path).bytes());
    // With TLS 1.3 the client is through before the server has looked at what it shows.
    client.answer_if_any().map(|answer| answer.status)
}

#[test]
fn where_certificates_are_required_of_clients_nobody_comes_in_without() {
    let clients = clients(rustls::ALL_VERSIONS);
    let edge = Harness::builder().https(&clients.asked(true)).start();
    assert_eq!(attempt(&edge, &clients.known, "/"), Some(SERVED));
    assert_eq!(attempt(&edge, &clients.known, "/"), Some(SERVED), "resumed");
    assert_eq!(attempt(&edge, &clients.stranger, "/"), None);
    assert_eq!(attempt(&edge, &trusting_anybody(rustls::ALL_VERSIONS), "/"), None);
    assert_eq!(edge.web.count(), 2);
}

#[test]
fn a_route_may_ask_for_a_certificate_that_the_others_do_not() {
    let clients = clients(rustls::ALL_VERSIONS);
    let route = "match: { path: /inside/ }, client_certificate: required, upstream: web";
    let edge = Harness::builder().https(&clients.asked(false)).route(route).start();
    let anybody = trusting_anybody(rustls::ALL_VERSIONS);
    assert_eq!(attempt(&edge, &anybody, "/"), Some(SERVED));
    assert_eq!(attempt(&edge, &anybody, "/inside/x"), Some(403));
    assert_eq!(attempt(&edge, &clients.known, "/inside/x"), Some(SERVED));
    assert_eq!(attempt(&edge, &clients.stranger, "/"), None, "one that is shown must be sound");
    assert_eq!(edge.ask(&Request::get("/inside/x")).status, 403, "over plain HTTP nobody shows any");
    assert_eq!(edge.web.count(), 2);
}
