//! A client that speaks the very bytes it is told to, over TCP or TLS, and says exactly what came back: status, header
//! lines, body, and whether the answer ended as its framing promised or was cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::request::Request;

/// No answer in this time is a failed test, never a measurement.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One connection to cfx.
pub struct Client {
    wire: Wire,
    unread: Vec<u8>,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body ended where its framing said it would.
    pub complete: bool,
}

/// What comes next on a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// One event or comment, without the blank line that ends it.
    Event(String),
    /// The last chunk was said to be the last.
    End,
    /// The connection ended without it.
    Cut,
}

/// An answer that is still coming.
pub struct Streaming {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    client: Client,
    framing: Framing,
    text: Vec<u8>,
    over: Option<bool>,
}

enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
    Nothing,
}

impl Client {
    pub fn plain(address: SocketAddr) -> Self {
        Self { wire: Wire::Plain(connect(address)), unread: Vec::new() }
    }

    /// Over TLS with HTTP/1.1, trusting nothing but `root`.
    pub fn tls(address: SocketAddr, root: &CertificateDer<'static>) -> Self {
        Self::over(address, root, &[b"http/1.1"])
    }

    /// Over TLS, offering these protocols; the bytes of the one that is chosen are the caller's.
    pub fn over(address: SocketAddr, root: &CertificateDer<'static>, alpn: &[&[u8]]) -> Self {
        Self::tls_as(address, "cfx.test", Arc::new(trusting(root, alpn)))
    }

    /// Over TLS, asking for this name, in this way.
    pub fn tls_as(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from(name.to_string()).expect("a valid name");
        let session = ClientConnection::new(config, name).expect("a TLS client");
        let stream = StreamOwned::new(session, connect(address));
        Self { wire: Wire::Tls(Box::new(stream)), unread: Vec::new() }
    }

    /// Shakes hands, or says why not, and hands back how it went: over TLS there is a session.
    pub fn shake_hands(&mut self) -> std::io::Result<&ClientConnection> {
        let Wire::Tls(stream) = &mut self.wire else { panic!("a plain connection has no handshake") };
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(&stream.conn)
    }

    /// Whether the ticket that it comes with lets it send before the handshake is over.
    pub fn offers_early_data(&mut self) -> bool {
        let Wire::Tls(stream) = &mut self.wire else { return false };
        stream.conn.early_data().is_some()
    }

    /// The server may have hung up already (it had said enough): what it said is still read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = match &mut self.wire {
            Wire::Plain(stream) => stream.write_all(bytes),
            Wire::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
    }

    /// Below TLS, where there is any: before its handshake, which begins with what is sent first.
    pub fn send_below(&self, bytes: &[u8]) {
        self.socket().write_all(bytes).expect("cfx listens");
    }

    /// Sends a request and reads the whole answer; the connection can be used again.
    pub fn ask(&mut self, request: &Request) -> Answer {
        self.send(&request.bytes());
        self.answer()
    }

    pub fn answer(&mut self) -> Answer {
        let (status, headers, framing) = self.head();
        let mut body = Vec::new();
        let mut framing = framing;
        let complete = loop {
            match self.part(&mut framing) {
                Some(part) if part.is_empty() => break true,
                Some(part) => body.extend(part),
                None => break false,
            }
        };
        Answer { status, headers, body, complete }
    }

    /// The answer to a HEAD: a head whose length belongs to a body that does not come.
    pub fn head_only(&mut self) -> Answer {
        let (status, headers, _) = self.head();
        Answer { status, headers, body: Vec::new(), complete: true }
    }

    /// The answer, where the server sent one before it closed the connection.
    pub fn answer_if_any(&mut self) -> Option<Answer> {
        (!self.unread.is_empty() || self.fill() > 0).then(|| self.answer())
    }

    /// Everything until the server closes the connection, which it must.
    pub fn read_to_close(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.unread)
    }

    /// Sends a request and hands back the answer as it comes, once its head is there.
    pub fn stream(mut self, request: &Request) -> Streaming {
        self.send(&request.bytes());
        let (status, headers, framing) = self.head();
        Streaming { status, headers, client: self, framing, text: Vec::new(), over: None }
    }

    /// Says that nothing more will be sent, while still listening.
    pub fn half_close(&self) {
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    fn socket(&self) -> &TcpStream {
        match &self.wire {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => &stream.sock,
        }
    }

    /// Bytes read; 0 at the end, however it came about.
    fn fill(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        let read = match &mut self.wire {
            Wire::Plain(stream) => stream.read(&mut buffer),
            Wire::Tls(stream) => stream.read(&mut buffer),
        };
        if let Err(error) = &read {
            assert!(error.kind() != std::io::ErrorKind::WouldBlock, "cfx sent nothing for {PATIENCE:?}");
        }
        let count = read.unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..count]);
        count
    }

    /// The next `count` bytes, or None where the connection ends before.
    pub fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            if self.fill() == 0 {
                return None;
            }
        }
        Some(self.unread.drain(..count).collect())
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            if self.fill() == 0 {
                return None;
            }
        }
    }

    fn head(&mut self) -> (u16, Vec<(String, String)>, Framing) {
        loop {
            let first = self.line().expect("cfx closed the connection without an answer");
            let status: u16 = first.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
            let mut headers = Vec::new();
            while let Some(line) = self.line().filter(|line| !line.is_empty()) {
                let (name, value) = line.split_once(':').unwrap_or((&line, ""));
                headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
            }
            if status >= 200 {
                let framing = framing(status, &headers);
                return (status, headers, framing);
            }
        }
    }

    /// The next part of a body; empty at its proper end, None where it is cut.
    fn part(&mut self, framing: &mut Framing) -> Option<Vec<u8>> {
        match framing {
            Framing::Nothing | Framing::Length(0) => Some(Vec::new()),
            Framing::Length(left) => {
                if self.unread.is_empty() && self.fill() == 0 {
                    return None;
                }
                let count = self.unread.len().min(*left);
                *left -= count;
                self.exactly(count)
            }
            Framing::Chunked => {
                let size = usize::from_str_radix(self.line()?.split(';').next()?, 16).ok()?;
                let chunk = self.exactly(size)?;
                self.line()?;
                Some(chunk)
            }
            Framing::UntilClose => {
                if self.unread.is_empty() {
                    self.fill();
                }
                Some(std::mem::take(&mut self.unread))
            }
        }
    }
}

impl Streaming {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub fn next(&mut self) -> Next {
        loop {
            if let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.text.drain(..end + 2).take(end).collect();
                return Next::Event(String::from_utf8(event).expect("events are UTF-8"));
            }
            match self.over {
                Some(_) if !self.text.is_empty() => {
                    return Next::Event(String::from_utf8_lossy(&std::mem::take(&mut self.text)).into_owned());
                }
                Some(true) => return Next::End,
                Some(false) => return Next::Cut,
                None => {}
            }
            match self.client.part(&mut self.framing) {
                Some(part) if part.is_empty() => self.over = Some(true),
                Some(part) => self.text.extend(part),
                None => self.over = Some(false),
            }
        }
    }

    /// The next piece as it was sent; None at the end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        self.client.part(&mut self.framing).filter(|piece| !piece.is_empty())
    }

    /// The next event, which must come.
    pub fn event(&mut self) -> String {
        match self.next() {
            Next::Event(event) => event,
            other => panic!("an event was due, not {other:?}"),
        }
    }

    /// Every event up to the end, and whether that end was a proper one.
    pub fn rest(mut self) -> (Vec<String>, bool) {
        let mut events = Vec::new();
        loop {
            match self.next() {
                Next::Event(event) => events.push(event),
                Next::End => return (events, true),
                Next::Cut => return (events, false),
            }
        }
    }

    /// Leaves as a client does whose process was killed.
    pub fn leave(self) {
        let _ = self.client.socket().shutdown(Shutdown::Both);
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// `error.code` of a refusal.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_string()
    }

    /// `error.message` of a refusal.
    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_string()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {:?}\n{}", self.status, self.headers, self.text())
    }
}

/// Trusts `root` and nothing else.
pub fn trusting(root: &CertificateDer<'static>, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("cfx accepts connections");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn framing(status: u16, headers: &[(String, String)]) -> Framing {
    if matches!(status, 204 | 304) {
        return Framing::Nothing;
    }
    if header(headers, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Framing::Chunked;
    }
    header(headers, "content-length")
        .and_then(|length| length.parse().ok())
        .map_or(Framing::UntilClose, Framing::Length)
}
