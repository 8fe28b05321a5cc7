//! Picks the few values cfx needs out of a JSON document that arrives in pieces, in bounded memory.
//!
//! For answers that are too long to hold. It trusts the upstream's JSON: what is malformed is simply not found.

use super::json::{Scanner, find_nesting, find_special};
use super::usage::Reported;

/// A usage object longer than this is not one.
const LONGEST_USAGE: usize = 16 * 1024;
const LONGEST_NAME: usize = 40;
const DEEPEST: usize = 256;

/// The strings that are an answer's own text, in any dialect.
const ANSWER_KEYS: [&[u8]; 9] = [
    b"content",
    b"reasoning_content",
    b"reasoning",
    b"refusal",
    b"arguments",
    b"text",
    b"thinking",
    b"partial_json",
    b"delta",
];

/// What has been found so far, and where the cursor stands.
#[derive(Debug, Default)]
pub(super) struct Finder {
    /// The last usage object at the top, or inside `response` or `message` at the top.
    pub reported: Option<Reported>,
    /// Characters of answer text; an escape counts as one.
    pub chars: u64,
    /// `error` at the top is an object or a string.
    pub error: bool,
    /// The document has ended.
    pub complete: bool,
    /// `type` at the top.
    kind: Name,
    depth: usize,
    objects: [u64; DEEPEST / 64],
    /// The next string is a key.
    expect_key: bool,
    key: Name,
    string: Option<Role>,
    escape: Escape,
    /// Inside `response` or `message` at the top.
    wrapped: bool,
    capture: Option<Capture>,
}

/// A usage object that has begun.
#[derive(Debug)]
struct Capture {
    /// Of its members' object.
    depth: usize,
    /// What of it came in earlier chunks.
    held: Vec<u8>,
    /// Where it begins, or goes on, in the chunk at hand.
    from: usize,
}

/// What the string under the cursor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Key,
    Type,
    Answer,
    Other,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    No,
    /// Behind a backslash.
    Begun,
    /// So many hexadecimal digits are to come.
    Digits(u8),
}

/// A short string; longer ones are as good as unknown.
#[derive(Debug, Clone, Copy)]
struct Name {
    bytes: [u8; LONGEST_NAME],
    length: usize,
}

impl Default for Name {
    fn default() -> Self {
        Self { bytes: [0; LONGEST_NAME], length: 0 }
    }
}

impl Name {
    fn push(&mut self, more: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + more.len()) {
            room.copy_from_slice(more);
            self.length += more.len();
        } else {
            // Too long: a name that equals none.
            *self = Self { length: LONGEST_NAME, ..Self::default() };
        }
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Finder {
    /// Whether these bytes are a document with its end.
    pub fn is_whole(document: &[u8]) -> bool {
        let mut finder = Self::default();
        finder.feed(document);
        finder.complete
    }

    /// The document's `type`, if it has one.
    pub(super) fn kind(&self) -> &[u8] {
        self.kind.get()
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() && !self.complete {
            at = if self.string.is_some() { self.in_string(bytes, at) } else { self.structure(bytes, at) };
        }
        if let Some(Capture { held, from, .. }) = &mut self.capture {
            held.extend_from_slice(bytes.get(*from..).unwrap_or_default());
            *from = 0;
            if held.len() > LONGEST_USAGE {
                self.capture = None;
            }
        }
    }

    /// Reads the usage object that ends at `at`. One that lies whole in this chunk, as nearly all do, is not copied.
    fn end_capture(&mut self, bytes: &[u8], at: usize) {
        let Some(Capture { mut held, from, .. }) = self.capture.take() else { return };
        let rest = bytes.get(from..=at).unwrap_or_default();
        let whole = if held.is_empty() {
            rest
        } else {
            held.extend_from_slice(rest);
            &held
        };
        // As long as it may be in pieces: how an answer is cut decides nothing.
        if whole.len() > LONGEST_USAGE {
            return;
        }
        if let Ok(Some(reported)) = Reported::read(&mut Scanner::new(whole)) {
            self.reported = Some(reported);
        }
    }

    /// Goes on inside a string; the offset behind what was read.
    fn in_string(&mut self, bytes: &[u8], at: usize) -> usize {
        match self.escape {
            Escape::Begun => {
                self.take(bytes.get(at..=at).unwrap_or_default());
                self.escape = if bytes.get(at) == Some(&b'u') { Escape::Digits(4) } else { Escape::No };
                return at + 1;
            }
            Escape::Digits(left) => {
                self.escape = if left > 1 { Escape::Digits(left - 1) } else { Escape::No };
                return at + 1;
            }
            Escape::No => {}
        }
        let end = find_special(bytes, at);
        self.take(bytes.get(at..end).unwrap_or_default());
        match bytes.get(end) {
            Some(b'"') => self.string = None,
            Some(b'\\') => self.escape = Escape::Begun,
            _ => {}
        }
        (end + 1).min(bytes.len())
    }

    fn take(&mut self, part: &[u8]) {
        match self.string {
            Some(Role::Key) => self.key.push(part),
            Some(Role::Type) => self.kind.push(part),
            Some(Role::Answer) => self.chars += part.iter().filter(|byte| (**byte & 0xC0) != 0x80).count() as u64,
            Some(Role::Other) | None => {}
        }
    }

    /// Goes on outside of strings, up to the next one's first byte; the offset behind what was read.
    fn structure(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => {
                    self.string = Some(if self.expect_key {
                        self.key.length = 0;
                        Role::Key
                    } else {
                        self.role_of_value()
                    });
                    return at + 1;
                }
                b',' => {
                    self.expect_key = self.in_object();
                    if !self.expect_key {
                        // In an array nothing matters but strings and what nests: a vector is thousands of numbers.
                        at = find_nesting(bytes, at + 1);
                        continue;
                    }
                }
                b':' => self.expect_key = false,
                b'{' | b'[' => self.descend(*byte == b'{', at),
                b'}' | b']' => {
                    self.ascend(bytes, at);
                    if self.complete {
                        return at + 1;
                    }
                }
                _ => {}
            }
            at += 1;
        }
        at
    }

    fn ascend(&mut self, bytes: &[u8], at: usize) {
        self.depth = self.depth.saturating_sub(1);
        self.expect_key = false;
        self.wrapped &= self.depth > 1;
        self.complete = self.depth == 0;
        if self.capture.as_ref().is_some_and(|capture| capture.depth > self.depth) {
            self.end_capture(bytes, at);
        }
    }

    fn descend(&mut self, object: bool, at: usize) {
        if object && self.depth <= 2 && self.in_object() {
            let usage = match (self.depth, self.key.get()) {
                (1, b"usage") => true,
                (2, b"usage") => self.wrapped,
                (1, b"response" | b"message") => {
                    self.wrapped = true;
                    false
                }
                (1, b"error") => {
                    self.error = true;
                    false
                }
                _ => false,
            };
            if usage {
                self.capture = Some(Capture { depth: self.depth + 1, held: Vec::new(), from: at });
            }
        }
        self.depth += 1;
        if let Some(word) = self.objects.get_mut((self.depth - 1) / 64) {
            let bit = (self.depth - 1) % 64;
            *word = (*word & !(1 << bit)) | (u64::from(object) << bit);
        }
        self.expect_key = object;
    }

    fn role_of_value(&mut self) -> Role {
        if !self.in_object() {
            return Role::Other;
        }
        match (self.depth, self.key.get()) {
            (1, b"type") => {
                self.kind.length = 0;
                Role::Type
            }
            (1, b"error") => {
                self.error = true;
                Role::Other
            }
            (_, key) if ANSWER_KEYS.contains(&key) => Role::Answer,
            _ => Role::Other,
        }
    }

    fn in_object(&self) -> bool {
        let Some(bit) = self.depth.checked_sub(1) else { return false };
        self.objects.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }
}
