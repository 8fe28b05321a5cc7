//! The first bytes of a connection from a proxy that says whose it is, behind one that says how they are cut. Cutting
//! changes nothing, nothing behind the header is taken, the client is who stands in it, and can be written anew.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use cfx::entry::proxy_header::read;
use tokio::io::AsyncReadExt;

use super::wire::served;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

pub fn target(bytes: &[u8]) {
    let Some((how, sent)) = bytes.split_first() else { return };
    let piece = (usize::from(how % 32) + 1).max(sent.len() / 256);
    let (whole, cut) = (of(sent, sent.len().max(1)), of(sent, piece));
    assert_eq!(whole, cut, "in pieces of {piece} bytes");
    let Ok((client, rest)) = whole else { return };
    let header = sent.strip_suffix(&rest[..]).expect("what stands behind a header is left");
    assert_eq!(client, named(header));
    let Some(client) = client else { return };
    for again in [line(client), block(client)] {
        let read = of(&[&again, sent].concat(), piece.max(sent.len() / 64));
        assert_eq!(read, Ok((Some(client), sent.to_vec())), "{}", again.escape_ascii());
    }
}

/// The client and what follows the header.
type Read = Result<(Option<SocketAddr>, Vec<u8>), String>;

fn of(sent: &[u8], piece: usize) -> Read {
    let read = served(sent, piece, async |mut stream| {
        let client = read(&mut stream).await?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
        io::Result::Ok((client, rest))
    });
    read.0.map_err(|error| error.to_string())
}

/// The client, as somebody else would read it.
fn named(header: &[u8]) -> Option<SocketAddr> {
    let Some(block) = header.strip_prefix(SIGNATURE) else {
        assert!(header.len() <= 107 && header.ends_with(b"\r\n"), "{}", header.escape_ascii());
        let words: Vec<_> = std::str::from_utf8(header).ok()?.trim_end().split(' ').collect();
        let ["PROXY", "TCP4" | "TCP6", source, _, port, _] = words[..] else {
            assert!(header.starts_with(b"PROXY UNKNOWN"), "{}", header.escape_ascii());
            return None;
        };
        return Some(SocketAddr::new(source.parse().expect("an address"), port.parse().expect("a port")));
    };
    let (&[command, family, high, low], rest) = block.split_first_chunk::<4>().expect("a whole header");
    assert_eq!(rest.len(), usize::from(high) << 8 | usize::from(low));
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    match (command, family >> 4) {
        (0x21, 1) => Some((<[u8; 4]>::try_from(&rest[..4]).ok()?, port(8)).into()),
        (0x21, 2) => Some((<[u8; 16]>::try_from(&rest[..16]).ok()?, port(32)).into()),
        _ => None,
    }
}

fn line(client: SocketAddr) -> Vec<u8> {
    let (family, port) = (if client.is_ipv4() { 4 } else { 6 }, client.port());
    let here: IpAddr = if client.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    format!("PROXY TCP{family} {} {here} {port} 443\r\n", client.ip()).into_bytes()
}

fn block(client: SocketAddr) -> Vec<u8> {
    let port = client.port().to_be_bytes();
    match client.ip() {
        IpAddr::V4(address) => {
            [&SIGNATURE[..], &[0x21, 0x11, 0, 12], &address.octets(), &[127, 0, 0, 1], &port, &[1, 187]].concat()
        }
        IpAddr::V6(address) => {
            [&SIGNATURE[..], &[0x21, 0x21, 0, 36], &address.octets(), &[0; 16], &port, &[1, 187]].concat()
        }
    }
}
