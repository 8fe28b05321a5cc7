//! One HTTP/1.1 connection to a target: a request is written, an answer read, then the next.
//!
//! No task drives it and no channel leads to it: whoever holds it polls it, and dropping it closes the socket. Memory
//! is bounded by one read ahead of whoever takes the pieces.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};

use super::connect::Io;
use super::framing::{Framing, FramingProblem, Yield};
use super::head::{self, HeadProblem, Parsed};
use super::turns::{self, TURN};

/// Room for a read at first, and the most it grows to while a body of a known length fills it. What comes in chunks is
/// read to be passed on, and gets no more than twice the first: its client may be slow.
const READ: (usize, usize) = (4 << 10, 256 << 10);
/// What of a body of a known length may come in one read, once one has filled the room for the first.
const AT_ONCE: usize = 64 << 10;
/// Less room than this is not worth a system call.
const LEAST_ROOM: usize = 2 << 10;
/// Pieces written in one call.
const PIECES: usize = 16;

/// What broke an exchange.
#[derive(Debug, thiserror::Error)]
pub enum WireProblem {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the connection was closed")]
    Closed,
    #[error(transparent)]
    Head(#[from] HeadProblem),
    #[error(transparent)]
    Framing(#[from] FramingProblem),
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

/// An open connection.
pub(super) struct Wire {
    stream: Box<dyn Io>,
    /// Read, and not taken yet.
    inbox: BytesMut,
    /// How much the next read may bring.
    room: usize,
    round_trip: Duration,
}

/// A request on its way out.
#[derive(Default)]
pub(super) struct Outbox {
    /// The head first. Empty pieces are not kept.
    pieces: Vec<Bytes>,
    /// The piece that is being written, and how much of it was.
    piece: usize,
    written: usize,
    flushed: bool,
    /// Interim answers to it so far.
    interim: usize,
    /// Nothing more can be written; what the peer may have said before is read all the same.
    failed: Option<io::Error>,
}

impl Outbox {
    pub fn new(pieces: impl Iterator<Item = Bytes>) -> Self {
        Self { pieces: pieces.filter(|piece| !piece.is_empty()).collect(), ..Self::default() }
    }

    /// Whether the peer's side of the connection has all of it.
    pub fn is_sent(&self) -> bool {
        self.flushed
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.pieces.get(self.piece) {
            let left = piece.len() - self.written;
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.written = 0;
            self.piece += 1;
        }
    }
}

impl Wire {
    /// `round_trip`: what connecting took.
    pub fn new(stream: Box<dyn Io>, round_trip: Duration) -> Self {
        Self { stream, inbox: BytesMut::new(), room: READ.0, round_trip }
    }

    /// How long the way to the peer and back took when this was opened, its handshake included.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Writes what can be written of `outbox`, a large one in turns with the thread's other work. A failure is kept there.
    pub fn poll_send(&mut self, context: &mut Context<'_>, outbox: &mut Outbox) {
        let mut turn = TURN;
        while !outbox.flushed && outbox.failed.is_none() {
            let outcome = if outbox.piece < outbox.pieces.len() {
                if turn == 0 {
                    return turns::poll_again(context);
                }
                self.poll_write(context, outbox, &mut turn)
            } else {
                Pin::new(&mut self.stream).poll_flush(context).map_ok(|()| outbox.flushed = true)
            };
            match outcome {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => outbox.failed = Some(error),
                Poll::Pending => return,
            }
        }
    }

    /// Writes what the socket takes at once, `most` at the most, which what was written is taken from.
    fn poll_write(&mut self, context: &mut Context<'_>, outbox: &mut Outbox, most: &mut usize) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let rest = outbox.pieces.get(outbox.piece..).unwrap_or_default();
        let count = rest.len().min(PIECES);
        let (mut skip, mut room) = (outbox.written, *most);
        for (slice, piece) in slices.iter_mut().zip(rest) {
            let piece = piece.get(std::mem::take(&mut skip)..).unwrap_or_default();
            let part = piece.get(..room).unwrap_or(piece);
            room -= part.len();
            *slice = IoSlice::new(part);
        }
        let slices = slices.get(..count).unwrap_or_default();
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        outbox.advance(written);
        *most = most.saturating_sub(written);
        Poll::Ready(Ok(()))
    }

    /// The answer's head, the request being written meanwhile. `heard` becomes true with the first byte of an answer.
    pub fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        outbox: &mut Outbox,
        heard: &mut bool,
    ) -> Poll<Result<Parsed, WireProblem>> {
        self.poll_send(context, outbox);
        loop {
            if !self.inbox.is_empty()
                && let Some(parsed) = head::take(&mut self.inbox, &mut outbox.interim)?
            {
                return Poll::Ready(Ok(parsed));
            }
            match ready!(self.poll_fill(context, 2 * READ.0)) {
                Ok(0) => return Poll::Ready(Err(outbox.failed.take().map_or(WireProblem::Closed, WireProblem::Io))),
                Ok(_) => *heard = true,
                Err(error) => return Poll::Ready(Err(outbox.failed.take().unwrap_or(error).into())),
            }
        }
    }

    /// The next piece of the body; None at its clean end.
    pub fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
        framing: &mut Framing,
    ) -> Poll<Result<Option<Bytes>, WireProblem>> {
        loop {
            match framing.take(&mut self.inbox)? {
                Yield::Piece(piece) => return Poll::Ready(Ok(Some(piece))),
                Yield::End => return Poll::Ready(Ok(None)),
                Yield::More => {}
            }
            let most = if let Framing::Known(left) = framing {
                // A body that comes in trickles does not fill its room, and gets no more.
                if self.room > READ.0 {
                    let left = usize::try_from(*left).unwrap_or(usize::MAX);
                    self.room = self.room.max(left.min(AT_ONCE));
                }
                READ.1
            } else {
                2 * READ.0
            };
            if ready!(self.poll_fill(context, most))? == 0 && !framing.close() {
                return Poll::Ready(Err(WireProblem::Closed));
            }
        }
    }

    /// Whether a request may be sent now: nothing has come that would be taken for its answer. Costs a system call.
    pub fn is_ready(&mut self) -> bool {
        self.is_quiet() && self.stream.is_silent()
    }

    /// Whether it is worth keeping: as far as is known, the peer has neither closed nor said what nobody asked for.
    pub fn is_quiet(&mut self) -> bool {
        self.room = READ.0;
        // Unconstrained: a task that has used up its turn would be told "nothing" without a look.
        let look = pin!(tokio::task::unconstrained(poll_fn(|context| self.poll_fill(context, READ.0))));
        let silent = look.poll(&mut Context::from_waker(Waker::noop())).is_pending();
        silent && self.inbox.is_empty()
    }

    /// Reads what there is behind what was read; the room for it may grow to `most`. 0: the peer has ended.
    fn poll_fill(&mut self, context: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        if self.inbox.capacity() - self.inbox.len() < LEAST_ROOM {
            self.inbox.reserve(self.room);
        }
        let asked = self.inbox.capacity() - self.inbox.len();
        // Keeps nothing between two polls: it may be made anew for each.
        let Poll::Ready(count) = pin!(self.stream.read_buf(&mut self.inbox)).poll(context)? else {
            if self.inbox.is_empty() {
                // A model thinks for minutes, and thousands at the same time.
                self.inbox = BytesMut::new();
            }
            return Poll::Pending;
        };
        // Only who fills all the room there may be gets more: a stream that is read slowly would else grow to the most.
        if asked >= self.room {
            self.room = match count {
                _ if count >= self.room => (self.room * 2).min(most),
                _ if count < self.room / 4 => (self.room / 2).max(READ.0),
                _ => self.room,
            };
        }
        Poll::Ready(Ok(count))
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
