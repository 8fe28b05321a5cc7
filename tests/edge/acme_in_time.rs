//! Certificates from a CA as weeks go by: a clock that moves when told to, real orders at pebble, and a client that
//! looks at what it is shown at each step. Doors, challenges and disk are those of an edge; only what stands behind the
//! doors is not there.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cfx::clock::{Clock, ManualClock};
use cfx::config::{Challenge, Issuer, TlsVersion};
use cfx::entry::acme::{Acme, AcmeParts, Book, Challenges};
use cfx::entry::certificates::Certificates;
use cfx::entry::connection::below_tls;
use cfx::entry::tls::{TlsDoor, TlsParts, TlsSettings};
use cfx::telemetry::metrics::Metrics;
use cfx::units::Timestamp;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::Client;
use crate::harness::client::trusting;
use crate::harness::pebble::{Manner, NOWHERE, Pebble};
use crate::harness::ports::free_addresses;
use crate::harness::trust::shown;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);

/// What orders certificates, and the two doors that a CA looks at.
struct Rig {
    pebble: Pebble,
    clock: Arc<ManualClock>,
    runtime: tokio::runtime::Runtime,
    acme: Arc<Acme>,
    metrics: Arc<Metrics>,
    https: SocketAddr,
    data: tempfile::TempDir,
}

fn issuer(pebble: &Pebble, domains: &[&str], challenge: Challenge) -> Issuer {
    Issuer {
        directory: pebble.directory(),
        email: None,
        domains: domains.iter().map(|domain| domain.to_string()).collect(),
        challenge,
        external_account: None,
        trust: Some(pebble.trust()),
    }
}

impl Rig {
    fn start(domains: &[&str], challenge: Challenge, manner: Manner) -> Self {
        let [http, https, _] = free_addresses();
        let pebble = Pebble::start(http.port(), https.port(), manner);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let clock = Arc::new(ManualClock::at(Timestamp(since.as_micros().try_into().expect("a date"))));
        let data = tempfile::tempdir().expect("a folder");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let (acme, certificates, challenges) =
            acme(data.path(), &[issuer(&pebble, domains, challenge)], &clock, &metrics);
        let settings = TlsSettings { http2: true, min_version: TlsVersion::V1_2, client_certificates: None };
        let parts = TlsParts { certificates, challenges: Arc::clone(&challenges), metrics: Arc::clone(&metrics) };
        let door = Arc::new(TlsDoor::new(parts, settings).expect("TLS"));
        runtime.block_on(async {
            tokio::spawn(serve_tls(TcpListener::bind(https).await.expect("a port"), door));
            tokio::spawn(serve_http(TcpListener::bind(http).await.expect("a port"), challenges));
        });
        Self { pebble, clock, runtime, acme, metrics, https, data }
    }

    /// Orders what is due now, to its end.
    fn look(&self) {
        self.runtime.block_on(self.acme.once());
    }

    fn reload(&self, issuer: Issuer) {
        let next = self.acme.prepare(&[issuer]).expect("another configuration");
        self.acme.adopt(next, &[]);
    }

    fn shown(&self, name: &str) -> CertificateDer<'static> {
        shown(self.https, name)
    }

    /// Whether who trusts the CA and nobody else takes what is shown.
    fn trusts(&self, name: &str) -> bool {
        let config = Arc::new(trusting(&self.pebble.root(), &[]));
        Client::tls_as(self.https, name, config).shake_hands().is_ok()
    }

    fn failures(&self, name: &str) -> u32 {
        let book = self.acme.book();
        book.domains().iter().find(|domain| domain.name == name).expect("a domain").standing().failures
    }

    /// Orders that ended so, in all.
    fn orders(&self, outcome: &str) -> u64 {
        let text = self.metrics.render();
        let line = format!("cfx_acme_orders_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
    }
}

pub fn acme(
    data: &Path,
    issuers: &[Issuer],
    clock: &Arc<ManualClock>,
    metrics: &Arc<Metrics>,
) -> (Arc<Acme>, Arc<Certificates>, Arc<Challenges>) {
    let book = Book::open(data, issuers, &Book::default(), clock.now());
    let certificates = Arc::new(Certificates::new(&[], book.shown()));
    let challenges = Arc::new(Challenges::default());
    let parts = AcmeParts {
        data: data.to_owned(),
        certificates: Arc::clone(&certificates),
        challenges: Arc::clone(&challenges),
        clock: Arc::clone(clock) as _,
        metrics: Arc::clone(metrics),
    };
    (Arc::new(Acme::new(parts, book)), certificates, challenges)
}

async fn serve_tls(listener: TcpListener, door: Arc<TlsDoor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let door = Arc::clone(&door);
        tokio::spawn(async move {
            if let Ok(Some((mut stream, _))) = door.greet(below_tls(stream)).await {
                let _ = stream.read(&mut [0; 1]).await; // until the client has seen enough
            }
        });
    }
}

async fn serve_http(listener: TcpListener, challenges: Arc<Challenges>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let answer = answer(&mut stream, &challenges).await.unwrap_or_default();
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", answer.len());
        let _ = stream.write_all([head, answer].concat().as_bytes()).await;
    }
}

async fn answer(stream: &mut TcpStream, challenges: &Challenges) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    challenges.http(String::from_utf8_lossy(&head).split(' ').nth(1)?)
}

#[test]
fn renewed_at_two_thirds_and_not_before_and_a_failing_name_waits_alone() {
    let rig = Rig::start(&["good.test", NOWHERE], Challenge::Http01, Manner::default());
    assert!(!rig.trusts("good.test"), "one of our own, until there is another");
    rig.look();
    let first = rig.shown("good.test");
    assert!(rig.trusts("good.test"));
    assert!(!rig.trusts(NOWHERE));
    assert_eq!((rig.failures("good.test"), rig.failures(NOWHERE)), (0, 1));

    rig.look();
    assert_eq!((rig.orders("issued"), rig.orders("refused")), (1, 1), "nothing is due yet");
    rig.clock.advance(Duration::from_secs(11 * 60 + 1)); // ten minutes, and a tenth at most
    rig.look();
    assert_eq!((rig.orders("issued"), rig.orders("refused")), (1, 2), "the one that failed is tried again");
    rig.clock.advance(11 * Duration::from_secs(60));
    rig.look();
    assert_eq!(rig.orders("refused"), 2, "now it waits for twice as long");

    rig.clock.advance(59 * DAY); // of ninety
    rig.look();
    assert!(rig.shown("good.test") == first, "before two thirds");
    rig.clock.advance(4 * DAY);
    rig.look();
    let second = rig.shown("good.test");
    assert!(second != first && rig.trusts("good.test"), "behind two thirds and a thirtieth");
    assert_eq!(rig.orders("issued"), 2);
    rig.look();
    assert_eq!(rig.orders("issued"), 2, "once is enough, though this CA dates it by another clock");
}

#[test]
fn while_the_ca_is_away_what_there_is_is_shown_and_after_a_restart_too() {
    let rig = Rig::start(&["good.test"], Challenge::TlsAlpn01, Manner::default());
    rig.look();
    let first = rig.shown("good.test");
    assert!(rig.trusts("good.test"));
    rig.clock.advance(64 * DAY);
    rig.pebble.switch.kill();
    for _ in 0..60 {
        rig.look();
        assert!(rig.shown("good.test") == first, "expired or not, there is no better one");
        rig.clock.advance(HOUR / 60);
    }
    let (tried, failures) = (rig.orders("unreachable"), rig.failures("good.test"));
    assert!((5..=6).contains(&tried), "after 1, 2, 4, 8, 16 and 32 minutes, and not each minute: {tried}");
    assert_eq!(u64::from(failures), tried);

    let again = issuer(&rig.pebble, &["good.test"], Challenge::TlsAlpn01);
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let (restarted, certificates, _) = acme(rig.data.path(), std::slice::from_ref(&again), &rig.clock, &metrics);
    let table = certificates.table();
    assert_eq!(table.all()[0].label(), "good.test");
    let standing = restarted.book().domains()[0].standing();
    assert_eq!((standing.failures, standing.certificate.is_some()), (failures, true), "a restart forgets nothing");
    assert!(standing.due.0 > rig.clock.now().0, "and asks no sooner");
    let gauge = |name: &str| format!("cfx_acme_failures{{name=\"{name}\"}} ");
    assert!(metrics.render().contains(&format!("{}{failures}\n", gauge("good.test"))), "{}", metrics.render());
    let next = restarted.prepare(&[Issuer { domains: vec!["other.test".to_string()], ..again }]);
    restarted.adopt(next.expect("another configuration"), &[]);
    let text = metrics.render();
    assert!(!text.contains(&gauge("good.test")), "nobody is called for what is ordered no more: {text}");
    assert!(text.contains(&format!("{}0\n", gauge("other.test"))), "{text}");

    rig.pebble.switch.revive();
    rig.clock.advance(2 * HOUR);
    rig.look();
    let second = rig.shown("good.test");
    assert!(second != first && rig.trusts("good.test"));
    assert_eq!(rig.failures("good.test"), 0);
}

#[test]
fn nonces_that_are_refused_are_replaced_and_one_order_too_many_waits_a_minute() {
    let rig = Rig::start(&["good.test"], Challenge::Http01, Manner { bad_nonces: 40, ..Manner::default() });
    for _ in 0..50 {
        rig.look();
        if rig.failures("good.test") == 0 {
            break;
        }
        rig.clock.advance(2 * HOUR);
    }
    assert!(rig.trusts("good.test"));
    assert_eq!(rig.orders("refused"), 0, "that is no refusal of the name");
}

#[test]
fn an_account_that_the_ca_has_forgotten_is_made_anew_at_once() {
    let rig = Rig::start(&["good.test"], Challenge::Http01, Manner::default());
    rig.look();
    let account = |name: &str| {
        let folders = std::fs::read_dir(rig.data.path().join("acme")).expect("a folder").flatten();
        folders.map(|folder| folder.path().join(name)).find(|path| path.exists())
    };
    // Another account's number: pebble knows it as little as it would after losing its memory.
    let file = account("account.json").expect("an account");
    let text = std::fs::read_to_string(&file).expect("a file");
    let mut kept: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    kept["id"] = format!("{}0", kept["id"].as_str().expect("an id")).into();
    std::fs::write(&file, kept.to_string()).expect("a file");

    // Whoever asks in another way looks for the account on disk.
    let again = issuer(&rig.pebble, &["good.test", "new.test", "newer.test"], Challenge::Http01);
    rig.reload(Issuer { email: Some("ops@good.test".to_string()), ..again });
    assert!(rig.trusts("good.test"), "a reload takes nothing away");
    rig.look();
    assert!(rig.trusts("new.test") && rig.trusts("newer.test"));
    assert_eq!((rig.orders("issued"), rig.orders("refused")), (3, 0));
    assert!(account("account.unknown.json").is_some(), "what was refused is kept aside");
}
