//! Certificates from a CA, by ACME (RFC 8555): ordered where there are none, renewed at two thirds of their life, kept in
//! the data folder before they are shown.
//!
//! Each domain is on its own: it has its certificate, its order, its failures. A look every few seconds begins the orders
//! that are due by the clock; nothing sleeps until then, so that a clock that jumps is no harm.
//!
//! Failure stance: what there is goes on being shown, expired or not, and a certificate of our own where there is
//! nothing. Orders that fail are repeated ever more seldom, across restarts, as the CA's limits want it.

mod authority;
mod book;
mod challenges;
mod folder;
mod http;
mod order;
mod problem;
mod schedule;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use instant_acme::Account;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use book::UnderWay;
pub use book::{Book, Domain, Standing};
pub use challenges::{ACME_TLS, Challenges};
pub use folder::FolderProblem;
use folder::History;
pub use problem::OrderProblem;

use super::certificates::{Certificates, Summary, watch};
use super::drain::Drain;
use crate::clock::Clock;
use crate::config::{Certificate, CertificatePair, Issuer};
use crate::telemetry::metrics::Metrics;

/// Between two looks at what is due.
const LOOK: Duration = Duration::from_secs(2);
/// One order, from the account to the certificate.
const WITHIN: Duration = Duration::from_secs(180);
/// Orders under way at once: a CA looks at as many of our connections.
const AT_ONCE: usize = 8;

/// What orders certificates.
pub struct Acme {
    parts: AcmeParts,
    book: Mutex<Arc<Book>>,
    places: Semaphore,
}

/// What it works with.
pub struct AcmeParts {
    /// The data folder.
    pub data: PathBuf,
    /// Where what is to be shown goes.
    pub certificates: Arc<Certificates>,
    pub challenges: Arc<Challenges>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
}

impl Acme {
    /// `certificates` shows what the book has already.
    pub fn new(parts: AcmeParts, book: Book) -> Self {
        let acme = Self { parts, book: Mutex::new(Arc::new(book)), places: Semaphore::new(AT_ONCE) };
        acme.show();
        acme
    }

    /// What there will be to order from these CAs, with all that is known of domains that stay. None: nothing else than
    /// now. Blocks while the data folder is read.
    pub fn prepare(&self, issuers: &[Issuer]) -> Option<Book> {
        let book = self.book();
        (!book.is_of(issuers)).then(|| Book::open(&self.parts.data, issuers, &book, self.parts.clock.now()))
    }

    /// Orders this from now on, and shows it behind these of files, both in one step: who shakes hands meanwhile finds the
    /// certificates of before or those of after.
    pub fn adopt(&self, book: Book, files: &[CertificatePair]) -> Summary {
        let mut held = self.held();
        *held = Arc::new(book);
        let summary = self.parts.certificates.replace(files, Some(held.shown()));
        self.count(&held);
        summary
    }

    pub fn book(&self) -> Arc<Book> {
        Arc::clone(&self.held())
    }

    fn held(&self) -> MutexGuard<'_, Arc<Book>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders what is due, until this process leaves or another has taken its place.
    pub async fn run(self: Arc<Self>, drain: Arc<Drain>) {
        while !drain.is_ending() {
            for begun in self.due().await {
                let acme = Arc::clone(&self);
                tokio::spawn(async move { acme.order(begun).await });
            }
            sleep(LOOK).await;
        }
    }

    /// Orders what is due at this moment, and waits until all of it has come to an end.
    pub async fn once(&self) {
        join_all(self.due().await.into_iter().map(|begun| self.order(begun))).await;
    }

    async fn due(&self) -> Vec<UnderWay> {
        let (book, now) = (self.book(), self.parts.clock.now());
        let looked = tokio::task::spawn_blocking(move || book.begin(now));
        looked.await.unwrap_or_default() // the process is at its end
    }

    async fn order(&self, begun: UnderWay) {
        let domain = &begun.domain;
        let _place = self.places.acquire().await; // never closed
        let (outcome, said) = http::hearing_of_waits(self.within(domain)).await;
        let now = self.parts.clock.now();
        let (certificate, history) = match outcome {
            Ok(certificate) => {
                tracing::info!(
                    domain = domain.name,
                    expires = certificate.expires.rfc3339(),
                    "a certificate was issued"
                );
                self.parts.metrics.acme_order("issued");
                let history = History::new(0, schedule::after_success(now, certificate.expires), None);
                (Some(Arc::new(certificate)), history)
            }
            Err(problem) => {
                let failures = domain.standing().failures.saturating_add(1);
                let again = schedule::after_failure(&domain.name, now, failures, problem.setback(said));
                let next = again.rfc3339();
                tracing::error!(%problem, domain = domain.name, failures, next, "no certificate was issued");
                self.parts.metrics.acme_order(problem.outcome(said));
                (None, History::new(failures, again, Some(problem.to_string())))
            }
        };
        let (name, kept) = (domain.name.clone(), history.clone());
        if let Err(problem) = domain.authority.folder.apart(move |folder| folder.keep_history(&name, &kept)).await {
            tracing::error!(%problem, domain = domain.name, "what became of an order could not be kept");
        }
        begun.ended(certificate, history);
        self.show();
    }

    async fn within(&self, domain: &Domain) -> Result<Certificate, OrderProblem> {
        let ordered = timeout(WITHIN, async {
            let account = domain.authority.account().await?;
            match self.certificate(domain, &account).await {
                Err(problem) if problem.is_of_account() => {
                    domain.authority.forget(&account).await?;
                    self.certificate(domain, &domain.authority.account().await?).await
                }
                ordered => ordered,
            }
        });
        ordered.await.unwrap_or(Err(OrderProblem::TookTooLong(WITHIN)))
    }

    /// On disk before anybody is shown it.
    async fn certificate(&self, domain: &Domain, account: &Account) -> Result<Certificate, OrderProblem> {
        let authority = &domain.authority;
        let pem = order::order(account, &domain.name, authority.issuer.challenge, &self.parts.challenges).await?;
        let certificate = Certificate::of_pem(&authority.folder.certificate_file(&domain.name), pem.as_bytes())?;
        let name = domain.name.clone();
        authority.folder.apart(move |folder| folder.keep_certificate(&name, &pem)).await?;
        Ok(certificate)
    }

    /// Under the lock, so that no older book is shown behind a newer one.
    fn show(&self) {
        let held = self.held();
        self.parts.certificates.set_issued(held.shown());
        self.count(&held);
    }

    fn count(&self, book: &Book) {
        watch::show(&self.parts.certificates, &self.parts.metrics);
        let failures: Vec<_> =
            book.domains().iter().map(|domain| (&*domain.name, domain.standing().failures)).collect();
        self.parts.metrics.set_acme_failures(&failures);
    }
}
