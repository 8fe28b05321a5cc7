//! A chain of proxies that write as they should, behind what a client wrote: whatever that was, the client is found as
//! the outermost of them saw it, with the host it asked for.
//!
//! The input: bytes that say how it is written, a zero byte, what the client wrote, a zero byte, the host.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use cfx::config::{ClientHeader, Edge};
use cfx::entry::client_address::client;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::SHIPPED;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const NAMED: HeaderName = HeaderName::from_static("true-client-ip");
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

pub fn target(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let [how, lie, host] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let how = |place: usize| how.get(place).copied().unwrap_or_default();
    let lie = written(lie);
    let host: String = host.iter().filter(|byte| (32..127).contains(*byte)).map(|byte| char::from(*byte)).collect();
    let address = outsider([how(3), how(4), how(5)], how(1) & 1 != 0);
    let https = how(1) & 2 != 0;
    let mut edge = Edge::clone(&SHIPPED.edge);
    edge.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a range")];
    let mut headers = HeaderMap::new();
    match how(0) % 3 {
        0 => {
            edge.client_header = ClientHeader::XForwardedFor;
            let entries = [with_port(address, how(2))].into_iter().chain(hops(how(1)));
            append(&mut headers, &X_FORWARDED_FOR, &lie, entries, how(2));
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if https { "https" } else { "http" }));
        }
        1 => {
            edge.client_header = ClientHeader::Forwarded;
            let scheme = if https { "HTTPS" } else { "http" };
            let first = format!("for={};host={};proto={scheme}", quoted(&with_port(address, how(2))), quoted(&host));
            let entries = [first].into_iter().chain(hops(how(1)).map(|hop| format!("For={hop}")));
            append(&mut headers, &FORWARDED, &lie, entries, how(2));
        }
        _ => {
            edge.client_header = ClientHeader::Named(NAMED);
            headers.insert(NAMED, with_port(address, how(2)).parse().expect("a value"));
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if https { "wss" } else { "ws" }));
            headers.append(X_FORWARDED_FOR, lie);
        }
    }
    let found = client(PEER, &edge, &headers);
    assert_eq!(found.address, address, "{headers:?}");
    assert_eq!(found.https, Some(https), "{headers:?}");
    if edge.client_header == ClientHeader::Forwarded {
        assert_eq!(found.host.as_deref(), Some(&*host), "{headers:?}");
    }
}

/// What a client may send as the value of a header: no zero bytes, no ends of lines.
fn written(bytes: &[u8]) -> HeaderValue {
    let allowed = bytes.iter().filter(|byte| **byte == b'\t' || (**byte >= 32 && **byte != 127));
    HeaderValue::from_bytes(&allowed.copied().collect::<Vec<_>>()).expect("a value")
}

/// An address that is none of ours.
fn outsider(octets: [u8; 3], v6: bool) -> IpAddr {
    let [a, b, c] = octets;
    if v6 {
        Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, a.into(), b.into(), c.into()]).into()
    } else {
        [198, a, b, c].into()
    }
}

fn hops(how: u8) -> impl Iterator<Item = String> {
    (0..how >> 2 & 3).map(|hop| format!("10.0.0.{hop}"))
}

fn with_port(address: IpAddr, how: u8) -> String {
    match (how & 3, address) {
        (0, _) => SocketAddr::new(address, 4711).to_string(),
        (1, IpAddr::V6(address)) => format!("[{address}]"),
        _ => address.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .flat_map(|letter| ['\\'; 1].into_iter().filter(move |_| "\"\\".contains(letter)).chain([letter]))
        .collect();
    format!("\"{escaped}\"")
}

/// Behind what the client wrote, on its line or on others.
fn append(
    headers: &mut HeaderMap,
    name: &HeaderName,
    lie: &HeaderValue,
    entries: impl Iterator<Item = String>,
    how: u8,
) {
    let entries: Vec<_> = entries.collect();
    if how & 4 == 0 {
        let line = [lie.as_bytes(), b", ", entries.join(", ").as_bytes()].concat();
        headers.append(name, HeaderValue::from_bytes(&line).expect("a value"));
        return;
    }
    headers.append(name, lie.clone());
    if how & 8 == 0 {
        headers.append(name, entries.join(",").parse().expect("a value"));
    } else {
        for entry in entries {
            headers.append(name, entry.parse().expect("a value"));
        }
    }
}
