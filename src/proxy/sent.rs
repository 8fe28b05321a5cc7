//! How much of a web answer's body the client's connection has taken, however the answer ended.
//!
//! pingora counts a write once all of it is over, a quarter of a megabyte perhaps. Of one that failed or was given up, the
//! connection knows how far it came. What it has taken and not passed to its socket yet counts: 4 KB at the most, under TLS
//! 64 KB more. A stream of HTTP/2, of whose pieces no connection tells, is counted by pingora alone.

use http::header::TRANSFER_ENCODING;
use pingora::http::ResponseHeader;
use pingora_core::protocols::http::ServerSession;

use crate::entry::arrival::Arrival;

/// The body of one answer, over HTTP/1.1.
#[derive(Default)]
pub struct Sent {
    /// What the connection had taken before the head.
    before_head: u64,
    /// What it had taken before the last write.
    before_last: u64,
    /// Bytes of the body in that write, and in all that came before it.
    last: u64,
    earlier: u64,
}

impl Sent {
    /// A head is about to be written.
    pub fn head(&mut self, session: &ServerSession) {
        *self = Self { before_head: taken(session), before_last: taken(session), last: 0, earlier: 0 };
    }

    /// A piece is about to be written. pingora writes as one what it has taken in one go.
    pub fn piece(&mut self, session: &ServerSession, bytes: usize) {
        let taken = taken(session);
        if taken != self.before_last {
            self.earlier += self.last;
            (self.before_last, self.last) = (taken, 0);
        }
        self.last += bytes as u64;
    }

    /// Bytes of the body that the connection has taken.
    pub fn bytes(&self, session: &ServerSession) -> u64 {
        let counted = session.body_bytes_sent() as u64;
        if session.is_http2() || counted != self.earlier {
            return counted; // the last write as well
        }
        let Some(head) = session.response_written() else { return 0 };
        let before = if self.before_last == self.before_head { length(head) } else { 0 };
        let size = if head.headers.contains_key(TRANSFER_ENCODING) { format!("{:X}\r\n", self.last).len() } else { 0 };
        let of_last = taken(session) - self.before_last;
        counted + of_last.saturating_sub((before + size) as u64).min(self.last)
    }
}

fn taken(session: &ServerSession) -> u64 {
    Arrival::of(session.digest()).map_or(0, Arrival::taken)
}

/// As it stands on the wire.
fn length(head: &ResponseHeader) -> usize {
    let lines = head.headers.iter().map(|(name, value)| name.as_str().len() + ": \r\n".len() + value.len());
    "HTTP/1.1 200 \r\n\r\n".len() + head.get_reason_phrase().map_or(0, str::len) + lines.sum::<usize>()
}
