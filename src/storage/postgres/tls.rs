//! TLS to Postgres: rustls with ring. A certificate is always checked in full, chain and name, because encryption to
//! whoever answers protects nothing.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Whom to believe about a server's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    /// No TLS is spoken.
    None,
    /// The certificates this machine trusts.
    System,
    /// Those of one PEM file, and no others.
    File(String),
}

/// A connector that trusts `roots`. The error says which file, and why it is of no use.
pub(super) fn connector(roots: &Roots) -> Result<MakeRustlsConnect, String> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::None => {}
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                return Err("this machine trusts no certificate at all: install ca-certificates, or name a file with \
                            sslrootcert="
                    .to_owned());
            }
        }
        Roots::File(path) => {
            let certificates = CertificateDer::pem_file_iter(Path::new(path)).map_err(|error| unreadable(path, &error));
            for certificate in certificates? {
                let certificate = certificate.map_err(|error| unreadable(path, &error))?;
                store.add(certificate).map_err(|error| unreadable(path, &error))?;
            }
            if store.is_empty() {
                return Err(format!("sslrootcert names {path}, which holds no certificate in PEM form"));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(MakeRustlsConnect::new(config.with_root_certificates(store).with_no_client_auth()))
}

fn unreadable(path: &str, error: &dyn std::fmt::Display) -> String {
    format!("sslrootcert names {path}, which cannot be read as certificates: {error}")
}
