//! What a web application is told of who asked, in the place of all that the client claims about itself.

use http::header::{COOKIE, HOST};
use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;

use super::exchange::Exchange;
use super::guard::has_underscore;
use super::route;
use crate::config::{ClientHeader, Underscores};
use crate::entry::arrival::Arrival;
use crate::entry::claims::{self, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REAL_IP};
use crate::entry::client_address::client;

/// Says who the client is, how it came and which host it asked for, as one answer throughout. What else a proxy may say,
/// such as the port that it was asked at, is passed on from those that are trusted and from nobody else.
pub fn tell(session: &ServerSession, request: &mut RequestHeader, exchange: &Exchange) -> Result<()> {
    let edge = &exchange.snapshot.edge;
    let trusted = Arrival::of(session.digest()).is_some_and(|arrival| edge.trusts(arrival.peer.ip()));
    let drops_underscores = edge.guards.underscores == Underscores::Drop;
    remove_where(request, |name| {
        let lie = if trusted { claims::names_the_client(name) } else { claims::is_a_proxys_word(name) };
        lie || matches!(&edge.client_header, ClientHeader::Named(named) if named == name)
            || drops_underscores && has_underscore(name)
    });
    let client = exchange.client.get().map(ToString::to_string);
    set(request, X_REAL_IP, client.as_deref())?;
    set(request, X_FORWARDED_FOR, client.as_deref())?;
    let https = route::came_by_https(session, edge);
    request.insert_header(X_FORWARDED_PROTO, if https { "https" } else { "http" })?;
    set(request, X_FORWARDED_HOST, host_asked_for(session, exchange))?;
    join_cookies(request)
}

/// Over HTTP/2 each cookie may have a line of its own; elsewhere there is one for all (RFC 9113 §8.2.3).
fn join_cookies(request: &mut RequestHeader) -> Result<()> {
    let lines: Vec<&[u8]> = request.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() < 2 {
        return Ok(());
    }
    let whole = lines.join(&b"; "[..]);
    request.insert_header(COOKIE, whole)
}

/// What is not known is told by nobody else, either.
fn set(request: &mut RequestHeader, name: HeaderName, value: Option<impl TryInto<HeaderValue>>) -> Result<()> {
    match value.and_then(|value| value.try_into().ok()) {
        Some(value) => request.insert_header(name, value),
        None => {
            request.remove_header(&name);
            Ok(())
        }
    }
}

/// The host that the outermost of our proxies was asked for, else the one that we were.
fn host_asked_for(session: &ServerSession, exchange: &Exchange) -> Option<HeaderValue> {
    let head = session.req_header();
    let told = Arrival::of(session.digest())
        .and_then(|arrival| client(arrival.peer.ip(), &exchange.snapshot.edge, &head.headers).host)
        .and_then(|host| HeaderValue::try_from(host).ok());
    let own = || match head.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => head.headers.get(HOST).cloned(),
    };
    told.or_else(own)
}

fn remove_where(request: &mut RequestHeader, unwanted: impl Fn(&HeaderName) -> bool) {
    let unwanted: Vec<HeaderName> = request.headers.keys().filter(|name| unwanted(name)).cloned().collect();
    for name in &unwanted {
        request.remove_header(name);
    }
}
