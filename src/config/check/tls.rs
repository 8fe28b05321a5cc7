//! How TLS is spoken, and the certificates, read once here so that a wrong pair is a line in a file and not a failed
//! handshake.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::super::certificate::{CertificatePair, CertificateProblem};
use super::super::problem::Checked;
use super::super::snapshot::{CertificateFiles, Entrypoint, Transport};
use super::super::source::Source;
use super::super::tls::{Challenge, ClientCertificates, Issuer, TlsVersion};
use super::acme;
use super::read::{At, Fields, all};

/// The section.
#[derive(Default)]
pub(super) struct Tls {
    pub certificates: Vec<CertificatePair>,
    pub issuers: Vec<Issuer>,
    pub min_version: TlsVersion,
}

const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];

pub(super) fn tls(section: &At, source: &Source) -> Checked<Tls> {
    let fields = section.fields(&["certificates", "min_version", "acme"])?;
    let pairs = fields.or("certificates", Vec::new(), |at| all(at.items()?.map(|item| pair(&item, source))));
    let min_version = fields.or("min_version", TlsVersion::default(), |at| at.one_of("version of TLS", &VERSIONS));
    let issuers = fields.or("acme", Vec::new(), |at| acme::issuers(&at, source));
    Ok(Tls { certificates: pairs?.into_iter().flatten().collect(), issuers: issuers?, min_version: min_version? })
}

/// Refuses a challenge that no entrypoint could answer.
pub(super) fn refuse_unanswerable(
    file: &Fields,
    tls: &Checked<Tls>,
    listeners: &Checked<Vec<Entrypoint>>,
) -> Checked<()> {
    let (Ok(tls), Ok(listeners)) = (tls, listeners) else { return Ok(()) };
    let Some(at) = file.get("tls").and_then(|at| at.child("acme")) else { return Ok(()) };
    let is_tls = |entrypoint: &Entrypoint| matches!(entrypoint.transport, Transport::Tls { .. });
    let asked = |challenge| tls.issuers.iter().any(|issuer| issuer.challenge == challenge);
    if asked(Challenge::Http01) && listeners.iter().all(is_tls) {
        let remedy = "add http: { address: \"0.0.0.0:80\" } to entrypoints, or use challenge: tls-alpn-01";
        return Err(at.problem_with("http-01 is answered on port 80, and no entrypoint is plain HTTP", remedy));
    }
    if !tls.issuers.is_empty() && !listeners.iter().any(is_tls) {
        let remedy = "add https: { address: \"0.0.0.0:443\", tls: true } to entrypoints";
        return Err(at.problem_with("certificates are ordered, and no entrypoint speaks TLS", remedy));
    }
    Ok(())
}

/// Refuses a route that asks for what no entrypoint asks of its clients.
pub(super) fn refuse_unaskable(file: &Fields, listeners: &Checked<Vec<Entrypoint>>) -> Checked<()> {
    let Ok(listeners) = listeners else { return Ok(()) };
    if listeners.iter().any(|entrypoint| entrypoint.client_certificates.is_some()) {
        return Ok(());
    }
    let routes = file.get("routes").filter(At::is_list).and_then(|at| at.items().ok()).into_iter().flatten();
    let asking = routes.filter_map(|route| route.child("client_certificate")).filter(|at| at.is_text("required"));
    let remedy = "add client_certificates: { ca: certs/clients.pem, required: false } to the https entrypoint";
    all(asking.map(|at| Err::<(), _>(at.problem_with("no entrypoint asks its clients for a certificate", remedy))))
        .map(drop)
}

/// What an entrypoint says of the certificates of its clients.
pub(super) fn client_certificates(at: &At, source: &Source) -> Checked<ClientCertificates> {
    let fields = at.fields(&["ca", "required"])?;
    let cas = fields.required("ca", "name the PEM file of the CAs whose certificates are taken").and_then(|at| {
        let path = source.beside_directory(at.text()?);
        let cas = chain(&at, &path)?;
        let mut roots = RootCertStore::empty();
        match cas.iter().try_for_each(|ca| roots.add(ca.clone())) {
            Ok(()) => Ok((path, cas)),
            Err(why) => {
                Err(at.problem(format!("{} cannot be used to check certificates of clients: {why}", path.display())))
            }
        }
    });
    let required = fields.or("required", true, |at| at.flag());
    let (ca, taken) = cas?;
    Ok(ClientCertificates { ca, taken: taken.into(), required: required? })
}

/// One certificate and its key. None where the environment leaves both names empty.
fn pair(at: &At, source: &Source) -> Checked<Option<CertificatePair>> {
    let fields = at.fields(&["cert", "key"])?;
    if ["cert", "key"].iter().all(|key| fields.names(key) && fields.get(key).is_none()) {
        return Ok(None);
    }
    let named = |key, remedy| {
        fields
            .required(key, remedy)
            .and_then(|at| at.text().map(|name| source.beside_directory(name)).map(|path| (at, path)))
    };
    let cert = named("cert", "name the PEM file of the chain");
    let key = named("key", "name the PEM file of its private key");
    let ((at_cert, cert), (at_key, key)) = (cert?, key?);
    let files = CertificateFiles { cert, key };
    match CertificatePair::read(files.clone(), Some(at_cert.place())) {
        Ok(pair) => Ok(Some(pair)),
        Err(problems) => {
            let at = |problem: &CertificateProblem| if problem.is_of_key(&files) { &at_key } else { &at_cert };
            let told = problems.iter().map(|problem| at(problem).problem(problem.to_string()));
            told.reduce(|_, last| last).map_or(Ok(None), Err)
        }
    }
}

pub(super) fn chain(at: &At, path: &Path) -> Checked<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match chain {
        Ok(chain) if chain.is_empty() => Err(at.problem(format!("{} holds no PEM certificate", path.display()))),
        Ok(chain) => Ok(chain),
        Err(error) => Err(at.problem(format!("{} cannot be read as PEM certificates: {error}", path.display()))),
    }
}
