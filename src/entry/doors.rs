//! The public listeners at work: connections are accepted, TLS is spoken where a listener has it, and what comes of it
//! is pingora's to serve.
//!
//! Our own loop in the place of pingora's service. A connection belongs from its first event to the thread that serves
//! it, where pingora leaves it with the reactor of the thread that accepted it, at a wake-up across threads for each
//! event; its task keeps no room for a handshake that is over; and listeners close when the drain says so, with nothing
//! behind it that would drop who came in a moment ago.
//!
//! Failure stance: a connection that fails harms no other. Where the process has no room for another, accepting pauses;
//! where the configuration grants none, the connection is closed and counted.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::protocols::Stream;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use pingora_runtime::current_handle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::arrival::Arrival;
use super::connection::{Connection, below_tls};
use super::crowd::{Crowd, Place};
use super::descriptors::room_for_connections;
use super::drain::Drain;
use super::guard::{Guard, Porter};
use super::tls::TlsDoor;
use super::visit::Application;
use super::{ebb, proxy_header, visit};
use crate::config::Snapshot;
use crate::telemetry::seldom::Seldom;

/// From the first byte to the last of a handshake, where the deadline of the connection's first head leaves so much.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Below this an office behind one address, which may have half, would notice.
const FEW: usize = 2_000;
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
    /// Whether trusted proxies say whose their connections are.
    pub proxy_protocol: bool,
}

/// The service that accepts at all of them.
pub struct Doors<A> {
    app: Arc<A>,
    doors: Vec<Door>,
    drain: Arc<Drain>,
    porter: Arc<dyn Porter>,
    accepting: Option<oneshot::Sender<()>>,
}

/// What one listener's connections have in common.
struct Hall<A> {
    app: Arc<A>,
    name: String,
    tls: Option<Arc<TlsDoor>>,
    proxy_protocol: bool,
    closing: ShutdownWatch,
    porter: Arc<dyn Porter>,
    /// Of all listeners.
    crowd: Arc<Crowd>,
    /// Connections that there are descriptors for.
    room: usize,
    no_room: Seldom,
    full: Seldom,
}

/// Why no connection came of one.
struct Declined {
    guard: Guard,
    error: io::Error,
}

impl<A> Doors<A> {
    /// The receiver hears once every listener accepts, and that its sender is gone where one cannot.
    pub fn new(app: A, doors: Vec<Door>, drain: Arc<Drain>, porter: Arc<dyn Porter>) -> (Self, oneshot::Receiver<()>) {
        let (sender, accepting) = oneshot::channel();
        (Self { app: Arc::new(app), doors, drain, porter, accepting: Some(sender) }, accepting)
    }
}

#[async_trait]
impl<A: Application> Service for Doors<A> {
    async fn start_service(&mut self, _fds: Option<ListenFds>, _shutdown: ShutdownWatch, _listeners_per_fd: usize) {
        let (crowd, room) = (Crowd::new(), room_for_connections());
        if room < FEW {
            tracing::warn!(
                connections = room,
                "few files may be opened (ulimit -n, LimitNOFILE), and so few connections"
            );
        }
        for Door { name, socket, tls, proxy_protocol } in self.doors.drain(..) {
            let (app, closing, porter) = (Arc::clone(&self.app), self.drain.closing(), Arc::clone(&self.porter));
            let (crowd, [no_room, full]) = (Arc::clone(&crowd), [(); 2].map(|()| Seldom::new(Instant::now())));
            let hall = Hall { app, name, tls, proxy_protocol, closing, porter, crowd, room, no_room, full };
            let hall = Arc::new(hall);
            match TcpListener::from_std(socket) {
                Ok(socket) => drop(tokio::spawn(hall.accept_all(socket))),
                Err(error) => {
                    tracing::error!(%error, entrypoint = hall.name, "cannot listen");
                    return drop(self.accepting.take());
                }
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

impl<A: Application> Hall<A> {
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
                Ok((stream, peer)) => {
                    let rules = self.porter.rules();
                    if let Some(place) = self.place(peer, &rules) {
                        drop(current_handle().spawn(Arc::clone(&self).serve(stream, peer, place, rules)));
                    }
                }
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

    /// Room for one more connection, counted as its address's where that is known by now.
    fn place(&self, peer: SocketAddr, rules: &Snapshot) -> Option<Place> {
        let Some(mut place) = self.crowd.enter(self.most(rules)) else {
            self.porter.count(Guard::Connections);
            if let Some(unwritten) = self.full.write(Instant::now()) {
                tracing::warn!(entrypoint = self.name, unwritten, "as many connections as guards.connections allows");
            }
            return None;
        };
        // Behind a proxy many come from one address.
        let counts = !rules.edge.trusts(peer.ip());
        (!counts || self.has_room_for(&mut place, peer, rules)).then_some(place)
    }

    fn has_room_for(&self, place: &mut Place, client: SocketAddr, rules: &Snapshot) -> bool {
        let most = rules.edge.guards.connections_per_address.unwrap_or(self.most(rules) / 2).max(1);
        let has_room = place.of(client.ip(), most);
        if !has_room {
            self.porter.count(Guard::ConnectionsPerAddress);
        }
        has_room
    }

    fn most(&self, rules: &Snapshot) -> usize {
        rules.edge.guards.connections.unwrap_or(self.room)
    }

    /// Serves one connection to its end, on the thread that is to have it and with that thread's reactor.
    async fn serve(self: Arc<Self>, stream: StdTcpStream, peer: SocketAddr, mut place: Place, rules: Arc<Snapshot>) {
        ebb::empty_cache_often();
        // Boxed: what a handshake takes is not to be kept for the life of the connection.
        let (stream, arrival) = match Box::pin(self.greet(stream, peer, &mut place, &rules)).await {
            Ok(Some(greeted)) => greeted,
            Ok(None) => return,
            Err(Declined { guard, error }) => {
                if error.kind() != io::ErrorKind::UnexpectedEof && !is_the_clients(&error) {
                    self.porter.count(guard);
                }
                return tracing::debug!(%error, %peer, entrypoint = self.name, "no connection came of it");
            }
        };
        let guards = rules.edge.guards;
        drop(rules);
        visit::serve(&self.app, stream, &arrival, &guards, &self.closing).await;
    }

    /// None: there is no room for the client that a proxy has named, or it came for no request.
    async fn greet(
        &self,
        stream: StdTcpStream,
        peer: SocketAddr,
        place: &mut Place,
        rules: &Snapshot,
    ) -> Result<Option<(Stream, Arc<Arrival>)>, Declined> {
        let mut arrival = Arrival::new(peer, Arc::clone(&self.porter));
        // One for all that comes before a request, and for the first head, which is held to it behind this.
        let by = arrival.at + rules.edge.guards.header_timeout;
        let opened = stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream));
        let mut stream = opened.map_err(declined(Guard::Handshake))?;
        if self.proxy_protocol && rules.edge.trusts(peer.ip()) {
            // tokio's timers are gone with what they wait for: pingora's lie in memory until they would have rung.
            let named = timeout(left(by), proxy_header::read(&mut stream)).await;
            let named = named.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            if let Some(client) = named.map_err(declined(Guard::ProxyHeader))? {
                if !self.has_room_for(place, client, rules) {
                    return Ok(None);
                }
                arrival.peer = client;
            }
        }
        let greeted = self.shake_hands(stream, arrival, by, write_within(rules)).await;
        greeted.map_err(declined(Guard::Handshake))
    }

    /// None: it came for no request.
    async fn shake_hands(
        &self,
        stream: TcpStream,
        mut arrival: Arrival,
        by: Instant,
        write_within: Duration,
    ) -> io::Result<Option<(Stream, Arc<Arrival>)>> {
        let Some(tls) = &self.tls else {
            let arrival = Arc::new(arrival);
            return Ok(Some((Box::new(Connection::plain(stream, Arc::clone(&arrival), write_within)?), arrival)));
        };
        let greeted = timeout(left(by).min(HANDSHAKE_WITHIN), tls.greet(below_tls(stream))).await;
        let greeted = greeted.unwrap_or_else(|_| {
            tls.note_timed_out();
            Err(io::ErrorKind::TimedOut.into())
        });
        let Some((stream, greeting)) = greeted? else { return Ok(None) };
        arrival.tls = Some(greeting);
        let arrival = Arc::new(arrival);
        Ok(Some((Box::new(Connection::tls(stream, Arc::clone(&arrival), write_within)?), arrival)))
    }
}

fn left(by: Instant) -> Duration {
    by.saturating_duration_since(Instant::now())
}

fn declined(guard: Guard) -> impl FnOnce(io::Error) -> Declined {
    move |error| Declined { guard, error }
}

/// The relay leaves who does not read after `read_stall`, with an account of it; this is for all that it does not see.
fn write_within(rules: &Snapshot) -> Duration {
    2 * rules.limits.read_stall
}

/// Whether accepting failed for a client that was gone before its turn came. Anything else is ours.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
