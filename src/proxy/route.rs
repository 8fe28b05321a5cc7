//! From host and path to a route. The path is matched in one form, whichever way it was written. A model request goes upstream under the
//! endpoint's own fixed path; a web application gets its path and query as the client wrote them.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, StatusCode, Uri};
use pingora_core::protocols::http::ServerSession;

use super::exchange::Exchange;
use super::refuse::{Reason, Refusal};
use crate::config::{Action, Asked, Edge, Fixed, Route, Transport, Upstream, matched_path, normal_path};
use crate::entry::acme::Challenges;
use crate::entry::arrival::{Arrival, Greeting};
use crate::entry::client_address::client;
use crate::llm::Endpoint;

/// What is to be done with a request.
pub enum Destination {
    /// `GET /health`: the process lives.
    Health,
    /// `GET /ready`: requests are welcome here.
    Ready,
    /// A CA looks whether this host is ours.
    Challenge {
        answer: String,
    },
    /// A plain listener that sends everybody to https, or a route that leads elsewhere.
    Redirect {
        to: String,
        status: StatusCode,
    },
    /// The same answer for everybody.
    Fixed {
        answer: Fixed,
    },
    /// One of the model endpoints, under admission.
    Model {
        endpoint: Endpoint,
        upstream: Arc<Upstream>,
    },
    /// A list of models, or one of them, answered here after the key was checked.
    Catalog {
        page: Catalog,
    },
    Web {
        upstream: Arc<Upstream>,
    },
    /// What this process serves itself, over a listener of its own.
    Inside(Inside),
}

/// A server of this process that stands behind routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    Control,
    Dashboard,
}

/// The read-only answers under `/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Catalog {
    Models,
    Model(String),
    ModelInfo,
}

/// Decides where a request goes. Refuses what no route wants, and every `/v1` path that is not served: nothing
/// reaches a model around admission. The route and the endpoint are noted before anything can refuse, so that a
/// refusal is counted under its route and told in the endpoint's dialect.
pub fn find(session: &ServerSession, exchange: &Exchange, challenges: &Challenges) -> Result<Destination, Refusal> {
    let (head, edge) = (session.req_header(), &exchange.snapshot.edge);
    let note = |name: Arc<str>| {
        let _ = exchange.route.set(name);
    };
    let path = matched_path(head.uri.path());
    if let Some((name, destination)) = own_page(&path, &head.method) {
        note(name.into());
        return destination;
    }
    if let Some(answer) = challenges.http(&path) {
        note("acme-challenge".into());
        return read_only(&head.method).map(|()| Destination::Challenge { answer });
    }
    let host = host_of(session);
    let arrival = Arrival::of(session.digest());
    let greeting = arrival.and_then(|arrival| arrival.tls.as_ref());
    if !arrival.is_some_and(|arrival| edge.trusts(arrival.peer.ip())) {
        refuse_misdirected(greeting, host.as_deref())?;
    }
    if let Some(port) = redirects_to(session, edge) {
        note("redirect".into());
        return redirect(&head.uri, host.as_deref(), port);
    }
    let asked = Asked { host: host.as_deref(), path: &path, method: &head.method, headers: &head.headers };
    let route = choose(edge, &asked).ok_or_else(|| Refusal::new(Reason::NotFound, "no route serves this request"))?;
    note(Arc::clone(&route.name));
    if route.client_certificate && !greeting.is_some_and(Greeting::has_certificate) {
        return Err(Refusal::new(Reason::NotPermitted, "this route asks for a client certificate").final_word());
    }
    if let Action::Llm(_) = &route.action
        && let Some(endpoint) = Endpoint::from_path(&path)
    {
        let _ = exchange.endpoint.set(endpoint);
    }
    if !route.is_plain() {
        let _ = exchange.matched.set(Arc::clone(route));
    }
    destination(route, &asked, &head.uri)
}

/// What cfx answers before any route, and its name in log and metrics.
pub fn own_page(path: &str, method: &Method) -> Option<(&'static str, Result<Destination, Refusal>)> {
    match path {
        "/health" => Some(("health", read_only(method).map(|()| Destination::Health))),
        "/ready" => Some(("ready", read_only(method).map(|()| Destination::Ready))),
        _ => None,
    }
}

/// The route that has a request: the first of the table that takes it.
pub fn choose<'edge>(edge: &'edge Edge, asked: &Asked) -> Option<&'edge Arc<Route>> {
    edge.routes.iter().find(|route| route.matching.misses(asked).is_none())
}

/// What a route does with a request that is its own.
pub fn destination(route: &Route, asked: &Asked, uri: &Uri) -> Result<Destination, Refusal> {
    let Asked { path, method, .. } = *asked;
    match &route.action {
        Action::Llm(upstream) => model_route(method, path, upstream),
        Action::Proxy(upstream) => Ok(Destination::Web { upstream: Arc::clone(upstream) }),
        Action::Control => Ok(Destination::Inside(Inside::Control)),
        Action::Dashboard => Ok(Destination::Inside(Inside::Dashboard)),
        Action::Redirect(redirect) => {
            let edits = route.edits.as_ref().and_then(|edits| edits.path.as_ref());
            let path = normal_path(uri.path());
            let path = edits.map_or(Cow::Borrowed(&*path), |edits| edits.apply(&path));
            let host = asked.host.map_or(Cow::Borrowed(""), in_url);
            Ok(Destination::Redirect { to: redirect.location(&host, &path, uri.query()), status: redirect.status })
        }
        Action::Respond(answer) => Ok(Destination::Fixed { answer: answer.clone() }),
    }
}

/// A client that was shown another host's certificate may believe that it speaks to that one (RFC 9110, 15.5.20). It
/// asks again over a connection of its own. A proxy of ours in front knows where it connects to, by whatever name.
fn refuse_misdirected(greeting: Option<&Greeting>, host: Option<&str>) -> Result<(), Refusal> {
    match (greeting, host) {
        (Some(greeting), Some(host)) if !greeting.is_for(host) => {
            Err(Refusal::new(Reason::MisdirectedRequest, "this connection was opened for another host"))
        }
        _ => Ok(()),
    }
}

fn model_route(method: &Method, path: &str, upstream: &Arc<Upstream>) -> Result<Destination, Refusal> {
    if let Some(endpoint) = Endpoint::from_path(path) {
        return if method == Method::POST {
            Ok(Destination::Model { endpoint, upstream: Arc::clone(upstream) })
        } else {
            Err(Refusal::new(Reason::MethodNotAllowed, format!("{path} takes POST")))
        };
    }
    let page = match path {
        "/v1/models" => Catalog::Models,
        "/v1/model/info" => Catalog::ModelInfo,
        _ => match path.strip_prefix("/v1/models/") {
            Some(id) if !id.is_empty() => Catalog::Model(id.to_owned()),
            _ => return Err(Refusal::new(Reason::NotFound, "no such endpoint under /v1")),
        },
    };
    read_only(method).map(|()| Destination::Catalog { page })
}

fn read_only(method: &Method) -> Result<(), Refusal> {
    if method == Method::GET || method == Method::HEAD {
        Ok(())
    } else {
        Err(Refusal::new(Reason::MethodNotAllowed, "this path takes GET"))
    }
}

/// The host a request names, lower case, without port and final dots, from `:authority` or `Host`.
pub fn host_of(session: &ServerSession) -> Option<String> {
    let head = session.req_header();
    let named = match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get(http::header::HOST)?.to_str().ok()?,
    };
    let without_port = match named.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => named,
    };
    Some(without_brackets(without_port))
}

/// A host as routes know it: `example.org.` is `example.org`, rooted.
pub fn without_brackets(host: &str) -> String {
    host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase()
}

/// The https port that this listener sends everybody to, if it does: not what came by https already.
fn redirects_to(session: &ServerSession, edge: &Edge) -> Option<u16> {
    let listener = session.server_addr().and_then(|address| address.as_inet())?;
    let port = edge.entrypoints.iter().find_map(|entrypoint| match entrypoint.transport {
        Transport::Plain { redirect_to: Some(port) } if is_at(entrypoint.address, *listener) => Some(port),
        _ => None,
    })?;
    (!came_by_https(session, edge)).then_some(port)
}

/// Whether a listener of this address takes connections that come to that one. Two may share a port.
fn is_at(entrypoint: SocketAddr, came_to: SocketAddr) -> bool {
    let everywhere = entrypoint.ip().is_unspecified();
    entrypoint.port() == came_to.port() && (everywhere || entrypoint.ip().to_canonical() == came_to.ip().to_canonical())
}

/// A request that names no host cannot be sent anywhere, and must not be served in the clear instead.
pub fn redirect(uri: &Uri, host: Option<&str>, port: u16) -> Result<Destination, Refusal> {
    let host = host.filter(|host| !host.is_empty()).ok_or_else(|| {
        Refusal::new(Reason::InvalidField, "the Host header is missing: this listener redirects to https").final_word()
    })?;
    let host = in_url(host);
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // It keeps method and body, so that a POST to the plain port is not turned into a GET.
    let status = StatusCode::PERMANENT_REDIRECT;
    Ok(Destination::Redirect { to: format!("https://{host}{port}{path}"), status })
}

/// A host as it stands in a URL.
fn in_url(host: &str) -> Cow<'_, str> {
    if host.contains(':') { Cow::Owned(format!("[{host}]")) } else { Cow::Borrowed(host) }
}

/// Whether the client speaks TLS: to us, or to a proxy in front that we trust and that says so.
pub fn came_by_https(session: &ServerSession, edge: &Edge) -> bool {
    let over_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    let told = || {
        let peer = Arrival::of(session.digest())?.peer.ip();
        client(peer, edge, &session.req_header().headers).https
    };
    over_tls || told() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unserved_path_under_v1_is_refused() {
        let upstream = Arc::new(Upstream {
            name: "litellm".into(),
            targets: Vec::new(),
            authorization: None,
            timeouts: crate::config::Timeouts {
                connect: std::time::Duration::ZERO,
                first_byte: std::time::Duration::ZERO,
                between_chunks: std::time::Duration::ZERO,
                total: std::time::Duration::ZERO,
                commit_after: None,
            },
            keep_alive: None,
            breaker: crate::config::Breaker::default(),
            health: None,
        });
        for path in ["/v1", "/v1/", "/v1/files", "/v1/chat/completions/x", "/v1/models/", "/v1/../key/generate"] {
            let refusal = model_route(&Method::POST, path, &upstream).err().map(|refusal| refusal.reason);
            assert_eq!(refusal, Some(Reason::NotFound), "{path}");
        }
        let refusal = model_route(&Method::GET, "/v1/messages", &upstream).err();
        assert_eq!(refusal.map(|refusal| refusal.reason), Some(Reason::MethodNotAllowed));
    }
}
