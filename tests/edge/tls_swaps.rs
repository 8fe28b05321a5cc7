//! What changes under a listener that goes on: certificates by their files, and how TLS is spoken.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use cfx::config::{CertificateFiles, CertificatePair, TlsVersion};
use cfx::entry::certificates::Certificates;
use cfx::entry::connection::below_tls;
use cfx::entry::tls::{TlsDoor, TlsParts, TlsSettings};
use cfx::telemetry::metrics::Metrics;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::builder::certificate_for;
use crate::harness::trust::{shown, trusting_anybody};
use crate::harness::{Client, Request};

/// A door behind which whoever sends an empty line is answered.
struct Rig {
    certificates: Arc<Certificates>,
    door: Arc<TlsDoor>,
    address: SocketAddr,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

fn pair(folder: &Path) -> CertificatePair {
    let files = CertificateFiles { cert: folder.join("a.test.pem"), key: folder.join("a.test.key") };
    CertificatePair::read(files, None).expect("a pair")
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn usual() -> TlsSettings {
    TlsSettings { http2: false, min_version: TlsVersion::V1_2, client_certificates: None }
}

impl Rig {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        certificate_for(folder.path(), &names(&["a.test"]));
        let certificates = Arc::new(Certificates::new(&[pair(folder.path())], Vec::new()));
        let parts = TlsParts {
            certificates: Arc::clone(&certificates),
            challenges: Arc::default(),
            metrics: Arc::new(Metrics::new().expect("metrics")),
        };
        let door = Arc::new(TlsDoor::new(parts, usual()).expect("TLS"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(serve(listener, Arc::clone(&door)));
        Self { certificates, door, address, folder, _runtime: runtime }
    }

    fn replace(&self, with: &[&str]) -> rustls::pki_types::CertificateDer<'static> {
        let beside = tempfile::tempdir_in(self.folder.path()).expect("a folder");
        let made = certificate_for(beside.path(), &names(with));
        for file in ["a.test.key", "a.test.pem"] {
            fs::rename(beside.path().join(file), self.folder.path().join(file)).expect("one disk");
        }
        made
    }
}

async fn serve(listener: TcpListener, door: Arc<TlsDoor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let door = Arc::clone(&door);
        tokio::spawn(async move {
            let Ok(Some((mut stream, _))) = door.greet(below_tls(stream)).await else { return };
            let mut last = [0; 4];
            while let Ok(byte) = stream.read_u8().await {
                last = [last[1], last[2], last[3], byte];
                if last == *b"\r\n\r\n" {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                    let _ = stream.flush().await;
                }
            }
        });
    }
}

#[test]
fn a_certificate_is_swapped_under_open_connections_and_a_broken_one_is_not() {
    let rig = Rig::start();
    let config = Arc::new(trusting_anybody(&[&TLS13]));
    let mut open = Client::tls_as(rig.address, "a.test", Arc::clone(&config));
    assert_eq!(open.ask(&Request::get("/")).status, 200);

    let next = rig.replace(&["a.test", "b.test"]);
    assert!(shown(rig.address, "a.test") != next, "nobody has looked yet");
    assert_eq!(rig.certificates.look().changed.len(), 1);
    assert!(shown(rig.address, "a.test") == next);
    assert_eq!(open.ask(&Request::get("/")).status, 200, "who was there stays");
    let mut back = Client::tls_as(rig.address, "a.test", config);
    assert_eq!(back.shake_hands().expect("a session").handshake_kind(), Some(HandshakeKind::Resumed));

    fs::write(rig.folder.path().join("a.test.pem"), "nothing").expect("a file");
    let problems = rig.certificates.look().problems;
    assert!(problems[0].to_string().contains("a.test.pem: no certificate in it"), "{problems:?}");
    assert!(shown(rig.address, "a.test") == next, "the last good one");
}

#[test]
fn how_tls_is_spoken_can_change_too_and_sessions_outlive_a_reload_that_changes_nothing() {
    let rig = Rig::start();
    let old = Arc::new(trusting_anybody(&[&TLS12]));
    let kind = || {
        let mut client = Client::tls_as(rig.address, "a.test", Arc::clone(&old));
        client.shake_hands()?;
        assert_eq!(client.ask(&Request::get("/")).status, 200);
        Ok::<_, std::io::Error>(client.shake_hands()?.handshake_kind().expect("a handshake"))
    };
    assert_eq!(kind().expect("1.2"), HandshakeKind::Full);
    assert!(rig.door.prepare(usual()).expect("TLS").is_none(), "nothing has changed");
    assert_eq!(kind().expect("1.2"), HandshakeKind::Resumed);
    let strict = rig.door.prepare(TlsSettings { min_version: TlsVersion::V1_3, ..usual() }).expect("TLS");
    assert_eq!(kind().expect("1.2"), HandshakeKind::Resumed, "what is only ready is not spoken yet");
    rig.door.speak(strict.expect("it is another"));
    assert!(kind().is_err(), "1.2 is not spoken any more");
}
