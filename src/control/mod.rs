//! The control API: who signs in, their keys, what they used, what was logged; and what operators see and turn.
//!
//! Owns: every path under `/api`, and its description; the ports [`EdgeView`] and [`SupabaseAuth`]. Must not know: SQL,
//! pingora, pages.
//!
//! A request goes three steps. `layer` refuses what another site made a browser send, and dresses every answer; the
//! extractors `Caller` and `Operator` yield who asks, `Body` and `Params` what is asked, all of it checked; a handler
//! does it by the ports. Whatever goes wrong on the way is a `Refusal`, which one place turns into an answer.
//!
//! Failure stance: closed. Where a store does not answer, nobody is signed in and nothing is changed: 503.

pub mod api;
mod body;
mod caller;
mod cookie;
mod describe;
mod edge_view;
mod hashing;
mod keys;
mod layer;
pub mod logs;
mod me;
mod models;
#[cfg(test)]
mod openapi;
mod operator;
mod pace;
mod page;
mod params;
mod places;
mod refusal;
mod routes;
mod sign_in;
mod supabase;
mod throttle;
mod usage;
mod visitor;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use tokio::sync::Mutex;

use crate::admission::{KeyRegistry, Pepper};
use crate::clock::Clock;
use crate::config::Snapshot;
use crate::identity::{AccountStore, LinkStore, SessionStore};
use crate::ledger::ReportStore;

pub use edge_view::EdgeView;
pub use keys::PLAYGROUND;
pub use supabase::{AuthAnswer, HttpsSupabase, SupabaseAuth};
pub use words::{LONGEST_LABEL, MOST_REQUESTS};

use hashing::Hashing;
use pace::Pace;
use places::Places;
use supabase::Supabase;
use throttle::Throttle;

/// The description of the API, OpenAPI 3.1. A test holds it against the handlers that it is made from (`openapi.rs`).
const DOCUMENT: &str = include_str!("openapi.json");

/// What the control API stands on.
pub struct Ports {
    pub accounts: Arc<dyn AccountStore>,
    pub sessions: Arc<dyn SessionStore>,
    pub links: Arc<dyn LinkStore>,
    pub registry: Arc<dyn KeyRegistry>,
    pub reports: Arc<dyn ReportStore>,
    pub edge: Arc<dyn EdgeView>,
    pub supabase: Arc<dyn SupabaseAuth>,
    pub clock: Arc<dyn Clock>,
    pub pepper: Pepper,
}

/// The control API of one edge: its ports, and what it remembers between requests.
pub struct Control {
    ports: Ports,
    hashing: Hashing,
    throttle: Arc<Throttle>,
    /// New passwords by a link, while they are hashed: one an account.
    passwords_by_link: Arc<Places>,
    /// Accounts that an address registers without an invitation.
    registrations: Pace,
    /// Keys of a user, and those of the playground.
    new_keys: Pace,
    new_playground_keys: Pace,
    supabase: Supabase,
    /// Held while an operator takes somebody's rights.
    operators: Mutex<()>,
    /// Live tails that are open.
    tails: Arc<Places>,
    /// Exports under way.
    exports: Arc<Places>,
}

type Shared = Arc<Control>;

impl Control {
    pub fn new(ports: Ports) -> Self {
        Self {
            ports,
            hashing: Hashing::default(),
            throttle: Arc::default(),
            passwords_by_link: Places::new(1, usize::MAX),
            registrations: Pace::new(sign_in::MOST_AN_HOUR, sign_in::HOUR, "registrations"),
            new_keys: Pace::new(keys::MOST_A_MINUTE, keys::MINUTE, "keys"),
            new_playground_keys: Pace::new(keys::MOST_PLAYGROUND_A_MINUTE, keys::MINUTE, "keys"),
            supabase: Supabase::default(),
            operators: Mutex::default(),
            tails: Places::new(logs::TAILS_PER_USER, logs::TAILS),
            exports: Places::new(logs::EXPORTS_PER_USER, logs::EXPORTS),
        }
    }

    /// The configuration that holds now. Taken once a request.
    fn snapshot(&self) -> Arc<Snapshot> {
        self.ports.edge.snapshot()
    }
}

/// Every path under `/api`, and an answer in the same shape for those that are not there.
pub fn router(control: Arc<Control>) -> Router {
    routes::served()
        .merge(page::routes(DOCUMENT))
        .fallback(layer::not_found)
        .method_not_allowed_fallback(layer::method_not_allowed)
        .layer(middleware::from_fn(layer::dress))
        .with_state(control)
}
