//! What would become of a request, worked out by the functions that a live one goes through. Nothing is sent, and no key,
//! limit or address is looked at.

use http::{HeaderMap, HeaderValue, Method, Uri};
use pingora::http::RequestHeader;

use super::refuse::{Reason, Refusal};
use super::route::{self, Destination, Inside};
use super::{edit, guard};
use crate::config::{Asked, Edge, Entrypoint, Miss, Route, Transport, matched_path};
use crate::entry::claims::X_FORWARDED_PREFIX;

/// A request that somebody may send.
#[derive(Debug, Clone)]
pub struct Question {
    pub method: Method,
    /// With scheme and host.
    pub url: Uri,
    pub headers: HeaderMap,
}

/// The walk down the table, and where it ends.
#[derive(Debug)]
pub struct Explanation<'edge> {
    /// The listener that the request comes to; None where none listens at its port.
    pub entrypoint: Option<&'edge Entrypoint>,
    /// In the table's order up to the route that took it; what kept the others from it.
    pub looked_at: Vec<(&'edge Route, Option<Miss>)>,
    pub outcome: Outcome,
}

/// What becomes of it, as far as its head tells.
#[derive(Debug)]
pub enum Outcome {
    /// cfx answers `/health` and `/ready` itself, before any route.
    Own(&'static str),
    /// A status and where the client is sent.
    Redirect(u16, String),
    /// An answer of the configuration's own.
    Fixed(u16),
    /// The control API, the dashboard, or a page of the catalogue behind a key.
    Page(&'static str),
    /// A model endpoint, under admission: the upstream's name, and the path that it is sent.
    Model(String, &'static str),
    /// Passed on to the upstream of this name.
    Web(String, Sent),
    /// Refused, by the code that the client is told.
    Refused(u16, &'static str),
}

/// What the upstream is sent.
#[derive(Debug)]
pub struct Sent {
    /// Path and query.
    pub target: String,
    /// The request's own, as the route leaves them; cfx adds who asked, and an id.
    pub headers: HeaderMap,
}

/// Walks the table for a request.
pub fn explain<'edge>(edge: &'edge Edge, question: &Question) -> Explanation<'edge> {
    let entrypoint = entrypoint(edge, &question.url);
    let path = matched_path(question.url.path());
    let host = question.url.host().map(route::without_brackets);
    let asked = Asked { host: host.as_deref(), path: &path, method: &question.method, headers: &question.headers };
    let explained = |looked_at, outcome| Explanation { entrypoint, looked_at, outcome };
    if let Err(refusal) = looked_over(edge, question) {
        return explained(Vec::new(), outcome_of(Err(refusal), None, question));
    }
    if let Some((_, destination)) = route::own_page(&path, &question.method) {
        return explained(Vec::new(), outcome_of(destination, None, question));
    }
    if let Some(Entrypoint { transport: Transport::Plain { redirect_to: Some(port) }, .. }) = entrypoint {
        let redirect = route::redirect(&question.url, asked.host, *port);
        return explained(Vec::new(), outcome_of(redirect, None, question));
    }
    let mut looked_at = Vec::new();
    for route in &edge.routes {
        let miss = route.matching.misses(&asked);
        looked_at.push((&**route, miss.clone()));
        if miss.is_none() {
            let destination = route::destination(route, &asked, &question.url);
            return explained(looked_at, outcome_of(destination, Some(route), question));
        }
    }
    explained(looked_at, Outcome::Refused(Reason::NotFound.status(), Reason::NotFound.code()))
}

/// What is refused for how it is written.
fn looked_over(edge: &Edge, question: &Question) -> Result<(), Refusal> {
    let target = question.url.path_and_query().map_or("/", |target| target.as_str());
    let head = RequestHeader::build(question.method.clone(), target.as_bytes(), Some(question.headers.len()));
    let unwritable = |_| Refusal::new(Reason::InvalidPath, "the request's target is no path");
    let mut head = head.map_err(unwritable)?;
    for (name, value) in &question.headers {
        // The only way to fail is a name that no header has.
        let _ = head.append_header(name, value);
    }
    guard::look_at(&head, &edge.guards)
}

/// The listener at the URL's port; where it names none, the first of its scheme.
fn entrypoint<'edge>(edge: &'edge Edge, url: &Uri) -> Option<&'edge Entrypoint> {
    let tls = url.scheme_str() == Some("https");
    let mut speaking =
        edge.entrypoints.iter().filter(|entrypoint| matches!(entrypoint.transport, Transport::Tls { .. }) == tls);
    match url.port_u16() {
        Some(port) => speaking.find(|entrypoint| entrypoint.address.port() == port),
        None => speaking.next(),
    }
}

fn outcome_of(destination: Result<Destination, Refusal>, route: Option<&Route>, question: &Question) -> Outcome {
    match destination {
        Ok(Destination::Health) => Outcome::Own("health"),
        Ok(Destination::Ready) => Outcome::Own("ready"),
        Ok(Destination::Challenge { .. }) => Outcome::Own("acme-challenge"),
        Ok(Destination::Redirect { to, status }) => Outcome::Redirect(status.as_u16(), to),
        Ok(Destination::Fixed { answer }) => Outcome::Fixed(answer.status.as_u16()),
        Ok(Destination::Inside(Inside::Control)) => Outcome::Page("the control API, for who is signed in"),
        Ok(Destination::Inside(Inside::Dashboard)) => Outcome::Page("the dashboard, for who is signed in"),
        Ok(Destination::Catalog { .. }) => Outcome::Page("a page of the model catalogue, behind a key"),
        Ok(Destination::Model { endpoint, upstream }) => Outcome::Model(upstream.name.clone(), endpoint.path()),
        Ok(Destination::Web { upstream }) => Outcome::Web(upstream.name.clone(), sent(route, question)),
        Err(refusal) => Outcome::Refused(refusal.status(), refusal.reason.code()),
    }
}

fn sent(route: Option<&Route>, question: &Question) -> Sent {
    let edits = route.and_then(|route| route.edits.as_deref());
    let (path, query) = (question.url.path(), question.url.query());
    let mut headers = question.headers.clone();
    let target = match edits.and_then(|edits| edits.path.as_ref()) {
        Some(edits) => {
            if let Some(prefix) = edit::stripped(edits, path).and_then(|prefix| HeaderValue::from_str(prefix).ok()) {
                headers.insert(X_FORWARDED_PREFIX, prefix);
            }
            edit::target(edits, path, query)
        }
        None => question.url.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
    };
    if let Some(edits) = edits.and_then(|edits| edits.request.as_ref()) {
        // The only way to fail is a name that no header has, and these were checked.
        let _ = edit::headers(edits, &mut headers);
    }
    Sent { target, headers }
}
