//! TLS in front of the scripted upstream, for an edge whose target is `https`: it shakes hands and passes bytes on.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncWriteExt, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What stands at the address of an `https` target.
#[derive(Clone, Copy)]
pub struct Front {
    /// Whom its certificate names.
    pub name: &'static str,
    /// Whether the edge trusts that certificate.
    pub trusted: bool,
    /// Whether a connection ends with `close_notify`, as TLS has it, or with the socket alone, as where it is cut.
    pub says_goodbye: bool,
    /// What it chooses from by ALPN, what it likes best first; nothing: it knows of no ALPN.
    pub speaks: &'static [&'static [u8]],
    /// Who stands behind it for those who chose `h2`.
    pub http2: Option<SocketAddr>,
    /// Its certificate was good once.
    pub expired: bool,
}

/// A front that is as it should be.
pub const GOOD: Front =
    Front { name: "127.0.0.1", trusted: true, says_goodbye: true, speaks: &[], http2: None, expired: false };

impl Front {
    /// Starts it before `upstream`, and writes the certificates that the edge shall trust to `trust`. Its thread ends
    /// with the test.
    pub fn start(self, upstream: SocketAddr, trust: &Path) -> SocketAddr {
        let shown = self.certificate();
        let trusted = if self.trusted { shown.0.pem() } else { self.certificate().0.pem() };
        std::fs::write(trust, trusted).expect("a file");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(shown.1.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_no_client_auth();
        let mut config = config.with_single_cert(vec![shown.0.der().clone()], key).expect("a certificate and its key");
        config.alpn_protocols = self.speaks.iter().map(|name| name.to_vec()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            runtime.block_on(self.serve(listener, TlsAcceptor::from(Arc::new(config)), upstream))
        });
        address
    }

    async fn serve(self, listener: TcpListener, acceptor: TlsAcceptor, upstream: SocketAddr) {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(self.pass_on(socket, acceptor.clone(), upstream));
        }
    }

    /// Until one side ends: then the other's connection ends too.
    async fn pass_on(self, socket: TcpStream, acceptor: TlsAcceptor, upstream: SocketAddr) -> std::io::Result<()> {
        let accepted = acceptor.accept(socket).await?;
        let chose_http2 = accepted.get_ref().1.alpn_protocol() == Some(b"h2");
        let behind = self.http2.filter(|_| chose_http2).unwrap_or(upstream);
        let (mut from_edge, mut to_edge) = split(accepted);
        let (mut from_upstream, mut to_upstream) = TcpStream::connect(behind).await?.into_split();
        tokio::select! {
            _ = copy(&mut from_edge, &mut to_upstream) => {}
            _ = copy(&mut from_upstream, &mut to_edge) => {
                if self.says_goodbye {
                    to_edge.shutdown().await?;
                }
            }
        }
        Ok(())
    }

    fn certificate(&self) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(vec![self.name.to_string()]).expect("a name");
        if self.expired {
            parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        (parameters.self_signed(&key).expect("a certificate"), key)
    }
}
