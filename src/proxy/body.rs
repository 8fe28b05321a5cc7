//! Reading a request's body whole: bounded in size, in memory over all requests, in the time between its pieces and in
//! the time it may take in all.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use pingora_core::{ErrorType, Result};
use tokio::time::timeout;

use super::downstream::left;
use super::refuse::{Reason, Refusal};
use crate::admission::{BodyMemory, Capacity, Overloaded};
use crate::config::Limits;
use crate::entry::arrival::Arrival;
use crate::upstream::{Alarm, Turn};

/// The slowest upload that is waited for, in bytes a second, `upload_stall` aside. Below it a body of 10 MiB, a byte at a
/// time, would hold its memory for a decade.
const SLOWEST: u64 = 16 << 10;
/// The most that is set aside for a body before it has arrived.
const AHEAD: usize = 1 << 20;
/// Once that much has come, room is made for so many times what there is. Room that nothing was written to is addresses
/// and no memory; to grow by less is to copy megabytes again and again, which nobody else is answered during.
const FURTHER: usize = 16;
/// A refused body up to this size is read, so that the connection can serve the next request.
const DRAINED: usize = 64 << 10;
const DRAIN_WITHIN: Duration = Duration::from_secs(1);
/// How much of a refused upload is read and thrown away, so that the client gets to read the refusal at all.
const LINGER_BYTES: usize = 32 << 20;
const LINGER_WITHIN: Duration = Duration::from_secs(5);
/// The same of an upload that was shed. What is larger may get a reset for an answer.
const SHED_LINGER_BYTES: usize = 1 << 20;
const SHED_LINGER_WITHIN: Duration = Duration::from_secs(1);

/// A body with its share of the edge's memory, given back when this is dropped.
pub struct Body {
    pub bytes: Bytes,
    pub room: BodyMemory,
}

/// Why there is no body.
pub enum Unread {
    Refused(Refusal),
    /// The client left in the middle of it. Whoever has only closed its sending side is told so.
    Left(Refusal),
}

impl From<Refusal> for Unread {
    fn from(refusal: Refusal) -> Self {
        Unread::Refused(refusal)
    }
}

impl From<Overloaded> for Unread {
    fn from(overloaded: Overloaded) -> Self {
        Unread::Refused(overloaded.into())
    }
}

/// Reads the body, or says why not. Sends `100 Continue` only once it is wanted.
pub async fn read(session: &mut ServerSession, capacity: &Arc<Capacity>, limits: &Limits) -> Result<Body, Unread> {
    check_head(session, limits)?;
    // By what has arrived, not by what was announced: an announcement costs its sender nothing.
    let mut room = capacity.reserve(0, limits)?;
    if expects_continue(session) && session.write_continue_response().await.is_err() {
        return Err(Unread::Left(ended_early()));
    }
    let stall = limits.upload_stall;
    session.set_read_timeout(None); // every read here has a limit of ours
    let (mut alarm, mut turn, started) = (Alarm::default(), Turn::default(), Instant::now());
    let mut pieces = Pieces::new(content_length(session), limits.body);
    let mut last = started;
    loop {
        let (piece_by, expected_by) = (last + stall, expected_by(started + stall, pieces.length));
        let read = alarm.before(piece_by.min(expected_by), pin!(session.read_request_body())).await;
        let piece = match read {
            Some(Ok(Some(piece))) => piece,
            Some(Ok(None)) => {
                if let Some(arrival) = Arrival::of(session.digest()) {
                    arrival.note_body_over();
                }
                return Ok(Body { bytes: pieces.join(), room });
            }
            Some(Err(error)) => {
                // What follows on this connection could be the rest of the body or another request: nobody can tell.
                session.set_keepalive(None);
                return Err(unreadable(error.etype(), stall));
            }
            None if piece_by <= expected_by => return Err(stalled(stall).into()),
            None => return Err(too_slow(stall).into()),
        };
        if pieces.length + piece.len() > limits.body {
            return Err(too_large(limits.body).into());
        }
        room.grow(piece.len(), limits)?;
        let length = piece.len();
        pieces.push(piece);
        turn.moved(length).await;
        last = Instant::now();
    }
}

/// When the next piece must have come of an upload that has brought `arrived` bytes; without any, `at_least` then.
fn expected_by(at_least: Instant, arrived: usize) -> Instant {
    at_least + Duration::from_micros(arrived as u64 * 1_000_000 / SLOWEST)
}

/// Reads what is left of a small body and throws it away. False where there is more, or where the client waits to be
/// told to send it.
pub async fn drained(session: &mut ServerSession) -> bool {
    if session.is_body_done() || session.is_body_empty() {
        return true;
    }
    if expects_continue(session) || content_length(session).is_none_or(|length| length > DRAINED) {
        return false;
    }
    matches!(timeout(DRAIN_WITHIN, session.drain_request_body()).await, Ok(Ok(())))
}

/// Reads on for a while after a refusal was sent. Closing with bytes unread resets the connection, and a reset can
/// overtake the answer. A stream of HTTP/2 that was shed is reset at once: its answer is out whole before that, and the
/// connection stays.
pub async fn linger(session: &mut ServerSession, shed: bool) {
    if shed && session.is_http2() {
        return;
    }
    let (bytes, within) = match shed {
        true => (SHED_LINGER_BYTES, SHED_LINGER_WITHIN),
        false => (LINGER_BYTES, LINGER_WITHIN),
    };
    let reading = async {
        let (mut read, mut turn) = (0, Turn::default());
        while let Ok(Some(piece)) = session.read_request_body().await {
            read += piece.len();
            if read > bytes {
                break;
            }
            turn.moved(piece.len()).await;
        }
    };
    let _ = timeout(within, reading).await;
}

#[derive(Default)]
struct Pieces {
    /// A body of one piece is passed on as it came, without a copy.
    first: Option<Bytes>,
    joined: Vec<u8>,
    length: usize,
    /// The length that was announced, or 0.
    announced: usize,
    /// The most that can come.
    most: usize,
}

impl Pieces {
    fn new(announced: Option<usize>, limit: usize) -> Self {
        Self { announced: announced.unwrap_or(0), most: announced.unwrap_or(limit), ..Self::default() }
    }

    fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        if self.first.is_none() && self.joined.is_empty() {
            self.first = Some(piece);
            return;
        }
        if let Some(first) = self.first.take() {
            self.joined.reserve_exact(self.announced.min(AHEAD).max(self.length));
            self.joined.extend_from_slice(&first);
        }
        let (had, room) = (self.joined.len(), self.joined.capacity());
        if room - had < piece.len() {
            let room = if room < AHEAD { 2 * had } else { self.most.min(FURTHER * had) };
            self.joined.reserve_exact(room.max(self.length) - had);
        }
        self.joined.extend_from_slice(&piece);
    }

    fn join(self) -> Bytes {
        self.first.unwrap_or_else(|| self.joined.into())
    }
}

/// What the head alone gives away: a type or an encoding that LiteLLM would read otherwise than we do, or a length
/// over the limit.
fn check_head(session: &ServerSession, limits: &Limits) -> Result<(), Refusal> {
    let headers = &session.req_header().headers;
    if headers.get(http::header::CONTENT_TYPE).is_some_and(|kind| !is_json(kind.as_bytes())) {
        return Err(Refusal::new(Reason::UnsupportedMediaType, "content-type must be application/json"));
    }
    let encoded = headers.get(http::header::CONTENT_ENCODING);
    if encoded.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::new(Reason::UnsupportedMediaType, "content-encoding is not supported; send plain JSON"));
    }
    if content_length(session).is_some_and(|length| length > limits.body) {
        return Err(too_large(limits.body));
    }
    Ok(())
}

fn is_json(kind: &[u8]) -> bool {
    let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json")
}

pub fn content_length(session: &ServerSession) -> Option<usize> {
    session.get_header(http::header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn expects_continue(session: &ServerSession) -> bool {
    session.get_header(http::header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new(Reason::BodyTooLarge, format!("the request body is over the limit of {limit} bytes")).final_word()
}

fn stalled(stall: Duration) -> Refusal {
    Refusal::new(Reason::BodyTimeout, format!("nothing more of the body came within {stall:?} (upload_stall)"))
}

fn too_slow(stall: Duration) -> Refusal {
    let message = format!(
        "the body arrives too slowly: beyond {stall:?} (upload_stall), {} KiB a second are the least",
        SLOWEST >> 10
    );
    Refusal::new(Reason::BodyTimeout, message)
}

fn unreadable(cause: &ErrorType, stall: Duration) -> Unread {
    match cause {
        ErrorType::ReadTimedout => stalled(stall).into(),
        cause if left(cause) => Unread::Left(ended_early()),
        _ => ended_early().into(),
    }
}

fn ended_early() -> Refusal {
    Refusal::new(Reason::InvalidJson, "the request body ended early, or its framing is broken")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_json() {
        for (kind, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/x-www-form-urlencoded", false),
            ("multipart/form-data; boundary=x", false),
            ("application/json-form", false),
            ("text/plain", false),
        ] {
            assert_eq!(is_json(kind.as_bytes()), expected, "{kind}");
        }
    }

    #[test]
    fn an_upload_that_only_drips_runs_out_of_time() {
        let at_least = Instant::now();
        let after = |seconds| at_least + Duration::from_secs(seconds);
        assert_eq!(expected_by(at_least, 0), at_least);
        assert!(expected_by(at_least, 100) < at_least + Duration::from_millis(10), "a byte now and then earns nothing");
        assert_eq!(expected_by(at_least, 10 << 20), after(640), "16 KiB a second is enough for the largest body");
    }

    #[test]
    fn a_body_of_one_piece_is_not_copied() {
        let piece = Bytes::from_static(b"{}");
        let mut pieces = Pieces::new(Some(2), 100);
        pieces.push(piece.clone());
        assert_eq!(pieces.join().as_ptr(), piece.as_ptr());

        let mut pieces = Pieces::new(None, 100);
        for part in [&b"{"[..], b"\"a\":1", b"}"] {
            pieces.push(Bytes::from_static(part));
        }
        assert_eq!(pieces.join(), &b"{\"a\":1}"[..]);
    }

    #[test]
    fn a_large_body_moves_once_and_gets_little_room_for_an_announcement() {
        const BODY: usize = 10_000_000;
        let piece = Bytes::from(vec![b' '; 10_000]);
        for (announced, limit, rooms) in [
            (Some(BODY), 10 << 20, vec![AHEAD, BODY]),
            // What announces nothing may be as long as it is allowed to be.
            (None, 10 << 20, vec![20_000, 40_000, 80_000, 160_000, 320_000, 640_000, 1_280_000, 10 << 20]),
            (Some(1_000 * BODY), 1_000 * BODY, vec![AHEAD, FURTHER * 1_040_000]),
        ] {
            let (mut pieces, mut seen) = (Pieces::new(announced, limit), Vec::new());
            for _ in 0..BODY / piece.len() {
                pieces.push(piece.clone());
                let room = pieces.joined.capacity();
                if room > 0 && seen.last() != Some(&room) {
                    seen.push(room);
                }
            }
            assert_eq!((pieces.length, seen), (BODY, rooms));
            assert_eq!(pieces.join().len(), BODY);
        }
    }
}
