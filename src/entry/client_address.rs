//! Who the client is: the peer of the connection, or what a trusted proxy says of it.

use std::net::IpAddr;

use ipnet::IpNet;

/// The client's address. `forwarded_for` is read from the right, where our own proxies write: the first address that is
/// not one of theirs is the client; what stands left of it the client may have written itself. A malformed entry ends
/// the reading at the last address that was sound.
pub fn client_address<'header>(
    peer: IpAddr,
    trusted: &[IpNet],
    forwarded_for: impl DoubleEndedIterator<Item = &'header str>,
) -> IpAddr {
    let is_ours = |address: IpAddr| trusted.iter().any(|range| range.contains(&address));
    let mut client = peer.to_canonical();
    if !is_ours(client) {
        return client;
    }
    for entry in forwarded_for.rev().flat_map(|line| line.rsplit(',')) {
        let Ok(address) = entry.trim().parse::<IpAddr>() else { break };
        client = address.to_canonical();
        if !is_ours(client) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, trusted: &[&str], lines: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|range| range.parse().unwrap()).collect();
        client_address(peer.parse().unwrap(), &trusted, lines.iter().copied()).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(seen("203.0.113.9", &[], &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &["10.0.0.0/8"], &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["10.0.0.0/8"], &[]), "10.0.0.1");
    }

    #[test]
    fn what_a_client_writes_itself_is_not_believed() {
        assert_eq!(seen("10.0.0.1", &["10.0.0.0/8"], &["6.6.6.6, 198.51.100.1, 10.0.0.7"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["10.0.0.0/8"], &["6.6.6.6", "198.51.100.1"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["10.0.0.0/8"], &["junk, 10.0.0.7"]), "10.0.0.7");
    }
}
