//! Reads an answer as it passes: usage, how much was said, whether it ended.
//!
//! A [`Tap`] never delays or changes a stream, with one exception: where usage was asked for in the client's place, the
//! tail of an event that has not ended is held (16 KiB at most), so that the event that brings only usage can be
//! left out. Whatever cannot be read is passed on all the same.

mod answer;
mod event;
mod mould;

pub use answer::{AnswerReport, AnswerTap};

use bytes::Bytes;

use super::endpoint::Dialect;
use super::finder::Finder;
use super::sse::{self, Framing};
use super::tally::Tally;
use crate::units::Usage;
use event::Reading;

/// The longest event that is held, and so the longest that can be left out or read in one go.
const HOLD: usize = 16 * 1024;

/// A held event's memory is kept for the next one up to this size: most streams never cut an event.
const KEEP: usize = 2 * 1024;

/// A tap on one stream of server-sent events.
#[derive(Debug)]
pub struct Tap {
    framing: Framing,
    strip: bool,
    reading: Reading,
    /// An event that has begun and not ended. While stripping it has not been passed on.
    held: Vec<u8>,
    /// An event too long to hold: it passes, and this follows it.
    long: Option<Box<Finder>>,
    /// The last event was left out.
    dropped: bool,
    /// What was passed on does not end where an event ends, although the stream is over.
    torn: bool,
}

/// What a stream has said so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamReport {
    /// The last usage that made sense.
    pub usage: Option<Usage>,
    /// Answer, refusal, reasoning and tool arguments.
    pub said: Tally,
    /// The part of it that came behind the usage.
    pub said_since: Tally,
    /// An event with data has passed to its end, and not only comments.
    pub saw_event: bool,
    /// `[DONE]`, or the dialect's own last event: the client has been told that this is all.
    pub saw_end: bool,
    /// An error came inside the stream.
    pub error: bool,
    /// What was passed on ends where an event ends, so that one of our own may follow.
    pub at_boundary: bool,
}

impl Tap {
    /// `strip` takes out the event that carries nothing but usage.
    pub fn new(dialect: Dialect, strip: bool) -> Self {
        Self {
            framing: Framing::default(),
            strip,
            reading: Reading::new(dialect),
            held: Vec::new(),
            long: None,
            dropped: false,
            torn: false,
        }
    }

    /// Takes the next chunk, and appends to `out` what is to be passed on now.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) {
        if self.strip {
            self.strip(&chunk, out);
        } else {
            self.observe(&chunk);
            out.push(chunk);
        }
    }

    /// The upstream has ended, cleanly or not: appends what was held.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) {
        if let Some(long) = self.long.take() {
            self.reading.long(&long);
        }
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return;
        }
        let only_usage = self.reading.unended(&held);
        if self.strip && !only_usage {
            self.torn = true;
            out.push(held.into());
        }
    }

    pub fn report(&self) -> StreamReport {
        let (said, said_since) = self.reading.said(self.long.as_deref());
        let at_boundary = if self.strip { self.long.is_none() } else { self.framing.at_boundary() };
        StreamReport {
            usage: self.reading.usage(),
            said,
            said_since,
            saw_event: self.reading.saw_event,
            saw_end: self.reading.saw_end,
            error: self.reading.error,
            at_boundary: at_boundary && !self.torn,
        }
    }

    fn observe(&mut self, bytes: &[u8]) {
        let mut at = self.line_end(bytes);
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if let Some(length) = self.alike(rest) {
                at += length;
                continue;
            }
            let Some(length) = self.framing.event_end(rest) else { break };
            let event = rest.get(..length).unwrap_or_default();
            at += length;
            if self.long.is_some() {
                self.end_long(event);
            } else if self.held.is_empty() {
                self.reading.event(event);
            } else {
                self.held.extend_from_slice(event);
                self.reading.event(&self.held);
                self.release();
            }
        }
        let tail = bytes.get(at..).unwrap_or_default();
        if !self.follow(tail) {
            self.hold(tail);
        }
    }

    fn strip(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) {
        // Everything between `from` and `at` passes; it is sent as one slice where nothing is taken out of it.
        let mut from = 0;
        let mut at = self.line_end(chunk);
        if self.dropped {
            from = at;
        }
        loop {
            let rest = chunk.get(at..).unwrap_or_default();
            if let Some(length) = self.alike(rest) {
                self.dropped = false;
                at += length;
                continue;
            }
            let Some(length) = self.framing.event_end(rest) else { break };
            let event = rest.get(..length).unwrap_or_default();
            if self.long.is_some() {
                self.end_long(event);
                self.dropped = false;
            } else if self.held.is_empty() {
                self.dropped = self.reading.event(event) && length <= HOLD;
                if self.dropped {
                    pass(chunk, from, at, out);
                    from = at + length;
                }
            } else {
                self.held.extend_from_slice(event);
                self.dropped = self.reading.event(&self.held) && self.held.len() <= HOLD;
                if !self.dropped {
                    out.push(std::mem::take(&mut self.held).into());
                }
                self.release();
                from = at + length;
            }
            at += length;
        }
        let tail = chunk.get(at..).unwrap_or_default();
        if self.long.is_none() && self.held.len() + tail.len() > HOLD && !self.held.is_empty() {
            // `from` is 0 here: no event has ended in this chunk, or nothing would be held.
            out.push(Bytes::copy_from_slice(&self.held));
        }
        if self.follow(tail) {
            pass(chunk, from, chunk.len(), out);
        } else {
            pass(chunk, from, at, out);
            self.hold(tail);
        }
    }

    /// The length of the event that `bytes` begins with, which has been read, where it is like the one before. It ends
    /// with a line end that needs no look at what follows: so the framing stands as before it, between two events.
    fn alike(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.framing.at_boundary() { self.reading.alike(bytes) } else { None }
    }

    /// The LF of a CRLF cut in two, which belongs to the event before.
    fn line_end(&mut self, bytes: &[u8]) -> usize {
        if self.framing.at_boundary() { self.framing.rest_of_line_end(bytes) } else { 0 }
    }

    /// Whether `tail` belongs to an event too long to hold; if so, it has been read.
    fn follow(&mut self, tail: &[u8]) -> bool {
        if let Some(long) = &mut self.long {
            long.feed(tail);
            return true;
        }
        if self.held.len() + tail.len() <= HOLD {
            return false;
        }
        let mut long = Box::<Finder>::default();
        self.held.extend_from_slice(tail);
        if let Some(start) = sse::data_start(&self.held) {
            long.feed(self.held.get(start..).unwrap_or_default());
        }
        self.held = Vec::new();
        self.long = Some(long);
        true
    }

    fn end_long(&mut self, event: &[u8]) {
        if let Some(mut long) = self.long.take() {
            long.feed(event);
            self.reading.long(&long);
        }
    }

    fn hold(&mut self, tail: &[u8]) {
        self.held.extend_from_slice(tail);
    }

    fn release(&mut self) {
        self.held.clear();
        if self.held.capacity() > KEEP {
            self.held = Vec::new();
        }
    }
}

fn pass(chunk: &Bytes, from: usize, to: usize, out: &mut Vec<Bytes>) {
    if from < to {
        out.push(chunk.slice(from..to));
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
