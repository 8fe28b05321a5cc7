//! Reading the head of an HTTP/1.1 request, before pingora does: within its time and its size, and written so that no
//! two parsers can read it as two.
//!
//! pingora has no deadline for a head, takes a megabyte of it, takes lines that end in a bare LF, and lets
//! `Content-Length` beside `Transfer-Encoding` pass. What is handed to it from here is whole, so that it never waits in
//! the middle of one, and is parsed by it alone: this is one pass over the lines, not a second parser.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use memchr::memchr;
use tokio::io::{AsyncRead, ReadBuf};

use super::guard::Guard;
use crate::config::Guards;
use crate::upstream::within;

/// A head and a short prompt come in one read.
const READ: usize = 8 << 10;
/// A length of more digits no parser can count to by 64 bits with a sign.
const MOST_DIGITS: usize = 18;
/// Blank lines that old clients send behind a body, and that are passed over before a head.
const BLANK_LINES: usize = 4;

/// Why no head was read.
#[derive(Debug, PartialEq, Eq)]
pub enum NoHead {
    /// The client left, or has had its turn and is silent.
    Nobody,
    /// It came and has said nothing at all.
    Silent,
    /// To be answered.
    Refused(Guard),
}

/// How long a head is waited for.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// The first of a connection: whole by then.
    Until(Instant),
    /// A further one: begun within `idle`.
    Idle(Duration),
}

/// Reads until a head is whole, and hands back all that came, the head first, and how much of it follows the head.
pub async fn read<S>(stream: &mut S, guards: &Guards, patience: Patience) -> Result<(BytesMut, usize), NoHead>
where
    S: AsyncRead + Unpin + ?Sized,
{
    let mut bytes = BytesMut::new();
    let first = match patience {
        Patience::Until(deadline) => deadline.saturating_duration_since(Instant::now()),
        Patience::Idle(idle) => idle,
    };
    let mut lines = Lines::default();
    match within(first, more(stream, &mut bytes)).await {
        Some(true) => {}
        Some(false) => return Err(NoHead::Nobody),
        None if matches!(patience, Patience::Until(_)) => return Err(NoHead::Silent),
        None => return Err(NoHead::Nobody),
    }
    if lines.whole(&bytes, guards)? {
        let behind = bytes.len() - lines.begin;
        return Ok((bytes, behind));
    }
    // Boxed: most heads come whole, and idle connections pay for what this future holds.
    Box::pin(rest(stream, bytes, lines, guards, patience)).await
}

async fn rest<S>(
    stream: &mut S,
    mut bytes: BytesMut,
    mut lines: Lines,
    guards: &Guards,
    patience: Patience,
) -> Result<(BytesMut, usize), NoHead>
where
    S: AsyncRead + Unpin + ?Sized,
{
    let deadline = match patience {
        Patience::Until(deadline) => deadline,
        Patience::Idle(_) => Instant::now() + guards.header_timeout,
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match within(left, more(stream, &mut bytes)).await {
            Some(true) if lines.whole(&bytes, guards)? => {
                let behind = bytes.len() - lines.begin;
                return Ok((bytes, behind));
            }
            Some(true) => {}
            Some(false) => return Err(NoHead::Nobody),
            None => return Err(NoHead::Refused(Guard::HeaderTimeout)),
        }
    }
}

/// False at the end. Nothing is set aside while nothing comes.
async fn more<S: AsyncRead + Unpin + ?Sized>(stream: &mut S, bytes: &mut BytesMut) -> bool {
    poll_fn(|context| {
        let mut room = [MaybeUninit::<u8>::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut room);
        match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => {
                bytes.extend_from_slice(buffer.filled());
                Poll::Ready(!buffer.filled().is_empty())
            }
            Poll::Ready(Err(_)) => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// How far the lines of a head have been looked at.
#[derive(Debug, Default)]
struct Lines {
    /// Where the first line begins that has not ended yet.
    begin: usize,
    /// Up to where its end was looked for.
    searched: usize,
    blank: usize,
    /// The request line counts as one.
    seen: usize,
    /// HTTP/1.1, and not 1.0.
    names_its_host: bool,
    hosts: usize,
    lengths: usize,
    codings: usize,
}

impl Lines {
    /// Whether the head has ended. Looks at each byte once, and comes to the same however many reads they came in.
    fn whole(&mut self, bytes: &[u8], guards: &Guards) -> Result<bool, NoHead> {
        // Not beyond what a head may be: how much of that has come by now is chance.
        let head = bytes.get(..guards.header_bytes).unwrap_or(bytes);
        while let Some(at) = memchr(b'\n', &head[self.searched..]) {
            let end = self.searched + at;
            let line = &head[self.begin..end];
            // A line that ends in a bare LF ends where other parsers see none end.
            let line = line.strip_suffix(b"\r").ok_or(NoHead::Refused(Guard::InvalidHead))?;
            (self.begin, self.searched) = (end + 1, end + 1);
            match (line.is_empty(), self.seen) {
                (true, 0) if self.blank < BLANK_LINES => self.blank += 1,
                (true, 0) => return Err(NoHead::Refused(Guard::InvalidHead)),
                (true, _) => return self.framed().map(|()| true),
                (false, 0) => self.names_its_host = request_line(line)?,
                (false, seen) if seen > guards.headers => return Err(NoHead::Refused(Guard::HeadersTooLarge)),
                (false, _) => self.header(line)?,
            }
            self.seen += usize::from(!line.is_empty());
        }
        self.searched = head.len();
        // What is no HTTP at all need not be waited for: TLS, for one, has no end of a line.
        if self.seen == 0 && head[self.begin..].first().is_some_and(|first| !begins_a_line(*first)) {
            return Err(NoHead::Refused(Guard::InvalidHead));
        }
        if bytes.len() > guards.header_bytes { Err(NoHead::Refused(Guard::HeadersTooLarge)) } else { Ok(false) }
    }

    fn header(&mut self, line: &[u8]) -> Result<(), NoHead> {
        match line.first() {
            // The value before it, folded: some parsers join the two, others do not.
            Some(b' ' | b'\t') => return Err(NoHead::Refused(Guard::InvalidHead)),
            Some(b'c' | b'C') => {
                if let Some(length) = value(line, b"content-length:") {
                    // A list of lengths is as many lengths; what else may be wrong with one is pingora's to find.
                    self.lengths += 1 + length.iter().filter(|byte| **byte == b',').count();
                    if self.lengths == 1 && length.len() > MOST_DIGITS {
                        return Err(NoHead::Refused(Guard::InvalidHead));
                    }
                }
            }
            Some(b't' | b'T') => {
                if let Some(coding) = value(line, b"transfer-encoding:") {
                    self.codings += 1;
                    if !coding.eq_ignore_ascii_case(b"chunked") {
                        return Err(NoHead::Refused(Guard::AmbiguousFraming));
                    }
                }
            }
            Some(b'h' | b'H') => {
                if let Some(host) = value(line, b"host:") {
                    self.hosts += 1;
                    if !is_a_host(host) {
                        return Err(NoHead::Refused(Guard::InvalidHead));
                    }
                }
            }
            // The only expectation there is. What is read as that one by one parser and as nothing by another leaves
            // the two waiting for different ends of a body.
            Some(b'e' | b'E')
                if value(line, b"expect:").is_some_and(|it| !it.eq_ignore_ascii_case(b"100-continue")) =>
            {
                return Err(NoHead::Refused(Guard::InvalidHead));
            }
            _ => {}
        }
        Ok(())
    }

    /// One length, or one coding, or neither; and one host, which HTTP/1.0 need not name (RFC 9112 §3.2).
    fn framed(&self) -> Result<(), NoHead> {
        if self.lengths + self.codings > 1 {
            return Err(NoHead::Refused(Guard::AmbiguousFraming));
        }
        let hosts = usize::from(self.names_its_host)..=1;
        if hosts.contains(&self.hosts) { Ok(()) } else { Err(NoHead::Refused(Guard::InvalidHead)) }
    }
}

/// Whether it is HTTP/1.1, else 1.0. pingora would mend a target with blanks or control characters in it, and cut off a
/// fragment; who reads it elsewhere might not.
fn request_line(line: &[u8]) -> Result<bool, NoHead> {
    let begun = line.first().is_some_and(|first| begins_a_line(*first)) && !line.iter().any(u8::is_ascii_control);
    let (newer, older) = (line.ends_with(b" HTTP/1.1"), line.ends_with(b" HTTP/1.0"));
    let parts = line.iter().filter(|byte| **byte == b' ').count() + 1;
    if begun && (newer || older) && parts == 3 && memchr(b'#', line).is_none() {
        Ok(newer)
    } else {
        Err(NoHead::Refused(Guard::InvalidHead))
    }
}

/// Methods are words; blank lines may come before them.
fn begins_a_line(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'\r' || b"!#$%&'*+-.^_`|~".contains(&byte) || byte.is_ascii_digit()
}

/// A name or an address, and a port where one is given. RFC 3986 would have more of a name, and a port of no digits; no
/// name of the DNS has, and readers differ on it.
pub fn is_a_host(host: &[u8]) -> bool {
    let (is_sound, port) = match host.strip_prefix(b"[") {
        Some(literal) => {
            let Some(end) = memchr(b']', literal) else { return false };
            let address = std::str::from_utf8(&literal[..end]).ok();
            (address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()), &literal[end + 1..])
        }
        None => {
            let (name, port) = host.split_at(memchr(b':', host).unwrap_or(host.len()));
            (is_a_name(name), port)
        }
    };
    let digits = port.strip_prefix(b":").and_then(|digits| std::str::from_utf8(digits).ok());
    is_sound
        && (port.is_empty() || digits.is_some_and(|digits| !digits.starts_with('+') && digits.parse::<u16>().is_ok()))
}

/// Labels with a dot between any two, and perhaps one behind the last.
fn is_a_name(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    name.split(|byte| *byte == b'.').all(|label| !label.is_empty() && label.iter().all(belongs))
}

/// What stands behind `name`, which is lower case and ends in its colon, where that begins the line.
fn value<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
