//! A body out of the bytes of a connection: by its length, by chunks (RFC 9112, 7.1), or up to the connection's end.

use bytes::{Buf, Bytes, BytesMut};

use super::head::Length;

/// A line between chunks that is longer holds no size. Extensions and trailers are passed over.
const LONGEST_LINE: usize = 4 << 10;
const LONGEST_TRAILER: usize = 16 << 10;

/// Where a body stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are to come.
    Known(u64),
    Chunked(Chunk),
    UntilClose,
    Ended,
}

/// Where a chunked body stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    Size,
    /// So many bytes of the chunk are to come.
    Data(u64),
    /// The line end behind a chunk.
    End,
    /// Bytes of trailer lines so far.
    Trailer(usize),
}

/// What the bytes at hand yield.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Yield {
    Piece(Bytes),
    /// The clean end.
    End,
    /// More has to be read.
    More,
}

/// The bytes are not what the framing calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FramingProblem(&'static str);

impl From<Length> for Framing {
    fn from(length: Length) -> Self {
        match length {
            Length::Known(0) => Self::Ended,
            Length::Known(length) => Self::Known(length),
            Length::Chunked => Self::Chunked(Chunk::Size),
            Length::UntilClose => Self::UntilClose,
        }
    }
}

impl Framing {
    /// Takes the next piece off the beginning of `inbox`.
    pub fn take(&mut self, inbox: &mut BytesMut) -> Result<Yield, FramingProblem> {
        match self {
            Self::Ended => Ok(Yield::End),
            Self::UntilClose if inbox.is_empty() => Ok(Yield::More),
            Self::UntilClose => Ok(Yield::Piece(inbox.split().freeze())),
            Self::Known(left) => {
                let piece = piece(inbox, left);
                if *left == 0 {
                    *self = Self::Ended;
                }
                Ok(piece.map_or(Yield::More, Yield::Piece))
            }
            Self::Chunked(chunk) => {
                let found = chunk.take(inbox)?;
                if found == Yield::End {
                    *self = Self::Ended;
                }
                Ok(found)
            }
        }
    }

    /// The connection has ended. Whether the body has, too.
    pub fn close(&mut self) -> bool {
        if *self == Self::UntilClose {
            *self = Self::Ended;
        }
        *self == Self::Ended
    }
}

impl Chunk {
    fn take(&mut self, inbox: &mut BytesMut) -> Result<Yield, FramingProblem> {
        loop {
            match self {
                Self::Size => {
                    let Some(line) = line(inbox)? else { return Ok(Yield::More) };
                    *self = match size(&line)? {
                        0 => Self::Trailer(0),
                        size => Self::Data(size),
                    };
                }
                Self::Data(_) => return Ok(self.data(inbox).map_or(Yield::More, Yield::Piece)),
                Self::End => match inbox.get(..2) {
                    None => return Ok(Yield::More),
                    Some(b"\r\n") => {
                        inbox.advance(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err(FramingProblem("a chunk is longer than it says")),
                },
                Self::Trailer(before) => {
                    let Some(line) = line(inbox)? else { return Ok(Yield::More) };
                    if line.is_empty() {
                        return Ok(Yield::End);
                    }
                    *before += line.len();
                    if *before > LONGEST_TRAILER {
                        return Err(FramingProblem("the trailer does not end"));
                    }
                }
            }
        }
    }

    /// The data at hand of this chunk and of those that follow it, as one piece: whoever passes it on pays for a piece,
    /// and what came in one read came at one time.
    fn data(&mut self, inbox: &mut BytesMut) -> Option<Bytes> {
        // What is joined ends at `end`, what has been looked at `from`: in between lies what stood between chunks.
        let (mut end, mut from) = (0, 0);
        while let Self::Data(left) = self {
            let length = at_hand(inbox.len() - from, left);
            if from > end {
                inbox.copy_within(from..from + length, end);
            }
            end += length;
            from += length;
            if *left > 0 {
                break;
            }
            *self = Self::End;
            if let Some((length, size)) = inbox.get(from..).and_then(next_size) {
                from += length;
                *self = Self::Data(size);
            }
        }
        let piece = inbox.split_to(end);
        inbox.advance(from - end);
        (end > 0).then(|| piece.freeze())
    }
}

/// What stands between two chunks, its length and the size of the second, where it is all there and as it should be.
/// The last chunk is none of them.
fn next_size(bytes: &[u8]) -> Option<(usize, u64)> {
    let rest = bytes.strip_prefix(b"\r\n")?;
    let feed = memchr::memchr(b'\n', rest.get(..LONGEST_LINE).unwrap_or(rest))?;
    let line = rest.get(..feed)?.strip_suffix(b"\r")?;
    let size = size(line).ok().filter(|size| *size > 0)?;
    Some((feed + 3, size))
}

/// How many of `left` bytes are among `length`, taken off what is left.
fn at_hand(length: usize, left: &mut u64) -> usize {
    let length = length.min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= length as u64;
    length
}

/// As much of `left` bytes as is there.
fn piece(inbox: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let length = at_hand(inbox.len(), left);
    (length > 0).then(|| inbox.split_to(length).freeze())
}

/// The next line, without its end.
fn line(inbox: &mut BytesMut) -> Result<Option<BytesMut>, FramingProblem> {
    let looked_at = inbox.get(..LONGEST_LINE).unwrap_or(inbox);
    let Some(feed) = memchr::memchr(b'\n', looked_at) else {
        let endless = inbox.len() > LONGEST_LINE;
        return if endless { Err(FramingProblem("a line between chunks does not end")) } else { Ok(None) };
    };
    let mut line = inbox.split_to(feed + 1);
    if !line.ends_with(b"\r\n") {
        return Err(FramingProblem("a line feed without its carriage return between chunks"));
    }
    line.truncate(feed - 1);
    Ok(Some(line))
}

/// Hexadecimal digits, then nothing or an extension.
fn size(line: &[u8]) -> Result<u64, FramingProblem> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    let hexadecimal = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| hexadecimal)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(FramingProblem("a chunk's size is no number"))
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
