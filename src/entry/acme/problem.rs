//! Why an order came to nothing.

use std::time::Duration;

use instant_acme::{Error, Problem};

use super::challenges::ChallengeProblem;
use super::folder::FolderProblem;
use super::http::HttpProblem;
use super::schedule::Setback;
use crate::config::CertificateProblem;

/// Why an order came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum OrderProblem {
    #[error("the CA cannot be asked: {0}")]
    Http(#[from] HttpProblem),
    #[error("{}", in_words(.0))]
    Ca(#[from] Error),
    #[error("the CA offers no {0} challenge for this name")]
    NoSuchChallenge(&'static str),
    #[error("the CA did not find the name to be ours: {0}")]
    NotOurs(String),
    #[error(transparent)]
    Challenge(#[from] ChallengeProblem),
    #[error("no request for a certificate could be made: {0}")]
    Request(#[from] rcgen::Error),
    #[error("what the CA sent cannot be served: {0}")]
    Unservable(#[from] CertificateProblem),
    #[error("{0}")]
    Unkept(#[from] FolderProblem),
    #[error("no end within {0:?}")]
    TookTooLong(Duration),
}

impl OrderProblem {
    /// What it means for the next order. `said` is what the CA last said of waiting.
    pub fn setback(&self, said: Option<Duration>) -> Setback {
        match self {
            _ if said.is_some() => Setback::RateLimited(said),
            Self::Ca(Error::Api(problem)) if is(problem, "rateLimited") => Setback::RateLimited(None),
            Self::Ca(Error::Api(problem)) if problem.status.is_some_and(|status| status >= 500) => Setback::Unreachable,
            Self::Ca(Error::Api(problem)) if is(problem, "badNonce") => Setback::Unreachable,
            Self::Ca(Error::Other(_)) | Self::Http(_) | Self::TookTooLong(_) => Setback::Unreachable,
            _ => Setback::Refused,
        }
    }

    /// Whether the CA does not know our account.
    pub fn is_of_account(&self) -> bool {
        matches!(self, Self::Ca(Error::Api(problem)) if is(problem, "accountDoesNotExist"))
    }

    /// The label of metrics.
    pub fn outcome(&self, said: Option<Duration>) -> &'static str {
        match self.setback(said) {
            Setback::Unreachable => "unreachable",
            Setback::Refused => "refused",
            Setback::RateLimited(_) => "rate_limited",
        }
    }
}

fn is(problem: &Problem, kind: &str) -> bool {
    problem.r#type.as_deref().and_then(|given| given.strip_prefix("urn:ietf:params:acme:error:")) == Some(kind)
}

fn in_words(error: &Error) -> String {
    match error {
        Error::Api(problem) => format!("the CA refused: {problem}"),
        Error::Other(cause) => format!("the CA cannot be reached: {cause}"),
        error => format!("the CA could not be understood: {error}"),
    }
}
