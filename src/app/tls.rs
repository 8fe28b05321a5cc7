//! The TLS of a process: the certificates that are shown, what is ordered of CAs, and how each entrypoint speaks it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StartProblem;
use crate::config::{self, Transport};
use crate::entry::acme::{Acme, AcmeParts, Book, Challenges};
use crate::entry::certificates::{Certificates, watch};
use crate::entry::tls::{TlsDoor, TlsParts, TlsSettings};
use crate::proxy::Services;
use crate::telemetry::metrics::Metrics;
use crate::units::Timestamp;

/// What the TLS entrypoints have in common.
pub(super) struct Tls {
    /// None where no entrypoint speaks TLS.
    certificates: Option<Arc<Certificates>>,
    /// What is ordered of CAs.
    book: Book,
    challenges: Arc<Challenges>,
}

impl Tls {
    /// Reads the certificates, if they are needed: those of files, and those of CAs as far as there are some yet.
    pub(super) fn open(edge: &config::Edge, data: &Path, now: Timestamp) -> Result<Self, StartProblem> {
        let speaks_tls = |entrypoint: &&config::Entrypoint| matches!(entrypoint.transport, Transport::Tls { .. });
        let challenges = Arc::default();
        let Some(entrypoint) = edge.entrypoints.iter().find(speaks_tls) else {
            return Ok(Self { certificates: None, book: Book::default(), challenges });
        };
        let book = Book::open(data, &edge.issuers, &Book::default(), now);
        match Certificates::with_issued(&edge.certificates, book.shown(), now) {
            Ok(certificates) => Ok(Self { certificates: Some(Arc::new(certificates)), book, challenges }),
            Err(problem) => Err(StartProblem::Certificate(format!("entrypoint {}: {problem}", entrypoint.name))),
        }
    }

    pub(super) fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    pub(super) fn show(&self, metrics: &Metrics) {
        self.certificates.iter().for_each(|certificates| watch::show(certificates, metrics));
    }

    /// How TLS is spoken at an entrypoint; None: it is plain.
    pub(super) fn door(
        &self,
        edge: &config::Edge,
        entrypoint: &config::Entrypoint,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Arc<TlsDoor>>, StartProblem> {
        let (Transport::Tls { http2 }, Some(certificates)) = (entrypoint.transport, &self.certificates) else {
            return Ok(None);
        };
        let settings = TlsSettings {
            http2,
            min_version: edge.min_tls_version,
            client_certificates: entrypoint.client_certificates.clone(),
        };
        let (certificates, metrics) = (Arc::clone(certificates), Arc::clone(metrics));
        let parts = TlsParts { certificates, challenges: self.challenges(), metrics };
        let door = TlsDoor::new(parts, settings).map_err(|error| StartProblem::Tls(error.to_string()))?;
        Ok(Some(Arc::new(door)))
    }

    pub(super) fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.clone()
    }

    /// What orders certificates. It is to begin once a CA that looks finds somebody who answers. None where no entrypoint
    /// speaks TLS.
    pub(super) fn acme(&mut self, data: PathBuf, services: &Services) -> Option<Arc<Acme>> {
        let certificates = self.certificates()?;
        let (clock, metrics) = (Arc::clone(&services.clock), Arc::clone(&services.metrics));
        let parts = AcmeParts { data, certificates, challenges: self.challenges(), clock, metrics };
        Some(Arc::new(Acme::new(parts, std::mem::take(&mut self.book))))
    }

    /// Looks after the files from now on, on the runtime that this is called on.
    pub(super) fn watch(&self, services: &Services) {
        if let Some(certificates) = self.certificates() {
            let (clock, metrics) = (Arc::clone(&services.clock), Arc::clone(&services.metrics));
            tokio::spawn(watch::watch(certificates, clock, metrics));
        }
    }
}
