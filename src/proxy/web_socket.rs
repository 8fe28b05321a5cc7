//! WebSockets of web applications: the stock loop carries them, over a connection to the application that is ours below
//! TLS. It does two things that the loop does not.
//!
//! It answers late. Where the loop has read a 101 before it took note that the request has no body, it takes the end of
//! that body for the end of the tunnel and closes it, and an application that is fast, or a machine that is busy, makes
//! it do so. And it has one clock for both directions: the loop's own would cut a tunnel in which one side alone speaks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use http::Version;
use http::header::UPGRADE;
use pingora::http::RequestHeader;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::units::RequestId;

/// A tunnel in which nobody has said anything for so long, and for at most twice as long, is closed.
const IDLE: Duration = Duration::from_secs(3600);
/// How often what the application says is not looked for once it has been asked. Before each look the task's other half
/// has had its turn: in the first it may have been out of tokio's budget, in the second it hands the empty body over,
/// and in the third that is taken note of.
const TURNS: u8 = 3;

const CONNECTING: u8 = 0;
const ASKED: u8 = 1;
const OPEN: u8 = 2;

/// One request for a WebSocket, on its way through one attempt.
#[derive(Debug)]
pub struct Tunnel {
    stage: AtomicU8,
    /// How long the application may take to answer.
    patience: Duration,
}

impl Tunnel {
    /// Where this request asks for a WebSocket: has its connection made here, for itself alone.
    pub fn of(request: &RequestHeader, id: RequestId, peer: &mut HttpPeer) -> Option<Arc<Self>> {
        let asks = request.headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
        if !asks || request.version != Version::HTTP_11 {
            return None;
        }
        let patience = peer.options.read_timeout.take().unwrap_or(IDLE);
        let tunnel = Arc::new(Self { stage: AtomicU8::new(CONNECTING), patience });
        peer.options.custom_l4 = Some(Arc::new(Connector(tunnel.clone())));
        // A kept connection would be one of the loop's own; and nobody else has a use for this one.
        peer.group_key = id.0.as_u64_pair().1;
        peer.options.idle_timeout = Some(Duration::ZERO);
        Some(tunnel)
    }

    /// The request is sent next.
    pub fn ask(&self) {
        self.stage.store(ASKED, Ordering::Release);
    }

    /// The application has switched. How long both sides may be silent is decided here alone from now on.
    pub fn open(&self, client: &mut ServerSession) {
        client.set_read_timeout(None);
        self.switch();
    }

    fn switch(&self) {
        self.stage.store(OPEN, Ordering::Release);
    }

    fn stage(&self) -> u8 {
        self.stage.load(Ordering::Acquire)
    }

    fn limit(&self) -> Duration {
        if self.stage() == OPEN { IDLE } else { self.patience }
    }
}

#[derive(Debug)]
struct Connector(Arc<Tunnel>);

#[async_trait]
impl Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let unknown = || Error::explain(ErrorType::ConnectNoRoute, "an address of no kind that is connected to here");
        let address = address.as_inet().ok_or_else(unknown)?;
        let connected = TcpStream::connect(address).await.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, "connecting for a WebSocket", error)
        })?;
        Ok(VirtualSocketStream::new(Box::new(Socket::new(connected, self.0.clone()))).into())
    }
}

#[derive(Debug)]
struct Socket<S> {
    stream: S,
    tunnel: Arc<Tunnel>,
    turns: u8,
    /// Whether anything was said, by either side, since the clock was wound up.
    active: bool,
    silence: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    fn new(stream: S, tunnel: Arc<Tunnel>) -> Self {
        Self { stream, tunnel, turns: TURNS, active: false, silence: None }
    }

    /// Ready with an error once there was silence for as long as it may be.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let silence = self.silence.get_or_insert_with(|| {
                self.active = false;
                Box::pin(sleep(self.tunnel.limit()))
            });
            ready!(silence.as_mut().poll(context));
            if !self.active {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.silence = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.tunnel.stage() == CONNECTING {
            return Pin::new(&mut this.stream).poll_read(context, room);
        }
        if let Some(left) = this.turns.checked_sub(1) {
            this.turns = left;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match Pin::new(&mut this.stream).poll_read(context, room) {
            Poll::Pending => this.poll_silence(context),
            read @ Poll::Ready(_) => {
                this.active = true;
                read
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.active = true;
        Pin::new(&mut this.stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl VirtualSocket for Socket<TcpStream> {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.stream.set_nodelay(true),
            _ => Ok(()), // no peer here asks for any other
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    fn tunnel(stage: u8) -> (Socket<DuplexStream>, DuplexStream, Arc<Tunnel>) {
        let tunnel = Arc::new(Tunnel { stage: AtomicU8::new(stage), patience: Duration::from_secs(120) });
        let (ours, theirs) = duplex(64);
        (Socket::new(ours, tunnel.clone()), theirs, tunnel)
    }

    async fn cut_after(socket: &mut Socket<DuplexStream>) -> Duration {
        let since = Instant::now();
        assert_eq!(socket.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        since.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_application_that_does_not_switch_is_waited_for_as_for_any_answer() {
        let (mut socket, _theirs, _) = tunnel(ASKED);
        assert_eq!(cut_after(&mut socket).await.as_secs(), 120);
    }

    #[tokio::test(start_paused = true)]
    async fn what_either_side_says_keeps_a_tunnel_open() {
        let (mut socket, mut theirs, tunnel) = tunnel(ASKED);
        theirs.write_u8(1).await.unwrap();
        socket.read_u8().await.unwrap();
        tunnel.switch();
        for _ in 0..5 {
            let silent = tokio::time::timeout(IDLE - Duration::from_secs(1), socket.read_u8());
            assert!(silent.await.is_err(), "nobody has hung up");
            socket.write_u8(2).await.unwrap();
            theirs.read_u8().await.unwrap();
        }
        let took = cut_after(&mut socket).await;
        assert!((IDLE..=2 * IDLE).contains(&took), "{took:?}");
    }

    #[tokio::test]
    async fn an_answer_is_read_when_the_others_have_had_their_turns() {
        let (mut socket, mut theirs, _) = tunnel(ASKED);
        theirs.write_u8(1).await.unwrap();
        let mut read = std::pin::pin!(socket.read_u8());
        for _ in 0..TURNS {
            assert!(futures_util::poll!(&mut read).is_pending());
        }
        assert_eq!(read.await.unwrap(), 1);
    }
}
