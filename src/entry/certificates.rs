//! The certificates TLS listeners show: those of files and those of a CA, chosen by the name a client asks for, and
//! swapped under running listeners. A swap is one pointer: whoever shakes hands sees the old table or the new one.
//!
//! The files are read with the configuration that names them, and between two readings of it where they have changed.
//!
//! Failure stance: what cannot be read keeps nothing else from being served. At a start and at a reload that is the
//! operator's to hear; between them the certificate that was read last goes on being shown.

mod table;
pub mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use table::{Table, normal};

use crate::config::{Certificate, CertificatePair, CertificateProblem};
use crate::units::Timestamp;

/// What is shown.
#[derive(Debug)]
pub struct Certificates {
    table: ArcSwap<Table>,
    /// Where it comes from. Held for a swap, so that two do not undo each other, and not while files are read.
    sources: Mutex<Sources>,
}

#[derive(Debug)]
struct Sources {
    /// In the configuration's order.
    files: Vec<CertificatePair>,
    /// Behind those of files.
    issued: Vec<Arc<Certificate>>,
}

/// What a reload has changed, each by the first name of its certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    pub unchanged: usize,
}

/// What a look at the files has found.
#[derive(Debug, Default)]
pub struct Look {
    /// Those that were swapped, as they are now.
    pub changed: Vec<Arc<Certificate>>,
    /// What keeps files that have changed from being served; each is told once.
    pub problems: Vec<CertificateProblem>,
}

impl Certificates {
    /// Shows those of files, and behind them those of a CA.
    pub fn new(files: &[CertificatePair], issued: Vec<Arc<Certificate>>) -> Self {
        let sources = Sources { files: files.to_vec(), issued };
        Self { table: ArcSwap::from_pointee(sources.table()), sources: Mutex::new(sources) }
    }

    /// Shows these of files from now on, and where they are given, these of a CA, all in one step. What is the same stays
    /// the same in memory.
    pub fn replace(&self, files: &[CertificatePair], issued: Option<Vec<Arc<Certificate>>>) -> Summary {
        let mut sources = self.sources();
        let mut summary = Summary::default();
        let mut next = files.to_vec();
        for pair in &mut next {
            let name = pair.certificate.label().to_owned();
            match sources.files.iter().find(|before| before.files == pair.files) {
                None => summary.added.push(name),
                Some(before) if before.certificate.is(&pair.certificate) => {
                    pair.certificate = Arc::clone(&before.certificate);
                    summary.unchanged += 1;
                }
                Some(_) => summary.changed.push(name),
            }
        }
        let gone = sources.files.iter().filter(|before| !next.contains(before));
        summary.removed = gone.map(|before| before.certificate.label().to_owned()).collect();
        sources.files = next;
        if let Some(issued) = issued {
            sources.issued = issued;
        }
        self.swap(&sources);
        summary
    }

    /// Looks whether files have changed, and shows those that have. Blocks while it reads. A pair that is halfway through being replaced does
    /// not go together: it is read again once it has changed further.
    pub fn look(&self) -> Look {
        let before = self.sources().files.clone();
        let mut look = Look::default();
        // Read while others may come and go.
        let mut read = before.clone();
        for pair in &mut read {
            match pair.read_again() {
                None => {}
                Some(Ok(())) => look.changed.push(Arc::clone(&pair.certificate)),
                Some(Err(problems)) => look.problems.extend(problems),
            }
        }
        let mut sources = self.sources();
        for (before, read) in before.iter().zip(read) {
            // What a reload has put there meanwhile is newer.
            let unchanged =
                |pair: &&mut CertificatePair| **pair == *before && Arc::ptr_eq(&pair.certificate, &before.certificate);
            if let Some(pair) = sources.files.iter_mut().find(unchanged) {
                *pair = read;
            }
        }
        if !look.changed.is_empty() {
            self.swap(&sources);
        }
        look
    }

    /// Shows these of a CA from now on, behind those of files.
    pub fn set_issued(&self, issued: Vec<Arc<Certificate>>) {
        let mut sources = self.sources();
        sources.issued = issued;
        self.swap(&sources);
    }

    /// What is shown at this moment.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// All of them, files' first, and whether each was ordered of a CA.
    pub fn listed(&self) -> Vec<(Arc<Certificate>, bool)> {
        let sources = self.sources();
        let files = sources.files.iter().map(|pair| (Arc::clone(&pair.certificate), false));
        files.chain(sources.issued.iter().map(|issued| (Arc::clone(issued), true))).collect()
    }

    /// The first name of each certificate and when it expires.
    pub fn expiries(&self) -> Vec<(String, Timestamp)> {
        self.table().all().iter().map(|served| (served.label().to_owned(), served.expires)).collect()
    }

    fn swap(&self, sources: &Sources) {
        self.table.store(Arc::new(sources.table()));
    }

    fn sources(&self) -> std::sync::MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sources {
    fn table(&self) -> Table {
        Table::of(self.files.iter().map(|pair| &pair.certificate).chain(&self.issued).cloned().collect())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(normal);
        self.table.load().choose(name.as_deref()).map(|chosen| Arc::clone(chosen.signed()))
    }
}

#[cfg(test)]
mod tests;
