//! Server-sent events, as far as a relay needs them: where an event ends, and what its data is.
//!
//! After the HTML standard, §9.2: lines end with LF, CRLF or CR; an empty line ends an event; a line that begins with
//! a colon is a comment; the stream may begin with a byte order mark.

use std::borrow::Cow;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Finds where events end in a stream that arrives in pieces. Remembers three bits.
#[derive(Debug, Clone, Copy)]
pub struct Framing {
    /// Nothing of the current line has been seen.
    line_empty: bool,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    /// Nothing of the current event has been seen.
    event_empty: bool,
}

impl Default for Framing {
    fn default() -> Self {
        Self { line_empty: true, after_cr: false, event_empty: true }
    }
}

impl Framing {
    /// Whether what was fed so far ends where another event may be put in.
    pub fn at_boundary(&self) -> bool {
        self.event_empty
    }

    /// The LF of a CRLF that was cut in two, if `bytes` begins with it: it belongs to the line that has ended.
    pub fn rest_of_line_end(&mut self, bytes: &[u8]) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        usize::from(std::mem::take(&mut self.after_cr) && bytes.first() == Some(&b'\n'))
    }

    /// The length of what is left of the current event, its empty line included; None where it goes on past `bytes`.
    ///
    /// `bytes` goes on from what was fed before. A CR at its very end ends the event; its LF, if there is one, comes
    /// out of [`Framing::rest_of_line_end`] of the next bytes.
    pub fn event_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            at += self.rest_of_line_end(bytes.get(at..).unwrap_or_default());
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(length) = memchr::memchr2(b'\n', b'\r', rest) else {
                if !rest.is_empty() {
                    self.line_empty = false;
                    self.event_empty = false;
                }
                return None;
            };
            let ends_event = self.line_empty && length == 0;
            self.line_empty = true;
            self.event_empty = ends_event;
            self.after_cr = rest.get(length) == Some(&b'\r');
            at += length + 1;
            if ends_event {
                if at < bytes.len() {
                    at += self.rest_of_line_end(bytes.get(at..).unwrap_or_default());
                }
                return Some(at);
            }
        }
    }
}

/// The data of one whole event: its `data` lines joined by newlines. None for a comment or an event without data.
pub fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut found: Option<Cow<'_, [u8]>> = None;
    for (_, line) in lines(event) {
        let Some(value) = field(line, b"data") else { continue };
        found = Some(match found {
            None => Cow::Borrowed(value),
            Some(before) => {
                let mut joined = before.into_owned();
                joined.push(b'\n');
                joined.extend_from_slice(value);
                Cow::Owned(joined)
            }
        });
    }
    found
}

/// Whether these data are the last word of a stream of OpenAI's.
pub fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

/// The name of an event, where it has one.
pub fn name(event: &[u8]) -> Option<&[u8]> {
    lines(event).find_map(|(_, line)| field(line, b"event"))
}

/// The offset at which the value of the first `data` line begins, in an event whose end has not come yet.
pub fn data_start(event: &[u8]) -> Option<usize> {
    data_starts(event).next()
}

/// As [`data_start`], of an event that has one such line.
pub fn only_data_start(event: &[u8]) -> Option<usize> {
    let mut starts = data_starts(event);
    starts.next().filter(|_| starts.next().is_none())
}

fn data_starts(event: &[u8]) -> impl Iterator<Item = usize> {
    lines(event).filter_map(|(at, line)| field(line, b"data").map(|value| at + line.len() - value.len()))
}

/// Lines without their ends, and where each begins. A CRLF gives an empty line more, which has no field either.
fn lines(event: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = if event.starts_with(BOM) { BOM.len() } else { 0 };
    std::iter::from_fn(move || {
        let rest = event.get(at..).filter(|rest| !rest.is_empty())?;
        let line = rest.get(..memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len()))?;
        let start = at;
        at += line.len() + 1;
        Some((start, line))
    })
}

/// The value of a line, if it is of the field `name`: one space after the colon is not part of it.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?;
    match value.strip_prefix(b":") {
        Some(value) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        // A line that is only the name has an empty value.
        None => value.is_empty().then_some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(stream: &[u8], chunk: usize) -> Vec<Vec<u8>> {
        let mut framing = Framing::default();
        let mut events: Vec<Vec<u8>> = Vec::new();
        let mut current = Vec::new();
        for bytes in stream.chunks(chunk) {
            let mut rest = bytes;
            if framing.at_boundary() {
                let tail = framing.rest_of_line_end(rest);
                if let Some(last) = events.last_mut() {
                    last.extend_from_slice(&rest[..tail]);
                }
                rest = &rest[tail..];
            }
            while let Some(end) = framing.event_end(rest) {
                current.extend_from_slice(&rest[..end]);
                events.push(std::mem::take(&mut current));
                rest = &rest[end..];
            }
            current.extend_from_slice(rest);
        }
        if !current.is_empty() {
            events.push(current);
        }
        events
    }

    #[test]
    fn events_end_at_the_same_bytes_however_the_stream_is_cut() {
        let stream =
            b"\xEF\xBB\xBFdata: a\n\n: ping\r\n\r\ndata: b\rdata: c\r\rid: 1\ndata:d\n\r\ndata: e\r\n\n\ndata: tail";
        let whole = split(stream, stream.len());
        let shown: Vec<_> = whole.iter().map(|event| String::from_utf8_lossy(event).into_owned()).collect();
        assert_eq!(
            shown,
            [
                "\u{feff}data: a\n\n",
                ": ping\r\n\r\n",
                "data: b\rdata: c\r\r",
                "id: 1\ndata:d\n\r\n",
                "data: e\r\n\n",
                "\n",
                "data: tail"
            ]
        );
        for chunk in 1..stream.len() {
            assert_eq!(split(stream, chunk), whole, "chunks of {chunk}");
        }
    }

    #[test]
    fn data_lines_are_joined_and_comments_have_none() {
        assert_eq!(data(b"\xEF\xBB\xBFdata: a\n\n").as_deref(), Some(b"a".as_slice()));
        assert_eq!(data(b"event: x\r\ndata: a\r\ndata:  b\r\n\r\n").as_deref(), Some(b"a\n b".as_slice()));
        assert_eq!(data(b": data: a\n\n").as_deref(), None);
        assert_eq!(data(b"data\n\n").as_deref(), Some(b"".as_slice()));
        assert_eq!(name(b"event: x\r\ndata: a\n\n"), Some(b"x".as_slice()));
        assert_eq!(name(b"data: event: x\n\n"), None);
        assert_eq!(data(b"database: 1\n\n").as_deref(), None);
        assert_eq!(data_start(b"event: x\ndata: {\"a\""), Some(15));
    }
}
