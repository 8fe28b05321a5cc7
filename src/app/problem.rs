//! Why the edge could not start.

use std::net::SocketAddr;

use super::stores::StoreProblem;
use crate::admission::PepperProblem;
use crate::ledger::SpoolProblem;
use crate::units::StoreError;

/// Why the edge could not start, for the operator: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartProblem {
    #[error("cannot start threads: {0}")]
    Runtime(std::io::Error),
    #[error("cannot open the store: {0}")]
    Store(#[from] StoreProblem),
    #[error("cannot use Redis: {0}")]
    Redis(StoreError),
    #[error("{0}")]
    Pepper(String),
    #[error("{0}")]
    Spool(#[from] SpoolProblem),
    #[error("cannot use a certificate: {0}")]
    Certificate(String),
    #[error("cannot listen on {address} ({what}): {error}")]
    Listen { address: SocketAddr, what: String, error: std::io::Error },
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    #[error("cannot set up the metrics: {0}")]
    Metrics(String),
    #[error("cannot send traces: {0}")]
    Traces(String),
}

impl From<PepperProblem> for StartProblem {
    fn from(problem: PepperProblem) -> Self {
        match problem {
            PepperProblem::Store(_) => StoreProblem::Passing(problem.to_string()).into(),
            PepperProblem::Another { .. } => StartProblem::Pepper(problem.to_string()),
        }
    }
}
