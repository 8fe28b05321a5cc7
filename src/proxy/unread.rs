//! What of a web answer lies here because its client does not take it: counted, and bounded on this edge as a whole.
//!
//! pingora's stock loop takes up to five pieces of 64 KiB at once and reads as many more while those are written. A client
//! that opens many streams of HTTP/2 and takes nothing would have half a megabyte of each lie here until `read_stall`. Over
//! `answer_memory` an answer is refused, or cut where it has begun. One that says that it is small is given out all the
//! same, and bodies on their way to models have memory of their own.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::{Error, ErrorType, Result};

use crate::admission::{AnswerMemory, Capacity};
use crate::config::Limits;

/// The error of an answer for which there is no room.
pub const NO_ROOM: ErrorType = ErrorType::Custom("NoRoomForAnswer");

/// How long who is refused stays away.
pub const WAIT: Duration = Duration::from_secs(2);

/// An answer of so many bytes is one piece: nothing is read behind it, and nothing is counted.
const SMALL: usize = 64 << 10;
/// What is read behind pieces that are being written.
const BEHIND: usize = 5 * (64 << 10);

/// The pieces of one answer.
#[derive(Default)]
pub struct Unread {
    is_small: bool,
    /// What lies behind the pieces that wait, for as long as any does.
    behind: Weak<AnswerMemory>,
}

/// One piece, until it is written or thrown away.
struct Piece {
    bytes: Bytes,
    _room: AnswerMemory,
    _behind: Arc<AnswerMemory>,
}

impl Unread {
    /// Refuses what may be large while there is no room for it.
    pub fn of(
        capacity: &Arc<Capacity>,
        request: &RequestHeader,
        response: &ResponseHeader,
        limits: &Limits,
    ) -> Result<Self> {
        let length = response.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let has_none = request.method == Method::HEAD
            || matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let is_small = has_none || length.is_some_and(|length: usize| length <= SMALL);
        if !is_small {
            hold(capacity, BEHIND, limits).map(drop)?;
        }
        Ok(Self { is_small, behind: Weak::new() })
    }

    /// Counts a piece from here on for as long as it exists.
    pub fn count(&mut self, capacity: &Arc<Capacity>, piece: &mut Option<Bytes>, limits: &Limits) -> Result<()> {
        if self.is_small {
            return Ok(());
        }
        let Some(bytes) = piece.take_if(|bytes| !bytes.is_empty()) else { return Ok(()) };
        let behind = match self.behind.upgrade() {
            Some(behind) => behind,
            None => Arc::new(hold(capacity, BEHIND, limits)?),
        };
        self.behind = Arc::downgrade(&behind);
        let room = hold(capacity, bytes.len(), limits)?;
        *piece = Some(Bytes::from_owner(Piece { bytes, _room: room, _behind: behind }));
        Ok(())
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn hold(capacity: &Arc<Capacity>, bytes: usize, limits: &Limits) -> Result<AnswerMemory> {
    capacity.hold(bytes, limits).map_err(|_| Error::explain(NO_ROOM, "too much of web answers waits for clients"))
}
