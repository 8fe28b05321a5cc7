//! The last user message, for the rules that read it.

use memchr::memmem;

use super::{Piece, Span};
use crate::llm::json::unescape;

/// How much a rule sees of a long message, at its beginning and again at its end: agents put the task first and their
/// surroundings last, or the context first and the question last. Bounds what a regular expression can cost.
const WINDOW: usize = 2 << 10;

/// Text that lies escaped in the body and is unescaped only when a rule asks.
#[derive(Debug, Clone, Copy)]
pub struct UserText<'a> {
    body: &'a [u8],
    pieces: &'a [Piece],
}

impl<'a> UserText<'a> {
    pub(super) fn new(body: &'a [u8], pieces: &'a [Piece]) -> Self {
        Self { body, pieces }
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// What rules match against: the parts joined by newlines; of more than 4 KiB the first and the last 2: a rule costs nanoseconds a byte, and
    /// what people ask for stands at an end of what they paste.
    pub fn window(&self) -> String {
        let total: usize = self.pieces.iter().map(|piece| piece.span.len()).sum();
        if total <= 2 * WINDOW {
            return self.join(self.pieces.iter().copied());
        }
        let mut room = WINDOW;
        let head: Vec<Piece> = self.pieces.iter().map_while(|piece| take(piece, &mut room, Span::first)).collect();
        let mut room = WINDOW;
        let mut tail: Vec<Piece> =
            self.pieces.iter().rev().map_while(|piece| take(piece, &mut room, Span::last)).collect();
        tail.reverse();
        self.join(head.into_iter().chain(tail))
    }

    /// Whether it carries a unified diff: a fenced one, git's own header, or file lines followed by a hunk.
    pub fn has_diff(&self) -> bool {
        self.pieces.iter().any(|piece| {
            let raw = piece.span.of(self.body);
            if memmem::find(raw, b"```diff").is_some() || memmem::find(raw, b"diff --git ").is_some() {
                return true;
            }
            let Some(hunk) = memmem::find(raw, b"@@ -") else { return false };
            let before = raw.get(..hunk).unwrap_or_default();
            let Some(new_file) = memmem::rfind(before, b"+++ ") else { return false };
            memmem::rfind(before.get(..new_file).unwrap_or_default(), b"--- ").is_some()
        })
    }

    fn join(&self, pieces: impl Iterator<Item = Piece>) -> String {
        let mut text = String::new();
        for piece in pieces {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&unescape(piece.span.of(self.body), piece.escaped));
        }
        text
    }
}

impl Span {
    fn first(self, length: usize) -> Self {
        Span { start: self.start, end: self.end.min(self.start + length) }
    }

    fn last(self, length: usize) -> Self {
        Span { start: self.start.max(self.end.saturating_sub(length)), end: self.end }
    }
}

/// As much of `piece` as there is room for; None where there is none left.
fn take(piece: &Piece, room: &mut usize, cut: fn(Span, usize) -> Span) -> Option<Piece> {
    if *room == 0 {
        return None;
    }
    let span = cut(piece.span, *room);
    *room -= span.len();
    Some(Piece { span, escaped: piece.escaped })
}
