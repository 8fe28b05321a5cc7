//! Clients of `make bench` that come, shake hands, and go: what a new connection over TLS costs a server.
//!
//! Usage: `handshakes ADDRESS NAME full|resumed SECONDS CLIENTS`. Each client is a thread with one connection at a time, and asks
//! for NAME's certificate. With `resumed` it comes with the ticket of the one before, and what each server makes of that is
//! counted. Prints JSON.
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a tool of the benchmark's, run by hand")]

#[path = "../tests/support/trust.rs"]
mod trust;

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Error, HandshakeKind, Stream};

use trust::Anybody;

/// A server that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Seen {
    /// How long each handshake took, in µs.
    took: Vec<u64>,
    resumed: usize,
    failed: usize,
    last_failure: Option<io::Error>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, name, manner, seconds, clients] = arguments.as_slice() else { return usage() };
    let resumes = match manner.as_str() {
        "full" => false,
        "resumed" => true,
        _ => return usage(),
    };
    let (Ok(address), Ok(name), Ok(seconds), Ok(clients)) =
        (address.parse(), ServerName::try_from(name.clone()), seconds.parse(), clients.parse::<usize>())
    else {
        return usage();
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    let client = || {
        let name = name.clone();
        std::thread::spawn(move || come_and_go(address, &name, resumes, end))
    };
    let threads: Vec<_> = (0..clients).map(|_| client()).collect();
    let mut all = Seen::default();
    for seen in threads.into_iter().flat_map(std::thread::JoinHandle::join) {
        all.took.extend(seen.took);
        all.resumed += seen.resumed;
        all.failed += seen.failed;
        all.last_failure = seen.last_failure.or(all.last_failure);
    }
    if let Some(failure) = &all.last_failure {
        eprintln!("handshakes: {failure}");
    }
    all.took.sort_unstable();
    let at = |part: usize| all.took.get(all.took.len() * part / 100).copied().unwrap_or_default();
    println!(
        r#"{{"handshakes": {}, "resumed": {}, "failed": {}, "p50_us": {}, "p99_us": {}}}"#,
        all.took.len(),
        all.resumed,
        all.failed,
        at(50),
        at(99)
    );
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: handshakes ADDRESS NAME full|resumed SECONDS CLIENTS");
    ExitCode::from(64)
}

/// One client, until the time is up.
fn come_and_go(address: SocketAddr, name: &ServerName<'static>, resumes: bool, end: Instant) -> Seen {
    let mut seen = Seen::default();
    let config = match config(resumes) {
        Ok(config) => Arc::new(config),
        Err(error) => return Seen { failed: 1, last_failure: Some(io::Error::other(error)), ..seen },
    };
    while Instant::now() < end {
        match visit(address, name, &config) {
            Ok((took, kind)) => {
                seen.took.push(took.as_micros().try_into().unwrap_or(u64::MAX));
                seen.resumed += usize::from(kind == Some(HandshakeKind::Resumed));
            }
            Err(error) => {
                seen.failed += 1;
                seen.last_failure = Some(error);
            }
        }
    }
    seen
}

/// Shakes hands, says goodbye, and takes what the server sends until it has closed: its tickets among it.
fn visit(
    address: SocketAddr,
    name: &ServerName<'static>,
    config: &Arc<ClientConfig>,
) -> io::Result<(Duration, Option<HandshakeKind>)> {
    let mut session = ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
    let began = Instant::now();
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    let took = began.elapsed();
    session.send_close_notify();
    let mut rest = Vec::new();
    match Stream::new(&mut session, &mut socket).read_to_end(&mut rest) {
        // Some close the socket alone.
        Err(error) if !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
            Err(error)
        }
        _ => Ok((took, session.handshake_kind())),
    }
}

fn config(resumes: bool) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(Anybody { provider: ring::default_provider(), checks_signatures: false });
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}
