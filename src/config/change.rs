//! In what one configuration differs from another, value by value, and which of the differences take a restart.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::snapshot::{Edge, Entrypoint, Snapshot, Transport};

/// One value that differs. It prints as `cfx.yaml upstreams.litellm.breaker.failures: 5 → 7`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub file: String,
    /// The way to the value: `routes[2].upstream`.
    pub path: String,
    /// None: it was not there. A secret is `***`.
    pub before: Option<Value>,
    /// None: it is not there any more.
    pub after: Option<Value>,
}

/// What differs between two configurations as [`Snapshot::shown`] has them, file by file and in the order of names.
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    for file in ["cfx.yaml", "models.yaml", "limits.yaml"] {
        compare(file, String::new(), before.get(file), after.get(file), &mut found);
    }
    found
}

impl Change {
    /// Whether a running edge keeps to what it had until it is started again.
    pub fn takes_restart(&self) -> bool {
        match self.file.as_str() {
            "cfx.yaml" => {
                let within = |section: &str| {
                    self.path.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                };
                // Of a listener that stays open.
                let spoken = self.path.ends_with(".http2") || self.path.contains(".client_certificates");
                let opened = within("entrypoints") && !spoken && !self.path.ends_with(".redirect");
                let collected = within("telemetry.traces") && !self.path.ends_with(".sample");
                let others = [
                    "admin.address",
                    "control.address",
                    "server.threads",
                    "ledger.spool",
                    // What HTTP/2 is spoken with is settled when the listeners open.
                    "guards.http2_streams",
                    "guards.header_bytes",
                ];
                opened || collected || others.into_iter().any(within)
            }
            "limits.yaml" => self.path == "on_store_outage",
            _ => false,
        }
    }
}

impl Snapshot {
    /// What becomes of `self` in a process that runs on `running`: what takes a restart stays as it is there, and what is
    /// the same is the same in memory.
    pub fn beside(mut self, running: &Snapshot) -> Snapshot {
        let Edge { entrypoints, admin, control, server, ledger, telemetry, guards, .. } = &*running.edge;
        let edge = Arc::make_mut(&mut self.edge);
        if !open_alike(&edge.entrypoints, entrypoints) {
            edge.entrypoints = entrypoints.iter().map(|open| still_open(open, &edge.entrypoints)).collect();
        }
        edge.admin = *admin;
        edge.control = *control;
        match (&mut edge.telemetry.traces, &telemetry.traces) {
            (Some(next), Some(now)) => next.endpoint.clone_from(&now.endpoint),
            (next, now) => next.clone_from(now),
        }
        edge.guards.http2_streams = guards.http2_streams;
        edge.guards.header_bytes = guards.header_bytes;
        edge.server.threads = server.threads;
        edge.ledger.spool = ledger.spool;
        Arc::make_mut(&mut self.limits).on_store_outage = running.limits.on_store_outage;
        Snapshot {
            edge: same_or(self.edge, &running.edge),
            models: same_or(self.models, &running.models),
            limits: same_or(self.limits, &running.limits),
        }
    }

    /// What differs from `before`, secrets included, which are told as such.
    pub fn changes_since(&self, before: &Snapshot) -> Vec<Change> {
        let mut found = changes(&before.shown(), &self.shown());
        found.extend(self.secrets_since(before));
        if found.is_empty() && self != before {
            // A secret that has no line of its own above.
            let hidden = Some(Value::from("***"));
            let file = "cfx.yaml".to_owned();
            found.push(Change { file, path: "a secret".to_owned(), before: hidden.clone(), after: hidden });
        }
        found
    }

    /// Secrets that are others now. That one came or went is to be seen without this.
    fn secrets_since<'a>(&'a self, before: &'a Snapshot) -> impl Iterator<Item = Change> + 'a {
        let hidden = || Some(Value::from("***"));
        let change = move |path| Change { file: "cfx.yaml".to_owned(), path, before: hidden(), after: hidden() };
        let token = match (&before.edge.admin_token, &self.edge.admin_token) {
            (Some(before), Some(after)) if before != after => Some(change("admin.token".to_owned())),
            _ => None,
        };
        let keys = self.edge.upstreams.iter().filter_map(move |(name, upstream)| {
            let (before, after) = (before.edge.upstreams.get(name)?.authorization.as_ref()?, &upstream.authorization);
            let other = after.as_ref().is_some_and(|after| after != before);
            other.then(|| change(format!("upstreams.{name}.api_key")))
        });
        token.into_iter().chain(keys)
    }
}

fn same_or<T: PartialEq>(next: Arc<T>, running: &Arc<T>) -> Arc<T> {
    if *next == **running { Arc::clone(running) } else { next }
}

/// Whether the same sockets are to be opened for the same. Where a plain one redirects to is no part of that, nor is how
/// TLS is spoken at another.
fn open_alike(some: &[Entrypoint], others: &[Entrypoint]) -> bool {
    fn opened(entrypoint: &Entrypoint) -> (&str, SocketAddr, bool, bool) {
        let Entrypoint { name, address, transport, proxy_protocol, client_certificates: _ } = entrypoint;
        (name, *address, matches!(transport, Transport::Tls { .. }), *proxy_protocol)
    }
    some.iter().map(opened).eq(others.iter().map(opened))
}

/// A listener that stays as it was opened, while another is to come or to go: how TLS is spoken there may be another all
/// the same. Whom to ask for a certificate is not to wait for a neighbour's port.
fn still_open(open: &Entrypoint, wanted: &[Entrypoint]) -> Entrypoint {
    let is_tls = |entrypoint: &Entrypoint| matches!(entrypoint.transport, Transport::Tls { .. });
    let of_that_name = wanted.iter().find(|entrypoint| entrypoint.name == open.name);
    match of_that_name.filter(|entrypoint| is_tls(entrypoint) && is_tls(open)) {
        Some(Entrypoint { transport, client_certificates, .. }) => {
            Entrypoint { transport: *transport, client_certificates: client_certificates.clone(), ..open.clone() }
        }
        None => open.clone(),
    }
}

fn compare(file: &str, path: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Change>) {
    // What is not there and what is nothing mean the same.
    let (before, after) = (before.filter(|value| !value.is_null()), after.filter(|value| !value.is_null()));
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => compare_maps(file, &path, before, after, found),
        (Some(Value::Array(before)), Some(Value::Array(after))) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                compare(file, format!("{path}[{index}]"), Some(before), Some(after), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => compare_lists(file, &path, before, after, found),
        (before, after) => {
            found.push(Change { file: file.to_owned(), path, before: before.cloned(), after: after.cloned() });
        }
    }
}

fn compare_maps(
    file: &str,
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    found: &mut Vec<Change>,
) {
    let added = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(added) {
        let path = super::raw::join_key(path, key);
        compare(file, path, before.get(key), after.get(key), found);
    }
}

/// Of lists that are not of one length: what only one of them has, by its place there.
fn compare_lists(file: &str, path: &str, before: &[Value], after: &[Value], found: &mut Vec<Change>) {
    let gone = before.iter().enumerate().filter(|(_, value)| !after.contains(value));
    let new = after.iter().enumerate().filter(|(_, value)| !before.contains(value));
    let gone = gone.map(|(index, value)| (index, Some(value.clone()), None));
    let new = new.map(|(index, value)| (index, None, Some(value.clone())));
    found.extend(gone.chain(new).map(|(index, before, after)| Change {
        file: file.to_owned(),
        path: format!("{path}[{index}]"),
        before,
        after,
    }));
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, path, before, after } = self;
        write!(formatter, "{file} {path}: ")?;
        match (before, after) {
            (Some(before), Some(after)) if before == after => formatter.write_str("another secret"),
            (Some(before), Some(after)) => write!(formatter, "{before} → {after}"),
            (None, Some(after)) => write!(formatter, "added {after}"),
            (Some(before), None) => write!(formatter, "removed {before}"),
            (None, None) => Ok(()),
        }
    }
}
