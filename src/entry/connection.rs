//! One client's connection, as pingora takes it: the socket, under TLS or not, and what was learnt of both as it came in.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufStream, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::arrival::Arrival;

/// A head and a short body leave in one system call.
const WRITE_BUFFER: usize = 4 << 10;
/// rustls reads a record's head and its body apart. A plain connection needs none: pingora reads heads and bodies into
/// room of their own.
const TLS_READ_BUFFER: usize = 8 << 10;

/// A socket below TLS.
pub type Buffered = BufStream<TcpStream>;

/// A connection through which requests can be read and answered.
pub struct Connection<S> {
    stream: S,
    fd: RawFd,
    socket: Arc<SocketDigest>,
    arrival: Arc<ProxyDigest>,
    tls: Option<Tls>,
}

struct Tls {
    digest: Arc<SslDigest>,
    speaks_http2: bool,
}

impl Connection<BufWriter<TcpStream>> {
    pub fn plain(socket: TcpStream, arrival: Arrival) -> io::Result<Self> {
        let fd = socket.as_raw_fd();
        let stream = BufWriter::with_capacity(WRITE_BUFFER, socket);
        Ok(Self { stream, fd, socket: digest(fd, arrival.peer), arrival: carried(arrival)?, tls: None })
    }
}

impl Connection<TlsStream<Buffered>> {
    /// After the handshake.
    pub fn tls(stream: TlsStream<Buffered>, arrival: Arrival) -> io::Result<Self> {
        let (socket, session) = stream.get_ref();
        let fd = socket.get_ref().as_raw_fd();
        let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
        let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("unknown");
        let speaks_http2 = session.alpn_protocol() == Some(b"h2");
        let tls = Tls { digest: Arc::new(SslDigest::new(cipher, version, None, None, Vec::new())), speaks_http2 };
        Ok(Self { stream, fd, socket: digest(fd, arrival.peer), arrival: carried(arrival)?, tls: Some(tls) })
    }
}

/// A socket that TLS is to be spoken over.
pub fn buffered(socket: TcpStream) -> Buffered {
    BufStream::with_capacity(TLS_READ_BUFFER, WRITE_BUFFER, socket)
}

fn digest(fd: RawFd, peer: SocketAddr) -> Arc<SocketDigest> {
    let digest = SocketDigest::from_raw_fd(fd);
    let _ = digest.peer_addr.set(Some(peer.into())); // it is new
    Arc::new(digest)
}

fn carried(arrival: Arrival) -> io::Result<Arc<ProxyDigest>> {
    arrival.into_digest().map_err(|error| io::Error::other(error.to_string()))
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[async_trait]
impl<S: AsyncWrite + Unpin + Send> Shutdown for Connection<S> {
    async fn shutdown(&mut self) {
        let _ = self.stream.shutdown().await; // the client may have gone first
    }
}

impl<S> UniqueID for Connection<S> {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl<S> Ssl for Connection<S> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.as_ref().map(|tls| Arc::clone(&tls.digest))
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        let tls = self.tls.as_ref()?;
        Some(if tls.speaks_http2 { ALPN::H2 } else { ALPN::H1 })
    }
}

impl<S> GetSocketDigest for Connection<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.socket))
    }
}

impl<S> GetTimingDigest for Connection<S> {
    /// Nobody asks.
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S> GetProxyDigest for Connection<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.arrival))
    }
}

/// HTTP/2 is spoken where ALPN says so, and never guessed from the first bytes.
impl<S: Send> Peek for Connection<S> {}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.socket.peer_addr()).field("tls", &self.tls.is_some()).finish()
    }
}
