//! How TLS is spoken at one entrypoint: which versions, with which certificate, to whom again without a whole handshake.
//!
//! The policy: TLS 1.3, and 1.2 with forward secrecy and authenticated encryption, which is all that rustls knows of it;
//! no renegotiation, no compression, no data before the handshake's end. Of what both sides speak the order here decides.
//! `min_version` takes 1.2 away.
//!
//! Sessions are resumed by tickets (1.3, and 1.2 where the client knows them) under keys that change every six hours,
//! else by number from memory. Both belong to one entrypoint and to one way of speaking there: who is resumed is not asked
//! for a certificate again, so sessions end where another may be asked for.
//!
//! A reload is one pointer. Connections go on as they began.
//!
//! Failure stance: who does not come to an end of the handshake has no connection, and harms nobody else's.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    Acceptor, ClientHello, NoClientAuth, ServerSessionMemoryCache, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::{
    HandshakeKind, RootCertStore, ServerConfig, ServerConnection, SupportedCipherSuite, SupportedProtocolVersion,
    version,
};
use tokio::io::AsyncWriteExt;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::acme::{ACME_TLS, Challenges};
use super::arrival::Greeting;
use super::certificates::{Certificates, normal};
use super::connection::BelowTls;
use crate::config::{ClientCertificates, TlsVersion};
use crate::telemetry::metrics::Metrics;

/// Sessions of TLS 1.2 whose clients know no tickets: one of them is half a kilobyte, and hardly anybody is left.
const SESSIONS: usize = 4096;

/// What is liked best first: AES-128 is as safe as its neighbours for as long as anybody plans, and the cheapest where
/// processors know AES.
const SUITES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// What an entrypoint is told of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    pub http2: bool,
    pub min_version: TlsVersion,
    pub client_certificates: Option<ClientCertificates>,
}

/// What the TLS of all entrypoints has in common.
#[derive(Clone)]
pub struct TlsParts {
    pub certificates: Arc<Certificates>,
    pub challenges: Arc<Challenges>,
    pub metrics: Arc<Metrics>,
}

/// TLS at one entrypoint.
pub struct TlsDoor {
    parts: TlsParts,
    spoken: ArcSwap<Spoken>,
}

/// A way to speak, made ready.
pub struct Spoken {
    settings: TlsSettings,
    config: Arc<ServerConfig>,
}

/// Why TLS cannot be spoken as the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum TlsProblem {
    #[error("{0}")]
    Refused(#[from] rustls::Error),
    #[error("the certificates of clients could not be checked: {0}")]
    ClientCas(#[from] VerifierBuilderError),
}

impl TlsDoor {
    pub fn new(parts: TlsParts, settings: TlsSettings) -> Result<Self, TlsProblem> {
        let spoken = Spoken::new(&parts, settings)?;
        Ok(Self { parts, spoken: ArcSwap::from_pointee(spoken) })
    }

    /// Makes another way to speak ready, which is all that can fail of it. None: it is the same as now, and sessions can
    /// still be resumed.
    pub fn prepare(&self, settings: TlsSettings) -> Result<Option<Spoken>, TlsProblem> {
        if self.spoken.load().settings == settings {
            return Ok(None);
        }
        Spoken::new(&self.parts, settings).map(Some)
    }

    /// Speaks in this way from the next handshake on.
    pub fn speak(&self, next: Spoken) {
        self.spoken.store(Arc::new(next));
    }

    /// Shakes hands. None: it was a CA's look at a challenge, and is over.
    pub async fn greet(&self, stream: BelowTls) -> io::Result<Option<(TlsStream<BelowTls>, Greeting)>> {
        match self.shake_hands(stream).await {
            Ok(Some(stream)) => {
                let greeting = self.greeting(stream.get_ref().1);
                Ok(Some((stream, greeting)))
            }
            Ok(None) => {
                self.parts.metrics.tls_handshake("challenge");
                Ok(None)
            }
            Err(error) => {
                self.parts.metrics.tls_handshake("failed");
                Err(error)
            }
        }
    }

    /// A handshake that came to no end in time, which the one who waited for it says.
    pub fn note_timed_out(&self) {
        self.parts.metrics.tls_handshake("failed");
    }

    async fn shake_hands(&self, stream: BelowTls) -> io::Result<Option<TlsStream<BelowTls>>> {
        let mut acceptor = pin!(LazyConfigAcceptor::new(Acceptor::default(), stream));
        let hello = match acceptor.as_mut().await {
            Ok(hello) => hello,
            Err(error) => return Err(parting(error, acceptor.take_io()).await),
        };
        let challenge = self.challenge(&hello.client_hello());
        let is_challenge = challenge.is_some();
        let config = challenge.unwrap_or_else(|| Arc::clone(&self.spoken.load().config));
        match hello.into_stream(config).into_fallible().await {
            Ok(mut stream) if is_challenge => stream.shutdown().await.map(|()| None),
            Ok(stream) => Ok(Some(stream)),
            Err((error, stream)) => Err(parting(error, Some(stream)).await),
        }
    }

    /// The answer to a CA that looks whether a domain is ours (RFC 8737): it offers that protocol and nothing else.
    fn challenge(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        let alone = offered.next() == Some(ACME_TLS) && offered.next().is_none();
        let name = hello.server_name().filter(|_| alone)?;
        self.parts.challenges.tls(&normal(name))
    }

    fn greeting(&self, session: &ServerConnection) -> Greeting {
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        self.parts.metrics.tls_handshake(if resumed { "resumed" } else { "full" });
        let table = self.parts.certificates.table();
        Greeting::new(session.server_name().map(normal), table, session.peer_certificates().is_some())
    }
}

/// Sends the alert that says why there is no connection, which would else go with the buffer that it lies in.
async fn parting(error: io::Error, stream: Option<BelowTls>) -> io::Error {
    if let Some(mut stream) = stream {
        let _ = stream.shutdown().await; // the client may be gone
    }
    error
}

impl Spoken {
    fn new(parts: &TlsParts, settings: TlsSettings) -> Result<Self, TlsProblem> {
        let provider = Arc::new(CryptoProvider { cipher_suites: SUITES.to_vec(), ..ring::default_provider() });
        let versions: &[&SupportedProtocolVersion] = match settings.min_version {
            TlsVersion::V1_2 => rustls::ALL_VERSIONS,
            TlsVersion::V1_3 => &[&version::TLS13],
        };
        let verifier = verifier(settings.client_certificates.as_ref(), &provider)?;
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
        let shown = Arc::clone(&parts.certificates);
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(shown);
        config.ignore_client_order = true;
        config.ticketer = ring::Ticketer::new()?;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        let spoken: &[&[u8]] = if settings.http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        config.alpn_protocols = spoken.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self { settings, config: Arc::new(config) })
    }
}

fn verifier(
    asked: Option<&ClientCertificates>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsProblem> {
    let Some(ClientCertificates { taken, required, .. }) = asked else { return Ok(Arc::new(NoClientAuth)) };
    let mut roots = RootCertStore::empty();
    taken.iter().try_for_each(|ca| roots.add(ca.clone()))?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if *required { builder } else { builder.allow_unauthenticated() };
    Ok(builder.build()? as _)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When keys turn is rustls' own and by the system's clock, so that here stands what it says of it: a ticket is good under the
    /// key that it was made with, and for as long again as that is kept behind the next one.
    #[test]
    fn a_ticket_is_good_for_two_turns_of_six_hours_and_for_one_way_of_speaking() {
        let parts = TlsParts {
            certificates: Arc::new(Certificates::new(&[], Vec::new())),
            challenges: Arc::default(),
            metrics: Arc::new(Metrics::new().unwrap()),
        };
        let settings = TlsSettings { http2: true, min_version: TlsVersion::V1_2, client_certificates: None };
        let [one, other] = [0; 2].map(|_| Spoken::new(&parts, settings.clone()).unwrap().config);
        assert_eq!(one.ticketer.lifetime(), 2 * 6 * 60 * 60);
        let ticket = one.ticketer.encrypt(b"a session").unwrap();
        assert_eq!(one.ticketer.decrypt(&ticket).unwrap(), b"a session");
        assert_eq!(other.ticketer.decrypt(&ticket), None);
    }
}
