//! One connection to the edge, small enough that ten thousand fit.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use crate::Edge;
use crate::trust::Anybody;

/// The system hands out some 28,000 ports for each of our addresses.
const PORTS: u32 = 20_000;

pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// How to come to an edge.
#[derive(Clone)]
pub struct Door {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

/// A head and where it ends in what was read.
pub struct Head {
    pub status: u16,
    lines: String,
}

impl Door {
    pub fn of(edge: &Edge) -> io::Result<Self> {
        let tls = if edge.tls { Some(connector()?) } else { None };
        Ok(Self { address: edge.address, tls })
    }

    /// A new connection of the `number`th client.
    pub async fn connect(&self, number: u32) -> io::Result<Box<dyn Wire>> {
        let socket = TcpSocket::new_v4()?;
        if self.address.ip().is_loopback() && number >= PORTS {
            let own = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + number / PORTS);
            socket.bind(SocketAddr::from((own, 0)))?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(tls) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                Ok(Box::new(tls.connect(name, stream).await?))
            }
        }
    }
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split_once(':').is_some_and(|(have, _)| have.eq_ignore_ascii_case(name));
        self.lines.lines().find(named)?.split_once(':').map(|(_, value)| value.trim())
    }

    /// What a refusal asks to be waited for.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after-ms")?.parse().ok().map(Duration::from_millis)
    }
}

/// A chat request up to its body.
pub fn head(key: &str, length: usize) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// A chat request's body of about `size` bytes.
pub fn chat(size: usize, stream: bool) -> String {
    let start = format!("{{\"model\":\"plan\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"");
    let text = "x".repeat(size.saturating_sub(start.len() + 4));
    format!("{start}{text}\"}}]}}")
}

/// Reads up to the end of an answer's head; what was read behind it stays in `held`.
pub async fn read_head(wire: &mut (impl AsyncRead + Unpin), held: &mut Vec<u8>) -> io::Result<Head> {
    loop {
        if let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            let lines = String::from_utf8_lossy(&held[..end]).into_owned();
            held.drain(..end + 4);
            let status = lines.split(' ').nth(1).and_then(|word| word.parse().ok());
            let status = status.ok_or_else(|| io::Error::other("no status line"))?;
            return Ok(Head { status, lines });
        }
        if wire.read_buf(held).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Reads an answer whose length is said.
pub async fn read_answer(wire: &mut (impl AsyncRead + Unpin), held: &mut Vec<u8>) -> io::Result<(Head, Vec<u8>)> {
    let head = read_head(wire, held).await?;
    let length = head.header("content-length").and_then(|length| length.parse().ok());
    let length: usize = length.ok_or_else(|| io::Error::other("an answer without a length"))?;
    while held.len() < length {
        if wire.read_buf(held).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((head, held.drain(..length).collect()))
}

fn connector() -> io::Result<TlsConnector> {
    let verifier = Arc::new(Anybody { provider: ring::default_provider(), checks_signatures: false });
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous();
    let mut config = builder.with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled(); // every client is another
    Ok(TlsConnector::from(Arc::new(config)))
}
