//! What a web application is told of who asked, in the place of all that the client claims about itself.

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;

use super::exchange::Exchange;
use super::guard::has_underscore;
use super::route;
use crate::config::{ClientHeader, Underscores};
use crate::entry::arrival::Arrival;
use crate::entry::client_address::client;

/// Headers in which proxies and CDNs name the client. From anybody else they are a lie, and `X-Real-IP` is set anew.
const CLAIMS: [HeaderName; 7] = [
    FORWARDED,
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("cf-connecting-ipv6"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-cluster-client-ip"),
    HeaderName::from_static("fastly-client-ip"),
];

/// Says who the client is, how it came and which host it asked for, as one answer throughout.
pub fn tell(session: &ServerSession, request: &mut RequestHeader, exchange: &Exchange) -> Result<()> {
    let edge = &exchange.snapshot.edge;
    for claim in &CLAIMS {
        request.remove_header(claim);
    }
    if let ClientHeader::Named(name) = &edge.client_header {
        request.remove_header(name);
    }
    if edge.guards.underscores == Underscores::Drop {
        drop_underscores(request);
    }
    if let Some(client) = exchange.client.get() {
        let client = client.to_string();
        request.insert_header("x-real-ip", &client)?;
        request.insert_header("x-forwarded-for", client)?;
    }
    let https = route::came_by_https(session, edge);
    request.insert_header("x-forwarded-proto", if https { "https" } else { "http" })?;
    match host_asked_for(session, exchange) {
        Some(host) => request.insert_header("x-forwarded-host", host),
        None => {
            request.remove_header("x-forwarded-host");
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

fn drop_underscores(request: &mut RequestHeader) {
    let named = |headers: &HeaderMap| headers.keys().find(|name| has_underscore(name)).cloned();
    while let Some(name) = named(&request.headers) {
        request.remove_header(&name);
    }
}
