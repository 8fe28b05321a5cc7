//! The dashboard: pages for who pays and who codes, made here and sent whole.
//!
//! Owns: the pages, their texts and their assets. Reads by a session's own reports; writes through the control API alone. Must not
//! know: SQL, pingora, what an edge is made of.
//!
//! Failure stance: a page whose numbers cannot be had says so within its frame, and nothing but that page hangs on it.

mod assets;
mod cookies;
mod edge;
mod form;
mod frame;
mod guard;
mod limits;
mod pace;
mod pages;
mod parts;
mod problem;
mod shown;
mod signed;
mod texts;
mod visitor;

use std::sync::Arc;

use axum::Router;

use crate::clock::Clock;
use crate::ledger::SessionReports;

pub use edge::{EdgeClient, NoTrust};
pub use form::Answered;
pub use pace::{PAGES, Pace};

/// What the pages are made from.
pub struct Dashboard {
    pub edge: EdgeClient,
    pub reports: Arc<dyn SessionReports>,
    /// `https://edge.example.org`, without a slash at its end: where clients are told to go. None: where the page came from.
    pub public_url: Option<String>,
    pub clock: Arc<dyn Clock>,
    /// Forms that answer with a secret and were answered: sent again, they make no second one.
    pub answered: Answered,
    pub pace: Pace,
}

/// Every page and asset. What is no page is a page that says so.
pub fn router(dashboard: Arc<Dashboard>) -> Router {
    pages::router(dashboard)
}
