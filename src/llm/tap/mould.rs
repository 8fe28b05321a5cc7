//! What an event has in common with the one before: most of a stream's differ in a single string, which is what the
//! model said. Those are compared, for a fifth of what it takes to parse them. Where each has a number of its own, as on
//! `/v1/responses`, none is like the one before, and all are parsed as ever.

use crate::llm::json::{Span, Text, string_end};

/// The longest event that is remembered, its text left out. Each open stream has room for one.
const MOST: usize = 512;

/// An event around its one text that counts. Whatever else it may have changed has been changed when it was parsed, and
/// would not change by its coming again.
#[derive(Debug, Default)]
pub(super) struct Mould {
    /// All but the text between its quotes. None is empty: so nothing is of an empty one.
    bytes: Vec<u8>,
    /// Where the text was.
    cut: usize,
}

impl Mould {
    /// `event` ends behind its empty line; `text` lies in it, quotes included.
    pub(super) fn remember(&mut self, event: &[u8], text: Span) {
        self.bytes.clear();
        let (before, behind) = (event.get(..=text.start), event.get(text.end - 1..));
        let (Some(before), Some(behind)) = (before, behind) else { return };
        // A line that ends with CR goes on with an LF, where one follows: its length is not for the event to say.
        if before.len() + behind.len() <= MOST && behind.ends_with(b"\n") {
            self.bytes.extend_from_slice(before);
            self.bytes.extend_from_slice(behind);
            self.cut = before.len();
        }
    }

    pub(super) fn forget(&mut self) {
        self.bytes.clear();
    }

    /// The text of the event that `bytes` begins with, and the length of that event, where all else of it is the same.
    /// A string has no line end in it: so an event that looks the same around one ends where this one ended.
    pub(super) fn fits<'a>(&self, bytes: &'a [u8]) -> Option<(Text<'a>, usize)> {
        let (before, behind) = self.bytes.split_at_checked(self.cut).filter(|(before, _)| !before.is_empty())?;
        if !bytes.starts_with(before) {
            return None;
        }
        let (end, escaped) = string_end(bytes, self.cut).ok()?;
        let fits = bytes.get(end..)?.starts_with(behind);
        let text = Text::new(bytes.get(self.cut..end)?, escaped, self.cut);
        fits.then_some((text, end + behind.len()))
    }
}
