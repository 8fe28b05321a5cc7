//! PROXY headers, of version 1 and 2: how a proxy that passes bytes on says whose they are.
//!
//! Read from trusted proxies alone, and to their last byte and no further: what follows may be TLS.

use std::io;
use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;

/// Of version 2, by which its first bytes are told from those of version 1.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, length.
const FIXED: usize = SIGNATURE.len() + 4;
/// The longest line of version 1.
const LINE: usize = 107;
/// What follows the addresses in version 2, its remarks included, may be so much and no more.
const MOST: usize = 4 << 10;

/// Who the client is, by the header that the connection begins with. None: the proxy speaks for itself.
pub async fn read(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(FIXED, 0);
        stream.read_exact(&mut header[SIGNATURE.len()..]).await?;
        let length = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
        if length > MOST {
            return Err(malformed());
        }
        header.resize(FIXED + length, 0);
        stream.read_exact(&mut header[FIXED..]).await?;
    } else {
        read_line(stream, &mut header).await?;
    }
    client(&header)
}

/// Reads on to the end of the line, whatever stands behind it.
async fn read_line(stream: &mut TcpStream, line: &mut Vec<u8>) -> io::Result<()> {
    if !line.starts_with(b"PROXY ") {
        return Err(malformed());
    }
    let mut ahead = [0; LINE];
    while line.last() != Some(&b'\n') {
        let room = LINE.saturating_sub(line.len());
        if room == 0 {
            return Err(malformed());
        }
        stream.ready(Interest::READABLE).await?;
        let seen = stream.peek(&mut ahead[..room]).await?;
        let taken = ahead[..seen].iter().position(|byte| *byte == b'\n').map_or(seen, |end| end + 1);
        if taken == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let had = line.len();
        line.resize(had + taken, 0);
        stream.read_exact(&mut line[had..]).await?;
    }
    Ok(())
}

fn client(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    let wanted = ParseConfig { include_tlvs: false, allow_v1: true, allow_v2: true };
    let (parsed, length) =
        ProxyHeader::parse(header, wanted).map_err(|error: Error| io::Error::other(error.to_string()))?;
    if length != header.len() {
        return Err(malformed());
    }
    Ok(parsed.proxied_address().map(|address| address.source))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no PROXY header")
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// What is read of `bytes`, which come in pieces of `step`, and what is left.
    async fn read_of(bytes: &[u8], step: usize) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (mut served, _) = listener.accept().await.unwrap();
        let bytes = bytes.to_vec();
        let sending = tokio::spawn(async move {
            for piece in bytes.chunks(step) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let outcome = read(&mut served).await;
        sending.await.unwrap();
        let mut rest = Vec::new();
        if outcome.is_ok() {
            served.read_to_end(&mut rest).await.unwrap();
        }
        (outcome, rest)
    }

    fn version_2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[0x20 | command, family], &length, payload].concat()
    }

    #[tokio::test]
    async fn both_versions_are_read_and_nothing_behind_them() {
        let v4 = [&[203, 0, 113, 9, 10, 0, 0, 1][..], &[0x30, 0x39, 0x01, 0xbb]].concat();
        let mut with_remarks = v4.clone();
        with_remarks.extend([4, 0, 3, 0, 0, 0]);
        let v6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0; 16], &[0x30, 0x39, 1, 187]];
        for (header, wanted) in [
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 12345 443\r\n".to_vec(), Some("203.0.113.9:12345")),
            (b"PROXY TCP6 2001:db8::7 ::1 12345 443\r\n".to_vec(), Some("[2001:db8::7]:12345")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ::2 1 2\r\n".to_vec(), None),
            (version_2(1, 0x11, &v4), Some("203.0.113.9:12345")),
            (version_2(1, 0x11, &with_remarks), Some("203.0.113.9:12345")),
            (version_2(1, 0x21, &v6.concat()), Some("[2001:db8::7]:12345")),
            (version_2(0, 0x00, &[]), None),
            (version_2(0, 0x11, &v4), None),
        ] {
            for step in [1, 5, 4096] {
                let (outcome, rest) = read_of(&[&header[..], b"\x16GET"].concat(), step).await;
                let found = outcome.unwrap().map(|address| address.to_string());
                assert_eq!(found.as_deref(), wanted, "{}", header.escape_ascii());
                assert_eq!(rest, b"\x16GET", "{}", header.escape_ascii());
            }
        }
    }

    #[tokio::test]
    async fn what_is_none_is_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PROXY TCP4 203.0.113.9 10.0.0.1 12345\r\n",
            b"PROXY TCP4 203.0.113.999 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\n",
            &[b"PROXY UNKNOWN ", &[b'a'; 200][..], b"\r\n"].concat(),
            &version_2(2, 0x11, &[0; 12]),
            &version_2(1, 0x11, &[0; 11]),
            &version_2(1, 0x11, &[0; 5000]),
            b"PROXY",
        ] {
            assert!(read_of(bytes, 4096).await.0.is_err(), "{}", bytes.escape_ascii());
        }
    }
}
