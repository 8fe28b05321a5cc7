//! The public listeners at work: connections are accepted, TLS is spoken where a listener has it, and what comes of it
//! is pingora's to serve.
//!
//! Our own loop in the place of pingora's service. A connection belongs from its first event to the thread that serves
//! it, where pingora leaves it with the reactor of the thread that accepted it, at a wake-up across threads for each
//! event; its task keeps no room for a handshake that is over; and listeners close when the drain says so, with nothing
//! behind it that would drop who came in a moment ago.
//!
//! Failure stance: a connection that fails harms no other. Where the process has no room for another, accepting pauses.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use pingora_runtime::current_handle;
use pingora_timeout::fast_timeout::fast_timeout;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::arrival::Arrival;
use super::connection::{Connection, buffered};
use super::drain::Drain;
use super::tls::TlsDoor;
use crate::telemetry::seldom::Seldom;

/// From the first byte to the last of a handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long accepting rests when there is no room: descriptors and memory come back when others leave.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// One public listener.
pub struct Door {
    /// As the configuration calls it.
    pub name: String,
    /// Listens, and does not block.
    pub socket: StdTcpListener,
    /// None: plain.
    pub tls: Option<Arc<TlsDoor>>,
}

/// The service that accepts at all of them.
pub struct Doors<A> {
    app: Arc<A>,
    doors: Vec<Door>,
    drain: Arc<Drain>,
    accepting: Option<oneshot::Sender<()>>,
}

/// What one listener's connections have in common.
struct Hall<A> {
    app: Arc<A>,
    name: String,
    tls: Option<Arc<TlsDoor>>,
    closing: ShutdownWatch,
    no_room: Seldom,
}

impl<A> Doors<A> {
    /// The receiver hears once every listener accepts.
    pub fn new(app: A, doors: Vec<Door>, drain: Arc<Drain>) -> (Self, oneshot::Receiver<()>) {
        let (sender, accepting) = oneshot::channel();
        (Self { app: Arc::new(app), doors, drain, accepting: Some(sender) }, accepting)
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> Service for Doors<A> {
    async fn start_service(&mut self, _fds: Option<ListenFds>, _shutdown: ShutdownWatch, _listeners_per_fd: usize) {
        for Door { name, socket, tls } in self.doors.drain(..) {
            let (app, closing) = (Arc::clone(&self.app), self.drain.closing());
            let hall = Arc::new(Hall { app, name, tls, closing, no_room: Seldom::new(Instant::now()) });
            match TcpListener::from_std(socket) {
                Ok(socket) => drop(tokio::spawn(hall.accept_all(socket))),
                Err(error) => return tracing::error!(%error, entrypoint = hall.name, "cannot listen"),
            }
        }
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.send(());
        }
        // Returning would have pingora end its threads.
        std::future::pending().await
    }

    fn name(&self) -> &str {
        "cfx"
    }

    fn threads(&self) -> Option<usize> {
        None
    }
}

impl<A: ServerApp + Send + Sync + 'static> Hall<A> {
    async fn accept_all(self: Arc<Self>, socket: TcpListener) {
        let mut closing = self.closing.clone();
        let closed = closing.wait_for(|closed| *closed);
        tokio::pin!(closed);
        loop {
            let accepted = tokio::select! {
                biased; // a listener that is to close takes nobody else in
                _ = &mut closed => return,
                accepted = socket.accept() => accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))),
            };
            match accepted {
                Ok((stream, peer)) => drop(current_handle().spawn(Arc::clone(&self).serve(stream, peer))),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    if let Some(unwritten) = self.no_room.write(Instant::now()) {
                        tracing::error!(%error, entrypoint = self.name, unwritten, "cannot accept connections");
                    }
                    tokio::time::sleep(NO_ROOM_PAUSE).await;
                }
            }
        }
    }

    /// Serves one connection to its end, on the thread that is to have it and with that thread's reactor.
    async fn serve(self: Arc<Self>, stream: StdTcpStream, peer: SocketAddr) {
        // Boxed: what a handshake takes is not to be kept for the life of the connection.
        let mut next = match Box::pin(self.greet(stream, peer)).await {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, %peer, entrypoint = self.name, "no connection came of it"),
        };
        while let Some(stream) = next {
            next = self.app.process_new(stream, &self.closing).await;
        }
    }

    /// None: it came for no request.
    async fn greet(&self, stream: StdTcpStream, peer: SocketAddr) -> io::Result<Option<Stream>> {
        stream.set_nodelay(true)?;
        let stream = TcpStream::from_std(stream)?;
        let Some(tls) = &self.tls else {
            return Ok(Some(Box::new(Connection::plain(stream, Arrival { peer, tls: None })?)));
        };
        let greeted = fast_timeout(HANDSHAKE_WITHIN, tls.greet(buffered(stream))).await;
        let Some((stream, greeting)) = greeted.map_err(|_| io::ErrorKind::TimedOut)?? else { return Ok(None) };
        Ok(Some(Box::new(Connection::tls(stream, Arrival { peer, tls: Some(greeting) })?)))
    }
}

/// Whether accepting failed for a client that was gone before its turn came. Anything else is ours.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
