//! Who the client is: the peer of the connection, or what trusted proxies say of it.
//!
//! One answer for log, limits, allow lists and what web applications are told. Headers are read from the right, where
//! our own proxies write: the first address that is not one of theirs is the client, and what stands left of it the
//! client may have written itself. Only the header that the configuration names is read: a proxy that writes one lets
//! the other pass.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::claims::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use super::forwarded::{self, Element};
use crate::config::{ClientHeader, Edge};

/// One request's client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    /// Whether it spoke TLS to the outermost of our proxies. None: nobody who is trusted says.
    pub https: Option<bool>,
    /// The host that it asked that proxy for.
    pub host: Option<String>,
}

/// The client behind `peer`, as `headers` have it where that is one of our proxies.
pub fn client(peer: IpAddr, edge: &Edge, headers: &HeaderMap) -> Client {
    let peer = peer.to_canonical();
    if edge.trusted_proxies.is_empty() || !edge.trusts(peer) {
        return Client { address: peer, https: None, host: None };
    }
    match &edge.client_header {
        ClientHeader::XForwardedFor => {
            let (address, hops) = outermost(peer, edge, headers);
            beside(address, hops, headers)
        }
        ClientHeader::Forwarded => by_forwarded(peer, edge, headers),
        ClientHeader::Named(name) => {
            let mut values = headers.get_all(name).iter();
            let only = values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok());
            beside(only.and_then(address).unwrap_or(peer), 1, headers)
        }
    }
}

/// The first address from the right that is not one of ours, and which entry that was. One that is malformed ends the
/// reading at the last that was sound.
fn outermost(peer: IpAddr, edge: &Edge, headers: &HeaderMap) -> (IpAddr, usize) {
    let (mut client, mut hops) = (peer, 0);
    for entry in entries(headers, &X_FORWARDED_FOR) {
        hops += 1;
        let Some(address) = address(entry) else { break };
        client = address;
        if !edge.trusts(client) {
            break;
        }
    }
    (client, hops)
}

/// Scheme and host as the proxy wrote them that wrote the client's address, `hops` entries from the right; a header
/// that is not appended to has one value, which is that proxy's.
fn beside(address: IpAddr, hops: usize, headers: &HeaderMap) -> Client {
    let entry = |name: &HeaderName| {
        entries(headers, name).take(hops.max(1)).last().map(str::trim).filter(|entry| !entry.is_empty())
    };
    let https = entry(&X_FORWARDED_PROTO).and_then(is_https);
    Client { address, https, host: entry(&X_FORWARDED_HOST).map(str::to_owned) }
}

fn by_forwarded(peer: IpAddr, edge: &Edge, headers: &HeaderMap) -> Client {
    let (mut client, mut last) = (peer, Element::default());
    for line in headers.get_all(http::header::FORWARDED).iter().rev() {
        for element in forwarded::from_right(&text(line)) {
            let Some(element) = element else { return told(client, last) };
            let address = element.node.as_deref().and_then(address);
            last = element;
            let Some(address) = address else { return told(client, last) };
            client = address;
            if !edge.trusts(client) {
                return told(client, last);
            }
        }
    }
    told(client, last)
}

fn told(address: IpAddr, element: Element) -> Client {
    Client { address, https: element.proto.as_deref().and_then(is_https), host: element.host }
}

/// The entries of a list, the last one first. One that is no text is one that is malformed: it ends the reading like any
/// other, and does no harm to those behind it.
fn entries<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> + use<'h> {
    let entries = headers.get_all(name).iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    entries.map(|entry| std::str::from_utf8(entry).ok().filter(|entry| entry.is_ascii()).unwrap_or("?"))
}

/// A line with a question mark for each byte that is not ASCII: it spoils what it stands in and nothing else.
fn text(line: &HeaderValue) -> Cow<'_, str> {
    let ascii = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '?' };
    line.to_str().map_or_else(|_| line.as_bytes().iter().map(ascii).collect(), Cow::Borrowed)
}

fn is_https(scheme: &str) -> Option<bool> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss") => Some(true),
        _ if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("ws") => Some(false),
        _ => None,
    }
}

/// `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:443`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = || text.parse::<IpAddr>().ok();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare().or_else(bracketed).or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
#[path = "client_address_tests.rs"]
mod tests;
