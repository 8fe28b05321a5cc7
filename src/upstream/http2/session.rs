//! One connection: opened, watched by a task of its own, and given up.
//!
//! Unlike one of HTTP/1.1 it is driven by a task, for it belongs to many requests. What it holds is bounded: by a window
//! for each stream, which opens again as the stream's client reads, so that a slow client holds up itself alone.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};
use tokio_util::io::InspectReader;

use super::super::connect::Io;
use super::super::head::LONGEST;

/// What of an answer may lie here unread: twice what HTTP/1.1 lets a stream have, for a fast answer of a far provider
/// gets no more than this in a round trip.
const WINDOW: u32 = 128 << 10;
/// The windows of the streams are the bound. One over all of them would let slow clients hold up the others.
const ALL_WINDOWS: u32 = (1 << 31) - 1;
/// Streams beside each other. A loss on the way holds all of them up, so that more connections serve better than one.
pub(super) const MOST_STREAMS: usize = 100;
/// Streams that were reset here and of which the peer may not know yet. Without their memory, what it goes on sending
/// would be counted as its mistakes, and too many of those end a connection.
const REMEMBERED_RESETS: usize = 1_000;
/// After so long a silence the peer is asked whether it is still there, and has as long again to say so at once.
const SILENCE: Duration = Duration::from_secs(15);
/// A connection without streams is left after this: before most peers and the boxes on the way leave it.
const IDLE: Duration = Duration::from_secs(45);
/// One that is to spare is left after this: what many streams have made it allocate, it keeps.
const SPARE: Duration = LOOK;
/// For the same reason one that a crowd has grown is left after this, even where it is the only one.
const GROWN_IDLE: Duration = Duration::from_secs(12);
/// Streams at once that make a connection a grown one.
const GROWN: usize = MOST_STREAMS / 2;
/// How often a connection is looked at, which tells how long it has been silent or unused.
const LOOK: Duration = Duration::from_secs(3);

/// A connection that requests can be sent on.
pub struct Session {
    requests: SendRequest<Bytes>,
    state: Arc<State>,
}

/// What the requests of a connection and its task share.
pub struct State {
    opened: Instant,
    round_trip: Duration,
    /// Places taken.
    streams: AtomicUsize,
    /// As many as were ever taken at once.
    most_streams: AtomicUsize,
    /// Places taken so far.
    places: AtomicU64,
    /// Reads that brought anything.
    heard: AtomicU64,
}

/// A request's place on a connection: it counts until this is dropped.
pub struct Place {
    pub(super) requests: SendRequest<Bytes>,
    state: Arc<State>,
    /// Reads before it.
    heard: u64,
}

/// What watches a connection, and has to be run for anything to happen on it.
pub struct Driver {
    connection: Connection<Heard, Bytes>,
    pings: PingPong,
    state: Arc<State>,
}

/// Notes when something comes.
type Heard = InspectReader<Box<dyn Io>, Box<dyn FnMut(&[u8]) + Send>>;

impl Session {
    /// Says hello and waits for what the peer says to it: how many streams it takes, and that it speaks HTTP/2 at all.
    /// `since`: when the connection was begun.
    pub async fn open(stream: Box<dyn Io>, since: Instant) -> io::Result<(Self, Driver)> {
        let state = Arc::new(State {
            opened: Instant::now(),
            round_trip: since.elapsed(),
            streams: AtomicUsize::new(0),
            most_streams: AtomicUsize::new(0),
            places: AtomicU64::new(0),
            heard: AtomicU64::new(0),
        });
        let heard = heard(stream, Arc::clone(&state));
        let (requests, mut connection) = settings().handshake(heard).await.map_err(no_http2)?;
        let mut pings = connection.ping_pong().ok_or_else(|| io::Error::other("the connection takes no ping"))?;
        // The peer's settings come before all else it says (RFC 9113, 3.4).
        tokio::select! {
            biased;
            ended = &mut connection => {
                return Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), no_http2));
            }
            pong = pings.ping(Ping::opaque()) => pong.map_err(no_http2)?,
        };
        Ok((Self { requests, state: Arc::clone(&state) }, Driver { connection, pings, state }))
    }

    /// A place, whether or not there is room: the peer will say when the stream may begin.
    pub fn place(&self) -> Place {
        let streams = 1 + self.state.streams.fetch_add(1, Ordering::Relaxed);
        self.state.most_streams.fetch_max(streams, Ordering::Relaxed);
        self.state.places.fetch_add(1, Ordering::Relaxed);
        let heard = self.state.heard.load(Ordering::Relaxed);
        Place { requests: self.requests.clone(), state: Arc::clone(&self.state), heard }
    }

    /// Whether one more stream may begin at once, and is good to have here.
    pub fn has_room(&self) -> bool {
        let most = self.requests.current_max_send_streams().min(MOST_STREAMS);
        self.state.streams.load(Ordering::Relaxed) < most
    }

    /// Whether the peer takes new streams, as far as is known.
    pub fn is_open(&mut self) -> bool {
        !matches!(self.requests.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    pub fn opened(&self) -> Instant {
        self.state.opened
    }

    pub fn has_streams(&self) -> bool {
        self.state.has_streams()
    }

    /// Whether this is the connection that `state` is of.
    pub fn is_of(&self, state: &State) -> bool {
        std::ptr::eq(&*self.state, state)
    }
}

impl State {
    fn has_streams(&self) -> bool {
        self.streams.load(Ordering::Relaxed) > 0
    }

    /// Whether it has had so many streams at once that it keeps a good deal of memory for them.
    fn is_grown(&self) -> bool {
        self.most_streams.load(Ordering::Relaxed) >= GROWN
    }
}

impl Place {
    /// When its connection was.
    pub fn opened(&self) -> Instant {
        self.state.opened
    }

    pub fn round_trip(&self) -> Duration {
        self.state.round_trip
    }

    /// Whether anything has come on the connection since this was taken.
    pub fn has_heard(&self) -> bool {
        self.state.heard.load(Ordering::Relaxed) != self.heard
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.state.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Driver {
    /// Runs the connection until it is over, which its streams are told by itself; or returns true once nobody has used
    /// it for long, or where `is_spare` says so of it, for a moment.
    pub async fn run_while_used(&mut self, is_spare: impl Fn(&State) -> bool) -> bool {
        let Self { connection, pings, state } = self;
        tokio::select! {
            biased;
            _ended = connection => false,
            idle = watch(pings, state, is_spare) => idle,
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// The connection says goodbye once nobody holds it.
    pub async fn run_to_its_end(self) {
        let _ = self.connection.await;
    }
}

/// Returns true once nobody needs the connection any more, and false where the peer is not there any more.
async fn watch(pings: &mut PingPong, state: &State, is_spare: impl Fn(&State) -> bool) -> bool {
    let (mut silent, mut unused) = (Duration::ZERO, Duration::ZERO);
    let (mut heard, mut places) = (state.heard.load(Ordering::Relaxed), state.places.load(Ordering::Relaxed));
    loop {
        sleep(LOOK).await;
        let heard_before = mem::replace(&mut heard, state.heard.load(Ordering::Relaxed));
        silent = if heard == heard_before { silent + LOOK } else { Duration::ZERO };
        // What the peer says of itself, as its own pings, is no use of the connection.
        let places_before = mem::replace(&mut places, state.places.load(Ordering::Relaxed));
        unused = if places == places_before && !state.has_streams() { unused + LOOK } else { Duration::ZERO };
        let idle = if state.is_grown() { GROWN_IDLE } else { IDLE };
        if unused >= idle || unused >= SPARE && is_spare(state) {
            return true;
        }
        if silent >= SILENCE {
            if !matches!(timeout(SILENCE, pings.ping(Ping::opaque())).await, Ok(Ok(_pong))) {
                return false;
            }
            (silent, heard) = (Duration::ZERO, state.heard.load(Ordering::Relaxed));
        }
    }
}

fn settings() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(ALL_WINDOWS)
        .max_header_list_size(u32::try_from(LONGEST).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(REMEMBERED_RESETS);
    builder
}

fn no_http2(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::Other.into());
    }
    io::Error::other(format!("it does not speak HTTP/2 as it should: {error}"))
}

fn heard(stream: Box<dyn Io>, state: Arc<State>) -> Heard {
    InspectReader::new(
        stream,
        Box::new(move |came| {
            // Nothing comes at the end.
            if !came.is_empty() {
                state.heard.fetch_add(1, Ordering::Relaxed);
            }
        }),
    )
}

#[cfg(test)]
#[path = "session_tests.rs"]
pub(super) mod tests;
