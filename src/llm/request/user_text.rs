//! The last user message, for the rules that read it.

use std::cell::OnceCell;

use memchr::memmem;
use regex::Regex;

use super::{Piece, Span};
use crate::llm::json::unescape;

/// How much of a long message rules see at its beginning and again at its end: what is wanted stands before what was
/// pasted, or behind it. Bounds what a rule can cost; a scan takes about 1.5 ns a byte and rule.
const WINDOW: usize = 1024;

/// Roo Code, its kin and Cline say their mode in every message, between what is wanted and a list of files.
const MODE: &[u8] = b"# Current Mode";
const MODE_LENGTH: usize = 192;

/// Text that lies escaped in the body and is unescaped only when a rule asks.
#[derive(Debug, Clone, Copy)]
pub struct UserText<'a> {
    body: &'a [u8],
    pieces: &'a [Piece],
}

/// What rules match against.
#[derive(Debug)]
pub struct Window {
    text: String,
    /// The text in ASCII, made when a rule first needs it.
    folded: OnceCell<String>,
}

impl<'a> UserText<'a> {
    pub(super) fn new(body: &'a [u8], pieces: &'a [Piece]) -> Self {
        Self { body, pieces }
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The whole text up to 2 KiB, its parts joined by newlines; of a longer one the first and the last KiB, and the
    /// agent's mode where it stands in between.
    pub fn window(&self) -> Window {
        let total: usize = self.pieces.iter().map(|piece| piece.span.len()).sum();
        if total <= 2 * WINDOW {
            return Window::new(self.join(self.pieces.iter().copied()));
        }
        let mut room = WINDOW;
        let mut shown: Vec<Piece> = self.pieces.iter().map_while(|piece| take(piece, &mut room, Span::first)).collect();
        let mut room = WINDOW;
        let mut tail: Vec<Piece> =
            self.pieces.iter().rev().map_while(|piece| take(piece, &mut room, Span::last)).collect();
        tail.reverse();
        shown.extend(self.mode());
        shown.extend(tail);
        Window::new(self.join(shown.into_iter()))
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

    /// The last place where an agent states its mode.
    fn mode(&self) -> Option<Piece> {
        self.pieces.iter().rev().find_map(|piece| {
            let at = piece.span.start + memmem::rfind(piece.span.of(self.body), MODE)?;
            let span = Span { start: at, end: piece.span.end.min(at + MODE_LENGTH) };
            Some(Piece { span, escaped: piece.escaped })
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

impl Window {
    fn new(text: String) -> Self {
        Self { text, folded: OnceCell::new() }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `rule` matches. A rule written in ASCII sees the text in ASCII: other letters and digits as `x`, curly
    /// quotes as straight ones, any other sign as a space. For one emoji among the text would put every `\b` on an
    /// engine a hundred times slower.
    pub fn matches(&self, rule: &Regex) -> bool {
        let ascii_rule = rule.as_str().is_ascii() && !rule.as_str().contains(r"\p") && !rule.as_str().contains(r"\x");
        let seen = if ascii_rule && !self.text.is_ascii() {
            self.folded.get_or_init(|| self.text.chars().map(folded).collect())
        } else {
            &self.text
        };
        rule.is_match(seen)
    }
}

fn folded(character: char) -> char {
    match character {
        _ if character.is_ascii() => character,
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{201C}' | '\u{201D}' => '"',
        _ if character.is_alphanumeric() => 'x',
        _ => ' ',
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
