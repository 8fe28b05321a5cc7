//! What is known of each domain: its certificate, what became of its last order, and when the next is due.
//!
//! A reload makes another book. What a domain knows goes over to it for as long as the same folder keeps it, an order
//! under way included: there is never a second one beside it, and what it brings is not lost.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::authority::Authority;
use super::folder::{Folder, History};
use super::schedule::{self, Setback};
use crate::config::{Certificate, Issuer};
use crate::entry::self_signed;
use crate::units::Timestamp;

/// The domains of all CAs, in the configuration's order.
#[derive(Default)]
pub struct Book {
    /// What it was made of.
    issuers: Vec<Issuer>,
    domains: Vec<Arc<Domain>>,
}

/// One domain, and the CA that is asked for its certificates.
pub struct Domain {
    pub name: String,
    pub(super) authority: Arc<Authority>,
    /// Shared with the domain of a book before where only the way of asking has changed.
    state: Arc<Mutex<State>>,
}

/// An order that was begun. Where it is dropped without an outcome, it has failed: nothing waits for it for ever, and
/// the CA is not asked again at once.
pub(super) struct UnderWay {
    pub(super) domain: Arc<Domain>,
    since: Timestamp,
    is_over: bool,
}

#[derive(Default)]
struct State {
    /// Of the CA.
    certificate: Option<Arc<Certificate>>,
    /// What is shown where there is none of the CA.
    stopgap: Option<Arc<Certificate>>,
    history: History,
    /// What is in the data folder and could not be read.
    unread: Vec<String>,
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
    /// What the data folder has of it and could not be read: the file, and why.
    pub unread: Vec<String>,
}

impl Book {
    /// Reads what is kept in the data folder. What `before` knows of a domain is taken from there. A certificate that
    /// cannot be read is as good as none, and is said to be so.
    pub fn open(data: &Path, issuers: &[Issuer], before: &Book, now: Timestamp) -> Self {
        let mut domains: Vec<Arc<Domain>> = Vec::new();
        for issuer in issuers {
            let mut known = before.domains.iter().chain(&domains).map(|domain| &domain.authority);
            let authority = known
                .find(|authority| authority.issuer.is_asked_like(issuer))
                .map_or_else(|| Arc::new(Authority::new(issuer.clone(), Folder::of(data, issuer))), Arc::clone);
            for name in &issuer.domains {
                let kept = before
                    .domains
                    .iter()
                    .find(|domain| domain.name == *name && domain.authority.folder == authority.folder);
                domains.push(match kept {
                    Some(kept) => kept.under(&authority),
                    None => Arc::new(Domain::open(name, &authority, now)),
                });
            }
        }
        Self { issuers: issuers.to_vec(), domains }
    }

    /// Whether this is what would be made of these.
    pub(super) fn is_of(&self, issuers: &[Issuer]) -> bool {
        self.issuers == issuers
    }

    /// The orders that are due and not under way. Blocks.
    pub(super) fn begin(&self, now: Timestamp) -> Vec<UnderWay> {
        self.domains.iter().filter_map(|domain| domain.begin(now)).collect()
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
        let mut unread = Vec::new();
        let certificate = authority.folder.certificate(name).unwrap_or_else(|problem| {
            tracing::error!(%problem, domain = name, "a certificate cannot be read and will be ordered anew");
            unread.push(problem.to_string());
            None
        });
        let certificate = certificate.filter(|read| read.covers(name)).map(Arc::new);
        let history = authority.folder.history(name).unwrap_or_else(|problem| {
            tracing::error!(%problem, domain = name, "what became of the last order cannot be read");
            unread.push(problem.to_string());
            History::default()
        });
        let stopgap = if certificate.is_some() { None } else { stopgap(name, authority, now) };
        tracing::debug!(domain = name, file = %file.display(), found = certificate.is_some(), "looked for a certificate");
        let state = Arc::new(Mutex::new(State { certificate, stopgap, history, unread, under_way: false }));
        Self { name: name.to_owned(), authority: Arc::clone(authority), state }
    }

    /// The same domain, asked for in this way from now on.
    fn under(self: &Arc<Self>, authority: &Arc<Authority>) -> Arc<Self> {
        if Arc::ptr_eq(&self.authority, authority) {
            return Arc::clone(self);
        }
        let (name, authority, state) = (self.name.clone(), Arc::clone(authority), Arc::clone(&self.state));
        Arc::new(Self { name, authority, state })
    }

    pub fn standing(&self) -> Standing {
        self.with(|state| Standing {
            certificate: state.certificate.clone(),
            due: self.due(state),
            failures: state.history.failures,
            problem: state.history.problem.clone(),
            unread: state.unread.clone(),
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

    /// An order, where one is due and none is under way. Blocks: a wish for one is a file.
    pub(super) fn begin(self: &Arc<Self>, now: Timestamp) -> Option<UnderWay> {
        if self.with(|state| state.under_way) {
            return None;
        }
        // Handshakes wait for the lock, so no file is looked at under it.
        let was_asked_for = self.authority.folder.was_asked_for(&self.name);
        let begins = self.with(|state| {
            let begins = !state.under_way && (was_asked_for || self.due(state) <= now);
            state.under_way |= begins;
            begins
        });
        begins.then(|| UnderWay { domain: Arc::clone(self), since: now, is_over: false })
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

impl UnderWay {
    /// What came of it.
    pub(super) fn ended(mut self, certificate: Option<Arc<Certificate>>, history: History) {
        self.is_over = true;
        self.domain.with(|state| {
            state.under_way = false;
            state.history = history;
            state.unread.clear(); // written anew
            if certificate.is_some() {
                (state.certificate, state.stopgap) = (certificate, None);
            }
        });
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let name = &self.domain.name;
        self.domain.with(|state| {
            let failures = state.history.failures.saturating_add(1);
            let again = schedule::after_failure(name, self.since, failures, Setback::Refused);
            state.under_way = false;
            state.history = History::new(failures, again, Some("it was given up without an outcome".to_owned()));
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Challenge;

    const NOW: Timestamp = Timestamp(1_769_903_999_000_000);

    fn issuer(domains: &[&str]) -> Issuer {
        Issuer {
            directory: "https://ca.test/dir".to_owned(),
            email: None,
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            challenge: Challenge::Http01,
            external_account: None,
            trust: None,
        }
    }

    #[test]
    fn an_order_under_way_is_that_of_the_next_book_too() {
        let data = tempfile::tempdir().unwrap();
        let first = Book::open(data.path(), &[issuer(&["a.test"])], &Book::default(), NOW);
        let begun = first.begin(NOW).pop().unwrap();
        let added = issuer(&["b.test", "a.test"]);
        let second = Book::open(data.path(), std::slice::from_ref(&added), &first, NOW);
        let other = Issuer { challenge: Challenge::TlsAlpn01, email: Some("ops@a.test".to_owned()), ..added };
        let third = Book::open(data.path(), &[other], &second, NOW);
        assert!(Arc::ptr_eq(&first.domains[0].authority, &second.domains[1].authority), "with its account");
        assert_eq!(third.domains[1].authority.issuer.challenge, Challenge::TlsAlpn01);

        let [_b] = <[UnderWay; 1]>::try_from(second.begin(NOW)).ok().unwrap();
        assert!(third.begin(NOW).is_empty(), "both names have one");
        let issued = Arc::new(self_signed::stopgap("a.test", NOW).unwrap());
        begun.ended(Some(Arc::clone(&issued)), History::new(0, Timestamp(NOW.0 + 1), None));
        assert!(Arc::ptr_eq(&third.shown()[1], &issued), "it goes to who is shown now");
    }

    #[test]
    fn an_order_that_is_dropped_has_failed_and_is_not_tried_again_at_once() {
        let data = tempfile::tempdir().unwrap();
        let book = Book::open(data.path(), &[issuer(&["a.test"])], &Book::default(), NOW);
        drop(book.begin(NOW));
        let standing = book.domains[0].standing();
        assert_eq!((standing.failures, standing.problem.is_some()), (1, true));
        assert!(book.begin(Timestamp(standing.due.0 - 1)).is_empty());
        assert_eq!(book.begin(standing.due).len(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_file() {
        let data = tempfile::tempdir().unwrap();
        let issuers = [issuer(&["a.test"])];
        let folder = Folder::of(data.path(), &issuers[0]);
        folder.keep_certificate("a.test", "nothing").unwrap();
        std::fs::write(folder.certificate_file("a.test").with_extension("json"), "{").unwrap();
        let unread = Book::open(data.path(), &issuers, &Book::default(), NOW).domains[0].standing().unread;
        assert!(unread[0].contains("a.test.pem: no certificate in it"), "{unread:?}");
        assert!(unread[1].contains("a.test.json: EOF"), "{unread:?}");
    }
}
