//! The certificates, read once here so that a wrong pair is a line in a file and not a failed handshake.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::super::problem::Checked;
use super::super::snapshot::CertificateFiles;
use super::super::source::Source;
use super::read::{At, all};

pub(super) fn certificates(section: &At, source: &Source) -> Checked<Vec<CertificateFiles>> {
    let fields = section.fields(&["certificates"])?;
    let pairs = fields.or("certificates", Vec::new(), |at| all(at.items()?.map(|item| pair(&item, source))));
    Ok(pairs?.into_iter().flatten().collect())
}

/// One certificate and its key. None where the environment leaves both names empty.
fn pair(at: &At, source: &Source) -> Checked<Option<CertificateFiles>> {
    let fields = at.fields(&["cert", "key"])?;
    if ["cert", "key"].iter().all(|key| fields.names(key) && fields.get(key).is_none()) {
        return Ok(None);
    }
    let cert = fields.required("cert", "name the PEM file of the chain");
    let key = fields.required("key", "name the PEM file of its private key");
    let chain = cert.clone().and_then(|at| {
        let path = source.beside_directory(at.text()?);
        chain(&at, &path).map(|chain| (path, chain))
    });
    let private = key.clone().and_then(|at| {
        let path = source.beside_directory(at.text()?);
        private_key(&at, &path).map(|private| (path, private))
    });
    let ((cert_path, chain), (key_path, private)) = (chain?, private?);
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain, private, &provider) {
        Ok(_) => Ok(Some(CertificateFiles { cert: cert_path, key: key_path })),
        Err(error) => Err(key?.problem(format!("does not go with its certificate: {error}"))),
    }
}

fn chain(at: &At, path: &Path) -> Checked<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match chain {
        Ok(chain) if chain.is_empty() => Err(at.problem(format!("{} holds no PEM certificate", path.display()))),
        Ok(chain) => Ok(chain),
        Err(error) => Err(at.problem(format!("{} cannot be read as PEM certificates: {error}", path.display()))),
    }
}

fn private_key(at: &At, path: &Path) -> Checked<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| at.problem(format!("{} cannot be read as a PEM key: {error}", path.display())))
}
