//! Dialling a target: find its addresses, connect to whichever answers, and for `https` shake hands with the certificate checked.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use once_cell::sync::OnceCell;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::health::jittered;
use super::member::Member;
use super::resolve::{AGAIN_EVERY, Resolver, System};
use crate::config::Http2;

/// What one address has before the next is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);

/// What ALPN calls them (RFC 7301, RFC 9113).
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// A byte stream to a target, plain or TLS.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {
    /// Whether the peer has neither closed nor sent what was not read. Asked of the socket itself: what a runtime knows of
    /// it is as old as its last turn.
    fn is_silent(&self) -> bool;
}

impl Io for TcpStream {
    fn is_silent(&self) -> bool {
        let look = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(self, &mut [0; 1], look), Err(rustix::io::Errno::AGAIN))
    }
}

impl Io for TlsStream<TcpStream> {
    fn is_silent(&self) -> bool {
        self.get_ref().0.is_silent()
    }
}

#[cfg(test)]
impl Io for tokio::io::DuplexStream {
    fn is_silent(&self) -> bool {
        true // it has no other memory than the one that a read looks at
    }
}

/// A fresh connection, and whether HTTP/2 is spoken on it.
pub(super) struct Dialled {
    pub stream: Box<dyn Io>,
    pub http2: bool,
}

/// One a setting: they differ in what they offer by ALPN.
#[derive(Clone)]
struct Connectors {
    auto: TlsConnector,
    off: TlsConnector,
    always: TlsConnector,
}

/// Makes connections. One for the whole process: it holds the trust anchors, read when an `https` target is first
/// dialled. Most edges have none, and those that have one are told what is wrong by the request it is wrong for; the
/// next request looks again.
#[derive(Clone)]
pub struct Dialer {
    tls: Arc<OnceCell<Connectors>>,
    resolver: Arc<dyn Resolver>,
}

impl Default for Dialer {
    fn default() -> Self {
        Self { tls: Arc::default(), resolver: Arc::new(System) }
    }
}

impl Dialer {
    /// A fresh connection to whichever of the target's addresses answers first.
    pub(super) async fn dial(&self, member: &Member) -> io::Result<Dialled> {
        let tcp = self.connect(member).await?;
        tcp.set_nodelay(true)?; // a delayed ACK costs 40 ms an event otherwise
        let target = &member.target;
        if !target.tls {
            return Ok(Dialled { stream: Box::new(tcp), http2: target.http2 == Http2::Always });
        }
        let name = ServerName::try_from(target.host.clone()).map_err(io::Error::other)?;
        let stream = self.tls().await?.of(target.http2).connect(name, tcp).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        if target.http2 == Http2::Always && !http2 {
            return Err(io::Error::other("it does not choose HTTP/2, which it is always to be spoken to in"));
        }
        Ok(Dialled { stream: Box::new(stream), http2 })
    }

    /// An address of a target, for a dialler that takes one alone: another with each of its attempts.
    pub async fn address(&self, member: &Member, attempt: usize) -> io::Result<SocketAddr> {
        let known = member.addresses.current(&*self.resolver).await?;
        let address = known.list.iter().cycle().nth(attempt % known.list.len().max(1)).copied();
        address.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Keeps a name's addresses up to date for as long as the process lives. A target that has none needs no care.
    pub(super) async fn look_up_again_and_again(&self, member: &Member) {
        while member.addresses.is_name() {
            sleep(jittered(AGAIN_EVERY)).await;
            if let Err(error) = member.addresses.look_up(&*self.resolver).await {
                tracing::debug!(target = %member.target, %error, "a name was not looked up; it is where it was");
            }
        }
    }

    /// Where nobody is, the name may have moved: then there is one more try at where it is now.
    async fn connect(&self, member: &Member) -> io::Result<TcpStream> {
        let known = member.addresses.current(&*self.resolver).await?;
        match connect_any(&known.list).await {
            Ok(stream) => Ok(stream),
            Err(error) => match member.addresses.others(&*self.resolver, &known).await {
                Some(others) => connect_any(&others.list).await,
                None => Err(error),
            },
        }
    }

    /// The trust anchors are some hundred files: they are read beside the threads that serve.
    async fn tls(&self) -> io::Result<Connectors> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let cell = Arc::clone(&self.tls);
        let reading = tokio::task::spawn_blocking(move || cell.get_or_try_init(|| connectors(system_roots())).cloned());
        reading.await.map_err(io::Error::other)?
    }
}

/// What the operating system trusts.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    let (_added, ignored) = roots.add_parsable_certificates(system.certs);
    if ignored > 0 || !system.errors.is_empty() {
        tracing::debug!(ignored, errors = system.errors.len(), "some system trust anchors could not be read");
    }
    roots
}

impl Connectors {
    fn of(&self, http2: Http2) -> &TlsConnector {
        match http2 {
            Http2::Auto => &self.auto,
            Http2::Off => &self.off,
            Http2::Always => &self.always,
        }
    }
}

fn connectors(roots: RootCertStore) -> io::Result<Connectors> {
    if roots.is_empty() {
        return Err(io::Error::other("this machine trusts no certificate at all: install ca-certificates"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let offering = |protocols: &[&[u8]]| {
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    };
    Ok(Connectors { auto: offering(&[HTTP2, HTTP1]), off: offering(&[HTTP1]), always: offering(&[HTTP2]) })
}

/// The first that answers, each with a head start before the next (RFC 8305, 5); one that fails yields at once. The last
/// one's error, where none answers.
async fn connect_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name resolves to no address");
    let (mut waiting, mut under_way) = (addresses.iter(), FuturesUnordered::new());
    loop {
        under_way.extend(waiting.next().map(|address| TcpStream::connect(*address)));
        let ended = match waiting.len() {
            0 => under_way.next().await,
            _ => match timeout(HEAD_START, under_way.next()).await {
                Ok(ended) => ended,
                Err(_still_trying) => continue,
            },
        };
        match ended {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => failure = error,
            None => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::breaker::{By, Rule};
    use super::super::member::Seat;
    use super::super::resolve::tests::Scripted;
    use super::*;
    use crate::config::Target;

    fn a_root() -> RootCertStore {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["cfx.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        roots
    }

    fn member(host: &str, port: u16) -> Member {
        let target = Arc::new(Target::new(false, host.to_owned(), port).unwrap());
        Member::new("some", &target, Rule { failures: 5, open_for: HEAD_START })
    }

    fn dialer(lists: &[&[&'static str]]) -> Dialer {
        Dialer { resolver: Arc::new(Scripted::new(lists)), ..Dialer::default() }
    }

    /// Someone who accepts at this address, and the port.
    async fn listening(ip: &str) -> (tokio::net::TcpListener, u16) {
        let listener = tokio::net::TcpListener::bind((ip, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[tokio::test]
    async fn every_address_is_tried_until_one_answers() {
        let (_listener, port) = listening("127.0.0.3").await;
        let dialer = dialer(&[&["::1", "127.0.0.1", "127.0.0.2", "127.0.0.3"]]);
        let stream = dialer.connect(&member("litellm", port)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip().to_string(), "127.0.0.3");
    }

    #[tokio::test]
    async fn an_address_that_says_nothing_holds_the_next_up_for_a_moment_only() {
        let (_listener, port) = listening("127.0.0.1").await;
        // TEST-NET-1 (RFC 5737): nobody answers there, or the machine says at once that there is no way.
        let dialer = dialer(&[&["192.0.2.1", "127.0.0.1"]]);
        let stream = timeout(8 * HEAD_START, dialer.connect(&member("litellm", port))).await.unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip().to_string(), "127.0.0.1");
    }

    #[tokio::test]
    async fn a_name_that_moved_is_found_where_it_is_now() {
        let (_listener, port) = listening("127.0.0.2").await;
        let dialer = dialer(&[&["127.0.0.1"], &["127.0.0.2"]]);
        let member = member("litellm", port);
        assert!(dialer.connect(&member).await.is_err(), "what was found this second is not doubted");
        member.addresses.age();
        let stream = dialer.connect(&member).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip().to_string(), "127.0.0.2");
    }

    #[tokio::test]
    async fn where_a_target_was_is_in_doubt_once_a_request_there_failed() {
        let (dialer, member) = (dialer(&[&["10.0.0.1"], &["10.0.0.2"]]), Arc::new(member("litellm", 1)));
        let given = || async { dialer.address(&member, 0).await.unwrap().ip().to_string() };
        assert_eq!(given().await, "10.0.0.1");
        member.addresses.age();
        assert_eq!(given().await, "10.0.0.1", "nothing says that it moved");
        Seat::take(&member, std::time::Instant::now()).unwrap().failed(By::Anyone);
        assert_eq!(given().await, "10.0.0.2");
    }

    #[tokio::test]
    async fn a_dialler_of_its_own_is_given_each_address_in_turn() {
        let (dialer, member) = (dialer(&[&["10.0.0.1", "::1"]]), member("web", 3000));
        let mut given = Vec::new();
        for attempt in 0..3 {
            given.push(dialer.address(&member, attempt).await.unwrap().ip().to_string());
        }
        assert_eq!(given, ["10.0.0.1", "::1", "10.0.0.1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_looked_up_again_and_again_and_addresses_never() {
        let resolver = Arc::new(Scripted::new(&[&["10.0.0.1"], &[], &["10.0.0.2"]]));
        let dialer = Dialer { resolver: Arc::clone(&resolver) as _, ..Dialer::default() };
        let _ = timeout(5 * AGAIN_EVERY, dialer.look_up_again_and_again(&member("litellm", 1))).await;
        assert!((4..=5).contains(&resolver.asked()), "{}", resolver.asked());
        dialer.look_up_again_and_again(&member("10.0.0.1", 1)).await;
    }

    #[test]
    fn a_machine_that_trusts_nobody_is_told_so_and_looked_at_again() {
        let tls: OnceCell<Connectors> = OnceCell::new();
        let problem = tls.get_or_try_init(|| connectors(RootCertStore::empty())).err().unwrap();
        assert!(problem.to_string().contains("install ca-certificates"), "{problem}");
        assert!(tls.get_or_try_init(|| connectors(a_root())).is_ok());
        assert!(tls.get().is_some());
    }
}
