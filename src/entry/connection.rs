//! One client's connection, as pingora takes it: the socket, under TLS or not, and what was learnt of both as it came in.
//!
//! Three guards stand here, because nothing above sees what they look at: what pingora would say to a head that it
//! refuses by itself is said in our words; a client that takes nothing of what is written for long is left; frames of
//! HTTP/2 that ask for work and bring none are counted.

use std::fmt;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use pingora_timeout::fast_timeout::fast_sleep;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::arrival::Arrival;
use super::buffers::{ReadAhead, WriteBuffer};
use super::frames::Frames;
use super::guard::Guard;
use super::linger::Linger;

/// A socket that TLS is spoken over. A plain one reads nothing ahead: pingora reads heads and bodies into room of its own.
pub type BelowTls = ReadAhead<WriteBuffer<TcpStream>>;

/// A client that goes on talking behind its request is listened to so far, because its leaving shows behind its words.
const MOST_STRAYS: usize = 8 << 10;

/// A connection through which requests can be read and answered.
pub struct Connection<S> {
    stream: S,
    fd: RawFd,
    socket: Arc<SocketDigest>,
    arrival: Arc<Arrival>,
    carried: Arc<ProxyDigest>,
    tls: Option<Tls>,
    /// Of HTTP/2 alone.
    frames: Option<Frames>,
    /// Bytes that came behind a request over HTTP/1.1, and were thrown away.
    strays: usize,
    /// Behind the end of what is said on it, where there were any.
    linger: Option<Box<Linger>>,
    /// What is said in the place of an answer of pingora's own, as far as it is not written yet.
    refusal: Option<Bytes>,
    /// For how long a write may wait.
    write_within: Duration,
    /// Set while one waits.
    write_by: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

struct Tls {
    digest: Arc<SslDigest>,
    speaks_http2: bool,
}

impl Connection<WriteBuffer<TcpStream>> {
    /// A write that waits for longer than `write_within` ends the connection.
    pub fn plain(socket: TcpStream, arrival: Arc<Arrival>, write_within: Duration) -> io::Result<Self> {
        let fd = socket.as_raw_fd();
        Self::new(WriteBuffer::new(socket), fd, arrival, None, write_within)
    }
}

impl Connection<TlsStream<BelowTls>> {
    /// After the handshake. A write that waits for longer than `write_within` ends the connection.
    pub fn tls(stream: TlsStream<BelowTls>, arrival: Arc<Arrival>, write_within: Duration) -> io::Result<Self> {
        let (socket, session) = stream.get_ref();
        let fd = socket.as_raw_fd();
        let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
        let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("unknown");
        let speaks_http2 = session.alpn_protocol() == Some(b"h2");
        let tls = Tls { digest: Arc::new(SslDigest::new(cipher, version, None, None, Vec::new())), speaks_http2 };
        Self::new(stream, fd, arrival, Some(tls), write_within)
    }
}

impl<S> Connection<S> {
    fn new(stream: S, fd: RawFd, arrival: Arc<Arrival>, tls: Option<Tls>, write_within: Duration) -> io::Result<Self> {
        let carried = arrival.digest().map_err(|error| io::Error::other(error.to_string()))?;
        let of_proxy = || arrival.porter().rules().edge.trusts(arrival.peer.ip());
        let frames = tls.as_ref().filter(|tls| tls.speaks_http2).map(|_| Frames::new(of_proxy()));
        let (socket, strays, linger) = (digest(fd, arrival.peer), 0, None);
        let (refusal, write_by) = (None, None);
        Ok(Self { stream, fd, socket, arrival, carried, tls, frames, strays, linger, refusal, write_within, write_by })
    }

    /// Whether what is written now is no answer to a request, but pingora's own to a head that it does not take.
    fn refuses(&self) -> bool {
        self.frames.is_none() && !self.arrival.has_head()
    }

    /// Takes pingora's words and has ours written in their place.
    fn replace(&mut self, words: &[u8]) {
        if self.refusal.is_none() {
            let guard = if words.starts_with(b"HTTP/1.1 405") { Guard::Method } else { Guard::InvalidHead };
            self.refusal = Some(self.arrival.porter().refuse(guard, &self.arrival));
        }
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let (Poll::Ready(Ok(bytes)), None) = (written, &self.frames) {
            self.arrival.note_taken(*bytes);
        }
    }

    /// A write that waits does so for a time: then it has failed.
    fn bounded<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_by = None;
            return written;
        }
        let within = self.write_within;
        ready!(self.write_by.get_or_insert_with(|| Box::pin(fast_sleep(within))).as_mut().poll(context));
        self.write_by = None;
        self.arrival.porter().count(Guard::WriteStall);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Waits for the client to leave. pingora would take what comes behind a request for an error in it.
    fn poll_strays(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.strays < MOST_STRAYS {
            let mut room = [MaybeUninit::<u8>::uninit(); 1 << 10];
            let mut read = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.strays += read.filled().len();
            self.arrival.note_strays();
        }
        // Nothing more is read that would send what is held (`WriteBuffer`).
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> Connection<S> {
    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(words) = self.refusal.as_mut().filter(|words| !words.is_empty()) {
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, words))?;
            words.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

/// A socket that TLS is to be spoken over.
pub fn below_tls(socket: TcpStream) -> BelowTls {
    ReadAhead::new(WriteBuffer::new(socket))
}

fn digest(fd: RawFd, peer: SocketAddr) -> Arc<SocketDigest> {
    let digest = SocketDigest::from_raw_fd(fd);
    let _ = digest.peer_addr.set(Some(peer.into())); // it is new
    Arc::new(digest)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.frames.is_none() && self.arrival.is_body_over() {
            return self.poll_strays(context);
        }
        let had = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if self.frames.as_mut().is_none_or(|frames| frames.may(&buffer.filled()[had..])) {
            return Poll::Ready(Ok(()));
        }
        self.arrival.porter().count(Guard::Http2Flood);
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.refuses() {
            self.replace(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(&written);
        self.bounded(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.refuses() {
            self.replace(pieces.first().map_or(&[], |piece| piece));
            return Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.count(&written);
        self.bounded(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match self.poll_refusal(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_flush(context),
            other => other,
        };
        self.bounded(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            let shut = match self.poll_refusal(context) {
                Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_shutdown(context),
                other => other,
            };
            ready!(self.bounded(context, shut))?;
            self.linger = self.arrival.has_strays().then(Box::default);
        }
        let Self { stream, linger, .. } = &mut *self;
        if let Some(linger) = linger {
            ready!(linger.poll(context, Pin::new(stream)));
        }
        Poll::Ready(Ok(()))
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
        Some(Arc::clone(&self.carried))
    }
}

/// HTTP/2 is spoken where ALPN says so, and never guessed from the first bytes.
impl<S: Send> Peek for Connection<S> {}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.socket.peer_addr()).field("tls", &self.tls.is_some()).finish()
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
