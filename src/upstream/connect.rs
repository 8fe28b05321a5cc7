//! Dialling a target: resolve its name, connect, and for `https` shake hands with the certificate checked.

use std::io;
use std::sync::Arc;

use once_cell::sync::OnceCell;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::Target;

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

/// Makes connections. One for the whole process: it holds the trust anchors, read when an `https` target is first
/// dialled. Most edges have none, and those that have one are told what is wrong by the request it is wrong for; the
/// next request looks again.
#[derive(Clone, Default)]
pub struct Dialer {
    tls: Arc<OnceCell<TlsConnector>>,
}

impl Dialer {
    /// A fresh connection. Addresses are tried in the resolver's order; the last one's error is returned.
    pub(super) async fn dial(&self, target: &Target) -> io::Result<Box<dyn Io>> {
        let tcp = connect_any(target).await?;
        tcp.set_nodelay(true)?; // a delayed ACK costs 40 ms an event otherwise
        if !target.tls {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(target.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(self.tls().await?.connect(name, tcp).await?))
    }

    /// The trust anchors are some hundred files: they are read beside the threads that serve.
    async fn tls(&self) -> io::Result<TlsConnector> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let cell = Arc::clone(&self.tls);
        let reading = tokio::task::spawn_blocking(move || cell.get_or_try_init(|| connector(system_roots())).cloned());
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

fn connector(roots: RootCertStore) -> io::Result<TlsConnector> {
    if roots.is_empty() {
        return Err(io::Error::other("this machine trusts no certificate at all: install ca-certificates"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect_any(target: &Target) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name resolves to no address");
    for address in tokio::net::lookup_host((target.host.as_str(), target.port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_root() -> RootCertStore {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["cfx.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        roots
    }

    #[test]
    fn a_machine_that_trusts_nobody_is_told_so_and_looked_at_again() {
        let tls: OnceCell<TlsConnector> = OnceCell::new();
        let problem = tls.get_or_try_init(|| connector(RootCertStore::empty())).err().unwrap();
        assert!(problem.to_string().contains("install ca-certificates"), "{problem}");
        assert!(tls.get_or_try_init(|| connector(a_root())).is_ok());
        assert!(tls.get().is_some());
    }
}
