//! The TLS of a process: the certificates that are shown, what is ordered of CAs, and how each entrypoint speaks it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StartProblem;
use crate::config::{self, Certificate, CertificatePair, Transport};
use crate::entry::acme::{Acme, AcmeParts, Book, Challenges};
use crate::entry::certificates::{Certificates, Summary, watch};
use crate::entry::tls::{Spoken, TlsDoor, TlsParts, TlsProblem, TlsSettings};
use crate::proxy::Services;
use crate::telemetry::metrics::Metrics;
use crate::units::Timestamp;

/// What a start makes of it.
pub(super) struct Tls {
    /// None where no entrypoint speaks TLS.
    served: Option<Served>,
    /// What is ordered of CAs.
    book: Book,
    challenges: Arc<Challenges>,
}

/// What listeners show and speak, as far as a reload can change it.
#[derive(Clone)]
pub(super) struct Served {
    certificates: Arc<Certificates>,
    /// By the names of their entrypoints.
    doors: Vec<(String, Arc<TlsDoor>)>,
}

/// Ways to speak that are ready, each with who is to speak it.
pub(super) struct Prepared(Vec<(Arc<TlsDoor>, Spoken)>);

impl Tls {
    /// Opens no socket. Of CAs there are the certificates that they have issued so far.
    pub(super) fn open(
        edge: &config::Edge,
        data: &Path,
        metrics: &Arc<Metrics>,
        now: Timestamp,
    ) -> Result<Self, StartProblem> {
        let challenges = Arc::default();
        let Some(entrypoint) = edge.entrypoints.iter().find(|entrypoint| speaks_tls(entrypoint)) else {
            return Ok(Self { served: None, book: Book::default(), challenges });
        };
        if shows_nothing(edge) {
            return Err(StartProblem::Certificate(format!("entrypoint {}: {NOTHING_TO_SHOW}", entrypoint.name)));
        }
        let book = Book::open(data, &edge.issuers, &Book::default(), now);
        let certificates = Arc::new(Certificates::new(&edge.certificates, book.shown()));
        let parts = TlsParts { certificates, challenges: Arc::clone(&challenges), metrics: Arc::clone(metrics) };
        let served = Served::new(parts, edge).map_err(|problem| StartProblem::Tls(problem.to_string()))?;
        Ok(Self { served: Some(served), book, challenges })
    }

    pub(super) fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    pub(super) fn served(&self) -> Option<Served> {
        self.served.clone()
    }

    /// How TLS is spoken at an entrypoint; None: it is plain.
    pub(super) fn door(&self, entrypoint: &str) -> Option<Arc<TlsDoor>> {
        let doors = &self.served.as_ref()?.doors;
        doors.iter().find(|(name, _)| name == entrypoint).map(|(_, door)| Arc::clone(door))
    }

    /// What orders certificates. It is to begin once a CA that looks finds somebody who answers. None where no entrypoint
    /// speaks TLS.
    pub(super) fn acme(&mut self, data: PathBuf, services: &Services) -> Option<Arc<Acme>> {
        let certificates = Arc::clone(&self.served.as_ref()?.certificates);
        let (clock, metrics) = (Arc::clone(&services.clock), Arc::clone(&services.metrics));
        let parts = AcmeParts { data, certificates, challenges: self.challenges(), clock, metrics };
        Some(Arc::new(Acme::new(parts, std::mem::take(&mut self.book))))
    }

    /// Looks after the files from now on, on the runtime that this is called on.
    pub(super) fn watch(&self, services: &Services) {
        if let Some(Served { certificates, .. }) = self.served() {
            let (clock, metrics) = (Arc::clone(&services.clock), Arc::clone(&services.metrics));
            tokio::spawn(watch::watch(certificates, clock, metrics));
        }
    }
}

impl Served {
    fn new(parts: TlsParts, edge: &config::Edge) -> Result<Self, TlsProblem> {
        let doors = settings(edge)
            .map(|(name, settings)| Ok((name.to_owned(), Arc::new(TlsDoor::new(parts.clone(), settings)?))))
            .collect::<Result<_, TlsProblem>>()?;
        Ok(Self { certificates: parts.certificates, doors })
    }

    /// What is shown, and whether it was ordered of a CA.
    pub(super) fn listed(&self) -> Vec<(Arc<Certificate>, bool)> {
        self.certificates.listed()
    }

    /// Makes ready what `edge` says of how TLS is spoken. It is not spoken yet, and this is all that can fail.
    pub(super) fn prepare(&self, edge: &config::Edge) -> Result<Prepared, TlsProblem> {
        let mut prepared = Vec::new();
        for (name, settings) in settings(edge) {
            if let Some((_, door)) = self.doors.iter().find(|(known, _)| known == name)
                && let Some(next) = door.prepare(settings)?
            {
                prepared.push((Arc::clone(door), next));
            }
        }
        Ok(Prepared(prepared))
    }

    /// From the next handshake on.
    pub(super) fn speak(&self, Prepared(prepared): Prepared) {
        prepared.into_iter().for_each(|(door, next)| door.speak(next));
    }

    /// Shows these of files, and with them what is to be ordered from now on, where that is given. The names of those of
    /// files that were not shown before.
    pub(super) fn show(&self, files: &[CertificatePair], ordered: Option<(&Acme, Book)>) -> Vec<String> {
        let Summary { added, changed, .. } = match ordered {
            Some((acme, book)) => acme.adopt(book, files),
            None => self.certificates.replace(files, None),
        };
        [added, changed].concat()
    }

    /// Brings the metrics up to what is shown now.
    pub(super) fn count(&self, metrics: &Metrics) {
        watch::show(&self.certificates, metrics);
    }
}

pub(super) const NOTHING_TO_SHOW: &str =
    "no certificate is configured: name a pair under tls.certificates in cfx.yaml, or remove the https entrypoint";

/// Whether clients would find neither a certificate of files nor one of a CA.
pub(super) fn shows_nothing(edge: &config::Edge) -> bool {
    edge.certificates.is_empty() && edge.issuers.is_empty()
}

pub(super) fn speaks_tls(entrypoint: &config::Entrypoint) -> bool {
    matches!(entrypoint.transport, Transport::Tls { .. })
}

/// How each entrypoint that speaks TLS is to do so.
fn settings(edge: &config::Edge) -> impl Iterator<Item = (&str, TlsSettings)> {
    edge.entrypoints.iter().filter_map(|entrypoint| {
        let Transport::Tls { http2 } = entrypoint.transport else { return None };
        let client_certificates = entrypoint.client_certificates.clone();
        let settings = TlsSettings { http2, min_version: edge.min_tls_version, client_certificates };
        Some((entrypoint.name.as_str(), settings))
    })
}
