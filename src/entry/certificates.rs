//! The certificates TLS listeners show: those of files and those of a CA, chosen by the name a client asks for, and
//! swapped under running listeners. A swap is one pointer: whoever shakes hands sees the old table or the new one.
//!
//! Failure stance: what cannot be read keeps nothing else from being served. At a start and at a reload that is the
//! operator's to hear; between them the certificate that was read last goes on being shown.

mod pair;
mod stamp;
mod table;
pub mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use pair::{Certificate, CertificateProblem};
use stamp::Stamp;
pub use table::{Table, normal};

use crate::config::CertificateFiles;
use crate::units::Timestamp;

/// What is shown.
#[derive(Debug)]
pub struct Certificates {
    table: ArcSwap<Table>,
    /// Where it comes from. Held while files are read, so that two swaps do not undo each other.
    sources: Mutex<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    /// In the configuration's order.
    files: Vec<Kept>,
    /// Behind those of files.
    issued: Vec<Arc<Certificate>>,
}

/// A pair of files, as it was read last.
#[derive(Debug, Clone)]
struct Kept {
    files: CertificateFiles,
    stamp: Stamp,
    /// Whether what is on disk now could be read: else the certificate is the one before.
    sound: bool,
    certificate: Arc<Certificate>,
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
    /// Reads all pairs. `now` tells which have expired: those are refused, no client would accept them.
    pub fn load(files: &[CertificateFiles], now: Timestamp) -> Result<Self, CertificateProblem> {
        Self::with_issued(files, Vec::new(), now)
    }

    /// The same with certificates of a CA behind them.
    pub fn with_issued(
        files: &[CertificateFiles],
        issued: Vec<Arc<Certificate>>,
        now: Timestamp,
    ) -> Result<Self, CertificateProblem> {
        let empty = Self { table: ArcSwap::from_pointee(Table::of(Vec::new())), sources: Mutex::default() };
        empty.sources().issued = issued;
        empty.reload(files, now)?;
        Ok(empty)
    }

    /// Serves these pairs from now on. Those that have not changed on disk are not read again, and are served even if
    /// they have expired meanwhile. An error leaves everything as it was.
    pub fn reload(&self, files: &[CertificateFiles], now: Timestamp) -> Result<Summary, CertificateProblem> {
        let mut sources = self.sources();
        let mut summary = Summary::default();
        let mut kept = Vec::with_capacity(files.len());
        for pair in files {
            let before = sources.files.iter().find(|kept| kept.files == *pair);
            let stamp = Stamp::of(pair);
            let read = match before {
                Some(before) if before.stamp == stamp && before.sound => before.clone(),
                _ => {
                    let certificate = Arc::new(Certificate::read(pair, now)?);
                    Kept { files: pair.clone(), stamp, sound: true, certificate }
                }
            };
            let name = || read.certificate.label().to_owned();
            match before {
                None => summary.added.push(name()),
                Some(before) if Arc::ptr_eq(&before.certificate, &read.certificate) => summary.unchanged += 1,
                Some(_) => summary.changed.push(name()),
            }
            kept.push(read);
        }
        if kept.is_empty() && sources.issued.is_empty() {
            return Err(CertificateProblem::NoneConfigured);
        }
        let gone = sources.files.iter().filter(|before| !files.contains(&before.files));
        summary.removed = gone.map(|before| before.certificate.label().to_owned()).collect();
        sources.files = kept;
        self.swap(&sources);
        Ok(summary)
    }

    /// Looks whether files have changed, and serves those that have. A pair that is halfway through being replaced does
    /// not go together: it is read again once it has changed further.
    pub fn look(&self, now: Timestamp) -> Look {
        let mut sources = self.sources();
        let mut look = Look::default();
        for kept in &mut sources.files {
            let stamp = Stamp::of(&kept.files);
            if stamp == kept.stamp {
                continue;
            }
            let read = Certificate::read(&kept.files, now);
            (kept.stamp, kept.sound) = (stamp, read.is_ok());
            match read {
                Ok(read) => {
                    kept.certificate = Arc::new(read);
                    look.changed.push(Arc::clone(&kept.certificate));
                }
                Err(problem) => look.problems.push(problem),
            }
        }
        if !look.changed.is_empty() {
            self.swap(&sources);
        }
        look
    }

    /// Serves these of a CA from now on, behind those of files.
    pub fn set_issued(&self, issued: Vec<Arc<Certificate>>) {
        let mut sources = self.sources();
        sources.issued = issued;
        self.swap(&sources);
    }

    /// What is shown at this moment.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// The first name of each certificate and when it expires.
    pub fn expiries(&self) -> Vec<(String, Timestamp)> {
        self.table().all().iter().map(|served| (served.label().to_owned(), served.expires)).collect()
    }

    fn swap(&self, sources: &Sources) {
        let files = sources.files.iter().map(|kept| &kept.certificate);
        self.table.store(Arc::new(Table::of(files.chain(&sources.issued).cloned().collect())));
    }

    fn sources(&self) -> std::sync::MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(normal);
        self.table.load().choose(name.as_deref()).map(|chosen| Arc::clone(&chosen.signed))
    }
}

#[cfg(test)]
mod tests;
