//! What is known of each domain: its certificate, what became of its last order, and when the next is due.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::authority::Authority;
use super::folder::{Folder, History};
use super::schedule;
use crate::config::{Certificate, Issuer};
use crate::entry::self_signed;
use crate::units::Timestamp;

/// The domains of all CAs, in the configuration's order.
#[derive(Default)]
pub struct Book {
    pub(super) domains: Vec<Arc<Domain>>,
}

/// One domain, and the CA that is asked for its certificates.
pub struct Domain {
    pub name: String,
    pub(super) authority: Arc<Authority>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of the CA.
    certificate: Option<Arc<Certificate>>,
    /// What is shown where there is none of the CA.
    stopgap: Option<Arc<Certificate>>,
    history: History,
    under_way: bool,
}

/// How a domain stands, for people.
#[derive(Debug, Clone)]
pub struct Standing {
    pub certificate: Option<Arc<Certificate>>,
    /// No order before this.
    pub due: Timestamp,
    pub failures: u32,
    pub problem: Option<String>,
}

impl Book {
    /// Reads what is kept in the data folder. What `before` knows of a domain is taken from there. A certificate that
    /// cannot be read is as good as none, and is said to be so.
    pub fn open(data: &Path, issuers: &[Issuer], before: &Book, now: Timestamp) -> Self {
        let mut domains = Vec::new();
        for issuer in issuers {
            let known = before.domains.iter().find(|domain| domain.authority.issuer == *issuer);
            let authority = known.map_or_else(
                || Arc::new(Authority::new(issuer.clone(), Folder::of(data, issuer))),
                |domain| Arc::clone(&domain.authority),
            );
            for name in &issuer.domains {
                let kept = before
                    .domains
                    .iter()
                    .find(|domain| domain.name == *name && Arc::ptr_eq(&domain.authority, &authority));
                domains.push(kept.map_or_else(|| Arc::new(Domain::open(name, &authority, now)), Arc::clone));
            }
        }
        Self { domains }
    }

    /// What is to be shown for each domain.
    pub fn shown(&self) -> Vec<Arc<Certificate>> {
        self.domains.iter().filter_map(|domain| domain.shown()).collect()
    }

    pub fn domains(&self) -> &[Arc<Domain>] {
        &self.domains
    }
}

impl Domain {
    fn open(name: &str, authority: &Arc<Authority>, now: Timestamp) -> Self {
        let file = authority.folder.certificate_file(name);
        let certificate = match authority.folder.certificate(name) {
            Ok(read) => read.filter(|read| read.covers(name)).map(Arc::new),
            Err(problem) => {
                tracing::error!(%problem, domain = name, "a certificate cannot be read and will be ordered anew");
                None
            }
        };
        let stopgap = if certificate.is_some() { None } else { stopgap(name, authority, now) };
        let history = authority.folder.history(name);
        tracing::debug!(domain = name, file = %file.display(), found = certificate.is_some(), "looked for a certificate");
        let state = Mutex::new(State { certificate, stopgap, history, under_way: false });
        Self { name: name.to_owned(), authority: Arc::clone(authority), state }
    }

    pub fn standing(&self) -> Standing {
        self.with(|state| Standing {
            certificate: state.certificate.clone(),
            due: self.due(state),
            failures: state.history.failures,
            problem: state.history.problem.clone(),
        })
    }

    /// The URL of its CA's directory.
    pub fn directory(&self) -> &str {
        &self.authority.issuer.directory
    }

    /// Asks whoever serves this data folder to order a certificate now.
    pub fn ask_for(&self) -> Result<(), super::FolderProblem> {
        self.authority.folder.ask_for(&self.name)
    }

    /// Whether an order is due and none is under way: then it is, from here on.
    pub(super) fn begin(&self, now: Timestamp) -> bool {
        self.with(|state| {
            let begins =
                !state.under_way && (self.authority.folder.was_asked_for(&self.name) || self.due(state) <= now);
            state.under_way |= begins;
            begins
        })
    }

    pub(super) fn ended(&self, certificate: Option<Arc<Certificate>>, history: History) {
        self.with(|state| {
            state.under_way = false;
            state.history = history;
            if certificate.is_some() {
                (state.certificate, state.stopgap) = (certificate, None);
            }
        });
    }

    fn shown(&self) -> Option<Arc<Certificate>> {
        self.with(|state| state.certificate.clone().or_else(|| state.stopgap.clone()))
    }

    /// With no certificate at once, and behind what the last order left in any case.
    fn due(&self, state: &State) -> Timestamp {
        let planned =
            state.certificate.as_ref().map(|served| schedule::renewal(&self.name, served.begins, served.expires));
        let allowed = state.history.not_before();
        planned.into_iter().chain(allowed).max_by_key(|at| at.0).unwrap_or(Timestamp(0))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where the operator has turned to another CA, what the one before has issued; else one of our own.
fn stopgap(name: &str, authority: &Authority, now: Timestamp) -> Option<Arc<Certificate>> {
    if let Some(issued) = authority.folder.of_another_ca(name, now) {
        return Some(Arc::new(issued));
    }
    match self_signed::stopgap(name, now) {
        Ok(made) => Some(Arc::new(made)),
        Err(problem) => {
            tracing::error!(%problem, domain = name, "no certificate could be made for the meantime");
            None
        }
    }
}
