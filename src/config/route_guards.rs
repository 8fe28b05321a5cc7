//! Whom a route lets pass, how much of it, and for how long.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::edits::Page;
use super::snapshot::{Secret, Upstream};
use super::timeouts::TimeoutOverrides;

/// What a request must pass on its route. None of it is looked at where nothing is asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteGuards {
    /// Empty: every address.
    pub allow: Vec<IpNet>,
    pub rate: Option<Rate>,
    /// Requests under way at once, by address.
    pub in_flight: Option<u32>,
    pub maintenance: Option<Maintenance>,
    pub cors: Option<Cors>,
    pub basic: Option<BasicAuth>,
    pub forward: Option<ForwardAuth>,
    /// Bytes of a request's body.
    pub body: Option<u64>,
    /// In place of the upstream's; `connect` and `between_chunks` alone.
    pub timeouts: Option<TimeoutOverrides>,
}

/// So many requests an address may make in a while, and so many of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub requests: NonZeroU32,
    pub per: Duration,
    pub burst: NonZeroU32,
}

/// Everybody is told to come back later.
#[derive(Debug, Clone, PartialEq)]
pub struct Maintenance {
    /// None: the error that a refusal is.
    pub page: Option<Page>,
    pub retry_after: Option<Duration>,
    /// Addresses that are served all the same.
    pub except: Vec<IpNet>,
}

/// Which pages of other origins may read the answers (the Fetch standard, 3.3).
#[derive(Debug, Clone, PartialEq)]
pub struct Cors {
    /// None: every origin.
    pub origins: Option<Vec<HeaderValue>>,
    /// As a header's list.
    pub methods: HeaderValue,
    pub headers: HeaderValue,
    pub expose: Option<HeaderValue>,
    pub credentials: bool,
    /// Seconds.
    pub max_age: Option<HeaderValue>,
}

/// Names and passwords of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct BasicAuth {
    /// What `WWW-Authenticate` says.
    pub challenge: HeaderValue,
    pub users: Vec<User>,
    /// The header that tells the upstream the user's name.
    pub user_header: Option<HeaderName>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct User {
    pub name: String,
    pub hash: Hash,
}

/// A password that cannot be read back. It prints as `***`.
#[derive(Debug, Clone, PartialEq)]
pub enum Hash {
    Bcrypt(Secret),
    Argon2(Secret),
}

/// A server that is asked about every request.
#[derive(Debug, Clone, PartialEq)]
pub struct ForwardAuth {
    pub upstream: Arc<Upstream>,
    /// As it stands in the request line.
    pub path: String,
    /// Of the whole exchange.
    pub timeout: Duration,
    /// Headers of its 2xx that the request goes on with, and that no client can bring along.
    pub copy: Vec<HeaderName>,
}

impl RouteGuards {
    /// Whether this address may come at all.
    pub fn allows(&self, address: Option<IpAddr>) -> bool {
        self.allow.is_empty() || address.is_some_and(|address| is_in(&self.allow, address))
    }
}

impl Maintenance {
    pub fn excepts(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| is_in(&self.except, address))
    }
}

fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

impl Cors {
    /// Whether a page of this origin may read answers.
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.as_ref().is_none_or(|origins| origins.contains(origin))
    }
}
