//! Lines of a header that names the client, behind the connection's own address and whom that is trusted by. Nobody is
//! believed whom no trusted proxy named, and what a client could have written itself changes nothing.

use std::net::{IpAddr, SocketAddr};

use cfx::config::{ClientHeader, Edge};
use cfx::entry::client_address::client;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::SHIPPED;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const NAMED: HeaderName = HeaderName::from_static("cf-connecting-ip");

pub fn target(bytes: &[u8]) {
    let Some((peer, text)) = bytes.split_at_checked(4) else { return };
    let peer = IpAddr::from([peer[0], peer[1], peer[2], peer[3]]);
    let lines: Vec<_> =
        text.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    for (name, header) in [
        (X_FORWARDED_FOR, ClientHeader::XForwardedFor),
        (FORWARDED, ClientHeader::Forwarded),
        (NAMED, ClientHeader::Named(NAMED)),
    ] {
        let headers: HeaderMap = lines.iter().map(|line| (name.clone(), line.clone())).collect();
        let mut edge = Edge::clone(&SHIPPED.edge);
        edge.client_header = header;
        assert_eq!(client(peer, &edge, &headers).address, peer, "an untrusted address was believed");
        for trusted in [&["0.0.0.0/0", "::/0"][..], &["0.0.0.0/0"], &["10.0.0.0/8"]] {
            edge.trusted_proxies = trusted.iter().map(|range| range.parse().expect("a range")).collect();
            let found = client(peer, &edge, &headers);
            assert_eq!(found.address, found.address.to_canonical());
            if !edge.trusts(peer) {
                assert!(found.address == peer && found.host.is_none() && found.https.is_none(), "{found:?}");
                continue;
            }
            if name == X_FORWARDED_FOR && found.address != peer {
                assert!(was_named(found.address, &edge, &lines), "nobody named {}", found.address);
            }
            // What stands left of an address that is nobody's of ours was not written by one of ours.
            if name != NAMED && !edge.trusts(found.address) {
                let lie = HeaderValue::from_static("for=6.6.6.6;host=evil;proto=https, 6.6.6.6, for=\"");
                let lied = [lie].iter().chain(&lines).map(|line| (name.clone(), line.clone())).collect();
                assert_eq!(client(peer, &edge, &lied), found, "a client was believed");
            }
        }
    }
}

/// Whether an entry is that address, with none but our own behind it.
fn was_named(address: IpAddr, edge: &Edge, lines: &[HeaderValue]) -> bool {
    let entries = lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let addresses: Vec<_> = entries.map(of_entry).collect();
    let ours = |behind: &[Option<IpAddr>]| behind.iter().all(|entry| entry.is_some_and(|entry| edge.trusts(entry)));
    (0..addresses.len()).any(|place| addresses[place] == Some(address) && ours(&addresses[place + 1..]))
}

fn of_entry(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim();
    let bare = entry.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    bare.or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip())).map(|address| address.to_canonical())
}
