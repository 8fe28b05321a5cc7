//! Which requests a route takes, and where they go.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::edits::{Edits, Fixed, Redirect};
use super::route_guards::RouteGuards;
use super::snapshot::Upstream;

/// One line of the table. What it does not ask for is None, so that a plain route costs nothing beyond its match.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// For logs and the `route` label: its `name`, or its path.
    pub name: Arc<str>,
    pub matching: Matching,
    pub action: Action,
    pub edits: Option<Box<Edits>>,
    pub guards: Option<Box<RouteGuards>>,
    /// Whether only clients that showed a certificate are served.
    pub client_certificate: bool,
}

/// What a request must be for its route; all of it must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matching {
    pub host: HostPattern,
    pub path: PathPattern,
    /// Empty: any. In alphabetical order, so that equal sets are equal.
    pub methods: Vec<String>,
    /// In alphabetical order.
    pub headers: Vec<(HeaderName, ValuePattern)>,
}

/// Lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Any,
    Exact(String),
    /// The part behind the star with its dot: `.example.org` takes `a.example.org` and `a.b.example.org`, not
    /// `example.org`.
    Under(String),
}

/// As `matched_path` writes it, so that each way to write a path is matched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    Exact(String),
    /// A prefix that ends at a segment boundary: `/v1/` matches `/v1` and `/v1/x`, not `/v1x`.
    Prefix(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ValuePattern {
    /// The header is there, whatever it says.
    Any,
    /// One of its lines says exactly this; marked as sensitive where that may be a secret.
    Exact(HeaderValue),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Admission, stages, metering, relay.
    Llm(Arc<Upstream>),
    /// The stock proxy loop.
    Proxy(Arc<Upstream>),
    /// The control API, which this edge serves itself.
    Control,
    /// The built-in dashboard.
    Dashboard,
    Redirect(Redirect),
    Respond(Fixed),
}

/// What routes look at of a request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'request> {
    /// Lower case, without port.
    pub host: Option<&'request str>,
    /// As `matched_path` writes it.
    pub path: &'request str,
    pub method: &'request Method,
    pub headers: &'request HeaderMap,
}

/// The first thing about a request that keeps it from a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    Host,
    Path,
    Method,
    Header(HeaderName),
}

impl Route {
    /// Whether there is nothing about it but where it leads.
    pub fn is_plain(&self) -> bool {
        self.edits.is_none() && self.guards.is_none()
    }

    /// Whether requests of this route lead to the upstream, or ask it who may pass.
    pub fn asks(&self, upstream: &str) -> bool {
        let leads = match &self.action {
            Action::Llm(to) | Action::Proxy(to) => to.name == upstream,
            Action::Control | Action::Dashboard | Action::Redirect(_) | Action::Respond(_) => false,
        };
        let forward = self.guards.as_ref().and_then(|guards| guards.forward.as_ref());
        leads || forward.is_some_and(|forward| forward.upstream.name == upstream)
    }
}

impl Matching {
    /// None where the request is this route's.
    pub fn misses(&self, asked: &Asked) -> Option<Miss> {
        if !self.host.takes(asked.host) {
            return Some(Miss::Host);
        }
        if !self.path.takes(asked.path) {
            return Some(Miss::Path);
        }
        if !self.methods.is_empty() && !self.methods.iter().any(|method| method == asked.method.as_str()) {
            return Some(Miss::Method);
        }
        let missing = self.headers.iter().find(|(name, pattern)| !pattern.takes(name, asked.headers));
        missing.map(|(name, _)| Miss::Header(name.clone()))
    }

    /// Whether it takes every request there is.
    pub fn is_everything(&self) -> bool {
        let everywhere = self.host == HostPattern::Any && self.path.trimmed().is_empty();
        everywhere && matches!(self.path, PathPattern::Prefix(_)) && self.methods.is_empty() && self.headers.is_empty()
    }

    /// The order of the table, smallest first: exact hosts, then wildcards, the longer before the shorter, then any
    /// host; longer paths before shorter, of equals the exact one; more headers before fewer; named methods before any.
    /// What is equal in all this stays in the order of the file.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let host = match &self.host {
            HostPattern::Exact(_) => (0, 0),
            HostPattern::Under(parent) => (1, usize::MAX - parent.len()),
            HostPattern::Any => (2, 0),
        };
        let prefix = matches!(self.path, PathPattern::Prefix(_));
        let length = usize::MAX - self.path.trimmed().len();
        (host, length, prefix, usize::MAX - self.headers.len(), self.methods.is_empty())
    }
}

impl HostPattern {
    fn takes(&self, host: Option<&str>) -> bool {
        match self {
            HostPattern::Any => true,
            HostPattern::Exact(wanted) => host == Some(wanted),
            HostPattern::Under(parent) => {
                host.and_then(|host| host.strip_suffix(parent.as_str())).is_some_and(|label| !label.is_empty())
            }
        }
    }
}

impl PathPattern {
    /// For a path as `matched_path` writes it.
    pub fn takes(&self, path: &str) -> bool {
        match self {
            PathPattern::Exact(wanted) => path == wanted,
            PathPattern::Prefix(prefix) => {
                let stem = prefix.trim_end_matches('/');
                path.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            PathPattern::Exact(path) | PathPattern::Prefix(path) => path,
        }
    }

    /// What it comes to: as prefixes, `/v1` and `/v1/` take the same requests.
    pub(super) fn trimmed(&self) -> &str {
        match self {
            PathPattern::Exact(path) => path,
            PathPattern::Prefix(prefix) => prefix.trim_end_matches('/'),
        }
    }
}

impl ValuePattern {
    fn takes(&self, name: &HeaderName, headers: &HeaderMap) -> bool {
        match self {
            ValuePattern::Any => headers.contains_key(name),
            ValuePattern::Exact(wanted) => headers.get_all(name).iter().any(|value| value == wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_at_segments() {
        let takes = |prefix: &str, path| PathPattern::Prefix(prefix.to_owned()).takes(path);
        assert!(takes("/v1/", "/v1"));
        assert!(takes("/v1/", "/v1/models"));
        assert!(takes("/v1", "/v1/models"));
        assert!(takes("/", "/anything"));
        assert!(!takes("/v1/", "/v1x"));
        assert!(!PathPattern::Exact("/v1".to_owned()).takes("/v1/"));
    }

    #[test]
    fn a_star_stands_for_at_least_one_label() {
        let under = HostPattern::Under(".example.org".to_owned());
        for (host, taken) in [
            (Some("a.example.org"), true),
            (Some("a.b.example.org"), true),
            (Some("example.org"), false),
            (Some(".example.org"), false),
            (Some("badexample.org"), false),
            (None, false),
        ] {
            assert_eq!(under.takes(host), taken, "{host:?}");
        }
    }
}
