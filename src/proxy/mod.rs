//! The request's life, one file a step.
//!
//! - as pingora hands it over: `serve`, which answers models' requests itself and leaves the others to pingora's loop, whose hooks
//!   are `phases`;
//! - before it is routed: `guard` (with `path`), then `route`; `exchange` is what is known of it from here on;
//! - past what its route asks: `guarded` (with `route_guard`);
//! - models: `own`, `admit` (with `credential`, `body` and `beside`), `relay` (with `attempts`, `commit`, `outgoing`, `answer_head`,
//!   `coalesce`, `meter`, `mark`, `patience` and `downstream`);
//! - everything that is not a model endpoint: `web` (with `forwarding`, `sticky`, `edit`, `web_body`, `compress`, `stand_in`,
//!   `unread`, `sent`, `web_socket`, `web_failure` and `web_page`), or `own` again where cfx answers itself;
//! - said of every answer: `stamp`, and `refuse` where it is none;
//! - at its end: `account` (with `outcome`). `explain` walks the same way without sending anything.
//!
//! Owns: the order of the steps and what the client is told. `serve` and `phases` are the table of contents; what the steps share
//! stands below.
//! Must not know: where anything is stored, the control API, the dashboard.

mod account;
mod admit;
mod answer_head;
mod attempts;
mod beside;
mod body;
mod coalesce;
mod commit;
mod compress;
mod credential;
mod downstream;
mod edit;
mod exchange;
pub mod explain;
mod forwarding;
mod guard;
mod guarded;
mod mark;
mod meter;
mod outcome;
mod outgoing;
mod own;
pub mod path;
mod patience;
mod phases;
mod refuse;
mod relay;
mod route;
mod route_guard;
mod sent;
mod serve;
mod stamp;
mod stand_in;
mod sticky;
mod unread;
mod web;
mod web_body;
mod web_failure;
mod web_page;
mod web_socket;

pub use guard::Gate;
pub use phases::Proxy;
pub use route_guard::GuardState;
pub use serve::Server;
pub use sticky::Tokens;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::admission::{BodyMemory, Capacity, Concurrency, Keys, RateLimiter};
use crate::clock::Clock;
use crate::config::{Snapshot, Timeouts, Upstream};
use crate::entry::acme::Challenges;
use crate::entry::drain::Drain;
use crate::ledger::Ledger;
use crate::llm::{Calibration, Choice, Endpoint, Request, Rewritten};
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;
use crate::upstream::{Balancer, Dialer};
use route::Inside;

/// What the steps work with; shared by all requests.
pub struct Services {
    pub snapshot: ArcSwap<Snapshot>,
    pub keys: Arc<Keys>,
    pub quota: Arc<RateLimiter>,
    /// Whether quotas are counted where keys are looked up, so that who waited for the one need not for the other.
    pub quota_beside_keys: bool,
    pub concurrency: Arc<Concurrency>,
    pub capacity: Arc<Capacity>,
    pub ledger: Ledger,
    pub calibration: Calibration,
    pub balancer: Arc<Balancer>,
    pub dialer: Dialer,
    pub drain: Arc<Drain>,
    /// What a CA is answered that looks whether a domain is ours.
    pub challenges: Arc<Challenges>,
    pub metrics: Arc<Metrics>,
    pub access: AccessLog,
    /// Where spans are to go, if anywhere.
    pub traces: Option<Traces>,
    pub clock: Arc<dyn Clock>,
    /// What the guards of routes count and remember.
    pub guards: GuardState,
    /// How cookies name the targets of web upstreams.
    pub tokens: Tokens,
    pub inside: InsideServers,
}

/// Where the servers of this process listen that stand behind routes.
#[derive(Debug, Clone, Copy)]
pub struct InsideServers {
    pub control: SocketAddr,
    pub dashboard: SocketAddr,
}

/// A model request whose body was read, understood and rewritten. Large, and gone once an answer's head was accepted.
pub struct Prepared {
    pub endpoint: Endpoint,
    pub upstream: Arc<Upstream>,
    pub timeouts: Timeouts,
    pub request: Request,
    pub choice: Choice,
    /// As it goes to the choice's own model.
    pub body: Rewritten,
    /// The body's share of the edge's memory.
    pub room: BodyMemory,
}

impl InsideServers {
    fn of(self, server: Inside) -> SocketAddr {
        match server {
            Inside::Control => self.control,
            Inside::Dashboard => self.dashboard,
        }
    }
}
