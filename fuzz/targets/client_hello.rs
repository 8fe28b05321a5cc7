//! The first bytes of a TLS connection, behind one that says how they are cut. However that is, the same is said to them,
//! and nobody is let in on what was recorded of another; where the certificate is shown in the clear (TLS 1.2), it is the
//! one for the name asked for, and a CA's challenge is answered to who asks for nothing else.

use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use cfx::config::{Certificate, TlsVersion};
use cfx::entry::acme::Challenges;
use cfx::entry::certificates::Certificates;
use cfx::entry::connection::below_tls;
use cfx::entry::tls::{TlsDoor, TlsParts, TlsSettings};
use cfx::telemetry::metrics::Metrics;
use memchr::memmem;
use rcgen::{CertificateParams, KeyPair};
use rustls::server::Acceptor;

use super::wire::served;

/// The first is shown to who asks for no name, or for any other.
const NAMES: [&str; 3] = ["a.example", "*.b.example", "c.example"];
/// Which a CA is asked to look at.
const CHALLENGED: &str = "c.example";
const DIGEST: [u8; 32] = *b"the digest that a CA has told us";

struct Edge {
    door: TlsDoor,
    /// In the order of the names.
    certificates: Vec<Vec<u8>>,
}

static EDGE: LazyLock<Edge> = LazyLock::new(|| {
    let made = NAMES.map(|name| {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new([name.to_owned()]).and_then(|params| params.self_signed(&key));
        let certificate = certificate.expect("a certificate");
        let pem = [certificate.pem(), key.serialize_pem()].concat();
        let read = Certificate::of_pem(Path::new(name), pem.as_bytes()).expect("a certificate that can be read");
        (Arc::new(read), certificate.der().to_vec())
    });
    let (read, certificates) = made.into_iter().unzip();
    let shown = Certificates::new(&[], read);
    let challenges = Arc::<Challenges>::default();
    // For good: nobody takes it back.
    std::mem::forget(challenges.post_tls(CHALLENGED, &DIGEST).expect("a challenge"));
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let parts = TlsParts { certificates: Arc::new(shown), challenges, metrics };
    let settings = TlsSettings { http2: true, min_version: TlsVersion::V1_2, client_certificates: None };
    Edge { door: TlsDoor::new(parts, settings).expect("a door"), certificates }
});

pub fn target(bytes: &[u8]) {
    let Some((how, sent)) = bytes.split_first() else { return };
    let piece = (usize::from(*how) + 1).max(sent.len() / 64);
    let (whole, cut) = (said_to(sent, sent.len().max(1)), said_to(sent, piece));
    assert_eq!(records(&whole), records(&cut), "in pieces of {piece} bytes");
    for said in [whole, cut] {
        if records(&said).contains(&Record::Handshake(CERTIFICATE)) {
            let has = |bytes: &[u8]| memmem::find(&said, bytes).is_some();
            let shown: Vec<_> = EDGE.certificates.iter().map(|certificate| has(certificate)).collect();
            let wanted = wanted(sent);
            assert_eq!(shown, NAMES.map(|name| wanted == Some(name)), "another certificate than for {wanted:?}");
            assert_eq!(has(&DIGEST), wanted.is_none(), "a challenge");
        }
    }
}

/// All that is written to a client who says this, before the end of a handshake that never comes.
fn said_to(sent: &[u8], piece: usize) -> Vec<u8> {
    let (greeted, said) = served(sent, piece, async |stream| {
        let greeted = EDGE.door.greet(below_tls(stream)).await?;
        io::Result::Ok(greeted.is_some())
    });
    assert!(greeted.is_err(), "somebody was let in on another's words");
    said
}

/// The name that the certificate shown is to have. None: the challenge's.
fn wanted(sent: &[u8]) -> Option<&'static str> {
    let (mut acceptor, mut left) = (Acceptor::default(), sent);
    let hello = loop {
        acceptor.read_tls(&mut left).expect("bytes");
        match acceptor.accept() {
            Ok(Some(hello)) => break hello,
            Ok(None) => assert!(!left.is_empty(), "no hello was answered"),
            Err((error, _)) => panic!("{error}: what is no hello was answered"),
        }
    };
    let hello = hello.client_hello();
    let name = hello.server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).unwrap_or_default();
    let offered: Vec<_> = hello.alpn().into_iter().flatten().collect();
    if name == CHALLENGED && offered == [b"acme-tls/1"] {
        return None;
    }
    let under_b = name.strip_suffix(".b.example").is_some_and(|label| !label.contains('.'));
    Some(if name == "c.example" {
        NAMES[2]
    } else if under_b {
        NAMES[1]
    } else {
        NAMES[0]
    })
}

/// Of the handshake, before it is encrypted.
const CERTIFICATE: u8 = 11;

#[derive(Debug, PartialEq, Eq)]
enum Record {
    Handshake(u8),
    Alert(Vec<u8>),
    Other(u8),
}

/// What was written, as far as it is the same each time.
fn records(said: &[u8]) -> Vec<Record> {
    let (mut records, mut rest) = (Vec::new(), said);
    while let Some((&[kind, _, _, high, low], behind)) = rest.split_first_chunk::<5>() {
        let length = usize::from(high) << 8 | usize::from(low);
        let (record, behind) = behind.split_at_checked(length).expect("a whole record");
        rest = behind;
        match kind {
            21 => records.push(Record::Alert(record.to_vec())),
            22 => messages(record, &mut records),
            _ => records.push(Record::Other(kind)),
        }
    }
    records
}

fn messages(mut record: &[u8], records: &mut Vec<Record>) {
    while let Some((&[kind, a, b, c], behind)) = record.split_first_chunk::<4>() {
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        records.push(Record::Handshake(kind));
        record = behind.get(length..).unwrap_or_default();
    }
}
