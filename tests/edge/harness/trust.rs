//! A TLS client that takes whatever certificate it is shown, for tests that look at it themselves.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, SupportedProtocolVersion};

use super::Client;
use anybody::Anybody;

#[path = "../../support/trust.rs"]
mod anybody;

/// Trusts anybody, speaks these versions.
pub fn trusting_anybody(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
    let verifier = Arc::new(Anybody { provider: ring::default_provider(), checks_signatures: true });
    builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
}

/// The certificate that is shown to who asks for `name`.
pub fn shown(address: SocketAddr, name: &str) -> CertificateDer<'static> {
    let mut client = Client::tls_as(address, name, Arc::new(trusting_anybody(rustls::ALL_VERSIONS)));
    let session = client.shake_hands().expect("a handshake");
    session.peer_certificates().expect("certificates")[0].clone().into_owned()
}
