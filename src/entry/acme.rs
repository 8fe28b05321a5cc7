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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

pub use book::{Book, Domain, Standing};
pub use challenges::{ACME_TLS, Challenges};
pub use folder::FolderProblem;
use folder::History;
pub use problem::OrderProblem;

use super::certificates::{Certificates, watch};
use super::drain::Drain;
use crate::clock::Clock;
use crate::config::{Certificate, Issuer};
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
        Self { parts, book: Mutex::new(Arc::new(book)), places: Semaphore::new(AT_ONCE) }
    }

    /// Orders from these CAs from now on. What is known of domains that stay is kept.
    pub fn reload(&self, issuers: &[Issuer]) {
        let book = Arc::new(Book::open(&self.parts.data, issuers, &self.book(), self.parts.clock.now()));
        *self.book.lock().unwrap_or_else(PoisonError::into_inner) = book;
        self.show();
    }

    pub fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Orders what is due, until this process leaves or another has taken its place.
    pub async fn run(self: Arc<Self>, drain: Arc<Drain>) {
        while !drain.is_ending() {
            for domain in self.due() {
                let acme = Arc::clone(&self);
                tokio::spawn(async move { acme.order(&domain).await });
            }
            sleep(LOOK).await;
        }
    }

    /// Orders what is due at this moment, and waits until all of it has come to an end.
    pub async fn once(&self) {
        join_all(self.due().iter().map(|domain| self.order(domain))).await;
    }

    fn due(&self) -> Vec<Arc<Domain>> {
        let now = self.parts.clock.now();
        self.book().domains.iter().filter(|domain| domain.begin(now)).map(Arc::clone).collect()
    }

    async fn order(&self, domain: &Domain) {
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
        self.parts.metrics.set_acme_failures(&domain.name, history.failures);
        if let Err(problem) = domain.authority.folder.keep_history(&domain.name, &history) {
            tracing::error!(%problem, domain = domain.name, "what became of an order could not be kept");
        }
        domain.ended(certificate, history);
        self.show();
    }

    async fn within(&self, domain: &Domain) -> Result<Certificate, OrderProblem> {
        let ordered = timeout(WITHIN, async {
            match self.certificate(domain).await {
                Err(problem) if problem.is_of_account() => {
                    domain.authority.forget_account().await?;
                    self.certificate(domain).await
                }
                ordered => ordered,
            }
        });
        ordered.await.unwrap_or(Err(OrderProblem::TookTooLong(WITHIN)))
    }

    /// On disk before anybody is shown it.
    async fn certificate(&self, domain: &Domain) -> Result<Certificate, OrderProblem> {
        let authority = &domain.authority;
        let account = authority.account().await?;
        let pem = order::order(&account, &domain.name, authority.issuer.challenge, &self.parts.challenges).await?;
        let certificate = Certificate::of_pem(&authority.folder.certificate_file(&domain.name), pem.as_bytes())?;
        authority.folder.keep_certificate(&domain.name, &pem)?;
        Ok(certificate)
    }

    fn show(&self) {
        self.parts.certificates.set_issued(self.book().shown());
        watch::show(&self.parts.certificates, &self.parts.metrics);
    }
}
