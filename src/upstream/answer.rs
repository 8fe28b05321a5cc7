//! An answer whose head has arrived: its body in pieces, whichever HTTP they come by.
//!
//! Failure stance: a body that breaks says so and is never passed off as an end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;

use super::framing::Framing;
use super::head::Head;
use super::http2::Stream;
use super::member::{Member, Seat};
use super::patience::Alarm;
use super::pool;
use super::wire::{Outbox, Wire, WireProblem};

/// The body ended before its framing said so.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off: {0}")]
pub struct Broken(#[from] WireProblem);

/// An answer whose head has arrived. Dropping it ends the request, whatever is still to come.
pub struct Answer {
    pub head: Head,
    /// Pieces that were looked at and are still to be yielded, the end included.
    ahead: VecDeque<Result<Option<Bytes>, Broken>>,
    source: Source,
    /// In flight at its target for as long as the answer is held.
    seat: Seat,
}

/// Where a body comes from.
pub(super) enum Source {
    /// A connection of its own. Dropping it closes the socket.
    Http1 {
        wire: Wire,
        framing: Framing,
        /// What of the request the answer did not wait for.
        unsent: Option<Outbox>,
        keeps_alive: bool,
    },
    /// One of a connection's streams. Dropping it resets the stream. In a box, so that the others have no room for it.
    Http2(Box<Stream>),
}

impl Answer {
    pub(super) fn new(head: Head, source: Source, seat: Seat) -> Self {
        Self { head, ahead: VecDeque::new(), source, seat }
    }

    /// The next piece of the body; None at its clean end. Safe to drop while waiting: nothing is lost.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        match self.ahead.pop_front() {
            Some(piece) => piece,
            None => self.arriving().await,
        }
    }

    /// Whether the next piece, or the end, is at hand already.
    pub fn is_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// `first`, and behind it whole pieces that are there, until these are `enough` bytes or more. Waits for nothing; an
    /// end, clean or not, is yielded by [`Answer::chunk`].
    pub fn joined(&mut self, first: Bytes, enough: usize) -> Bytes {
        if first.len() >= enough {
            return first;
        }
        let Some(second) = self.ready_piece() else { return first };
        let mut joined = BytesMut::with_capacity(enough.max(first.len() + second.len()));
        joined.extend_from_slice(&first);
        joined.extend_from_slice(&second);
        while joined.len() < enough
            && let Some(next) = self.ready_piece()
        {
            joined.extend_from_slice(&next);
        }
        joined.freeze()
    }

    /// The next piece, where it is there. What is no piece is kept for its turn.
    fn ready_piece(&mut self) -> Option<Bytes> {
        // Unconstrained: a task that has used up its turn would be told "nothing" without a look.
        match tokio::task::unconstrained(self.chunk()).now_or_never()? {
            Ok(Some(piece)) => Some(piece),
            ending => {
                self.ahead.push_front(ending);
                None
            }
        }
    }

    /// What is still to come of the body, where it ends within `most` bytes and by `by`; None for any other. All of it is
    /// yielded by [`Answer::chunk`] all the same, and seen by whoever looks ahead again.
    pub async fn whole_within(&mut self, most: usize, by: Instant) -> Option<Vec<u8>> {
        Alarm::default().before(by, pin!(self.look_ahead(most))).await?
    }

    async fn look_ahead(&mut self, most: usize) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        let mut looked_at = 0;
        while whole.len() <= most {
            if looked_at == self.ahead.len() {
                let piece = self.arriving().await;
                self.ahead.push_back(piece);
            }
            match self.ahead.get(looked_at)? {
                Ok(Some(bytes)) => whole.extend_from_slice(bytes.get(..=most).unwrap_or(bytes)),
                Ok(None) => return Some(whole),
                Err(_broken) => return None,
            }
            looked_at += 1;
        }
        None
    }

    async fn arriving(&mut self) -> Result<Option<Bytes>, Broken> {
        let piece = poll_fn(|context| match &mut self.source {
            Source::Http1 { wire, framing, unsent, .. } => {
                if let Some(outbox) = unsent {
                    wire.poll_send(context, outbox);
                    if outbox.is_sent() {
                        *unsent = None;
                    }
                }
                wire.poll_piece(context, framing)
            }
            Source::Http2(stream) => stream.poll_piece(context),
        });
        Ok(piece.await?)
    }

    /// The upstream answered before it had the whole request, which is held until it has.
    pub fn is_uploading(&self) -> bool {
        match &self.source {
            Source::Http1 { unsent, .. } => unsent.is_some(),
            Source::Http2(stream) => stream.is_uploading(),
        }
    }

    pub fn member(&self) -> &Member {
        self.seat.member()
    }

    /// Whether it was one of a model: what is not, others are asked for first.
    pub fn judged(&self, good: bool) {
        self.seat.judged(good);
    }

    /// Gives the connection back for the next request, where all of the body has been read from it. Else this ends the
    /// request, as dropping does.
    pub fn recycle(self) {
        // One of many streams has nothing to give back.
        if let Source::Http1 { wire, framing: Framing::Ended, unsent: None, keeps_alive: true } = self.source {
            pool::keep(self.seat.target(), wire);
        }
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
