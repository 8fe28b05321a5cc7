//! A forward-only JSON scan that checks everything and builds nothing.
//!
//! Strict RFC 8259: what passes here is read the same way by any correct parser behind us. Numbers are checked by
//! grammar alone, so `1e400` passes; nesting ends at [`MAX_DEPTH`]. One pass over the bytes, long strings 64 at a time,
//! because a coding agent's prompt is a megabyte of strings and nothing else.

mod nesting;
mod string;
mod text;

pub(super) use nesting::find_nesting;
pub(super) use string::{find_special, string_end};
pub use text::{Text, unescape, write_escaped};

/// Arrays and objects inside each other; the outermost counts as one.
pub const MAX_DEPTH: usize = 256;

/// Where a value lies in the scanned bytes: `start..end`, quotes and brackets included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// What is wrong, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonError {
    pub offset: usize,
    pub what: &'static str,
}

/// What a value is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

/// A cursor over one document. Every method leaves it behind what it read.
#[derive(Debug)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

/// The place inside an object or array that [`Scanner::member`] and [`Scanner::element`] go on from.
#[derive(Debug)]
pub struct Open {
    first: bool,
}

/// Which of the open containers are objects, one bit each.
#[derive(Default)]
struct Nesting([u64; MAX_DEPTH / 64]);

impl Span {
    pub fn len(self) -> usize {
        self.end - self.start
    }

    pub fn is_empty(self) -> bool {
        self.end == self.start
    }

    /// The bytes of this span; empty where it does not lie in `bytes`.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }
}

impl JsonError {
    /// Line and column, both from one; the column counts bytes.
    pub fn place(&self, bytes: &[u8]) -> (usize, usize) {
        let before = bytes.get(..self.offset).unwrap_or(bytes);
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        (1 + memchr::memchr_iter(b'\n', before).count(), 1 + before.len() - line_start)
    }
}

/// RFC 8259 §8.1 asks for UTF-8; checked once, so that the scan can go by bytes.
pub fn check_utf8(bytes: &[u8]) -> Result<(), JsonError> {
    if simdutf8::basic::from_utf8(bytes).is_ok() {
        return Ok(());
    }
    let offset = std::str::from_utf8(bytes).err().map_or(0, |error| error.valid_up_to());
    Err(JsonError { offset, what: "the text is not UTF-8" })
}

impl<'a> Scanner<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// The kind of the value that comes next. Errors where no value can begin.
    pub fn kind(&mut self) -> Result<Kind, JsonError> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.problem("expected a value")),
        }
    }

    /// Where the next value begins.
    pub fn here(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    /// Behind what was read last.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The number at `span`, as near as f64 comes; what is beyond it is infinite.
    pub fn number_at(&self, span: Span) -> f64 {
        std::str::from_utf8(span.of(self.bytes)).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
    }

    /// Enters the object that comes next.
    pub fn object(&mut self) -> Result<Open, JsonError> {
        self.enter(b'{', "expected an object")
    }

    /// Enters the array that comes next.
    pub fn array(&mut self) -> Result<Open, JsonError> {
        self.enter(b'[', "expected an array")
    }

    /// The key of the next member, its value being next; None when the object has ended.
    pub fn member(&mut self, open: &mut Open) -> Result<Option<Text<'a>>, JsonError> {
        if !self.step(open, b'}', "expected `,` or `}`")? {
            return Ok(None);
        }
        self.key().map(Some)
    }

    /// Whether another element comes next; false when the array has ended.
    pub fn element(&mut self, open: &mut Open) -> Result<bool, JsonError> {
        self.step(open, b']', "expected `,` or `]`")
    }

    /// Reads the string that comes next.
    pub fn text(&mut self) -> Result<Text<'a>, JsonError> {
        match self.peek() {
            Some(b'"') => self.string(),
            _ => Err(self.problem("expected a string")),
        }
    }

    /// Checks and passes over one value, however deep.
    pub fn skip(&mut self) -> Result<Span, JsonError> {
        self.skip_space();
        let start = self.at;
        let outside = self.depth;
        let mut nesting = Nesting::default();
        loop {
            match self.peek() {
                Some(b'{') => {
                    self.descend()?;
                    nesting.set(self.depth, true);
                    if self.peek() != Some(b'}') {
                        self.key()?;
                        continue;
                    }
                    self.ascend();
                }
                Some(b'[') => {
                    self.descend()?;
                    nesting.set(self.depth, false);
                    if self.peek() != Some(b']') {
                        continue;
                    }
                    self.ascend();
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                _ => self.word()?,
            }
            loop {
                if self.depth == outside {
                    return Ok(Span { start, end: self.at });
                }
                let in_object = nesting.is_object(self.depth);
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if in_object {
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if in_object => self.ascend(),
                    Some(b']') if !in_object => self.ascend(),
                    _ if in_object => return Err(self.problem("expected `,` or `}`")),
                    _ => return Err(self.problem("expected `,` or `]`")),
                }
            }
        }
    }

    /// Nothing but space may follow.
    pub fn finish(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(JsonError { offset: self.at, what: "unexpected text after the end" }),
        }
    }

    fn enter(&mut self, bracket: u8, what: &'static str) -> Result<Open, JsonError> {
        if self.peek() != Some(bracket) {
            return Err(self.problem(what));
        }
        self.descend()?;
        Ok(Open { first: true })
    }

    /// To the next member or element, past its comma; false at the closing bracket.
    fn step(&mut self, open: &mut Open, close: u8, what: &'static str) -> Result<bool, JsonError> {
        let first = std::mem::replace(&mut open.first, false);
        match self.peek() {
            Some(byte) if byte == close => {
                self.ascend();
                Ok(false)
            }
            _ if first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.problem(what)),
        }
    }

    fn key(&mut self) -> Result<Text<'a>, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.problem("expected a key"));
        }
        let key = self.string()?;
        if self.peek() != Some(b':') {
            return Err(self.problem("expected `:`"));
        }
        self.at += 1;
        Ok(key)
    }

    /// The cursor stands on the opening quote.
    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        let start = self.at + 1;
        let (end, escaped) = string_end(self.bytes, start)?;
        self.at = end + 1;
        Ok(Text::new(self.bytes.get(start..end).unwrap_or_default(), escaped, start))
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let leading_zero = self.bytes.get(self.at) == Some(&b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return Err(JsonError { offset: start, what: "malformed number" });
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(JsonError { offset: start, what: "malformed number" });
            }
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(JsonError { offset: start, what: "malformed number" });
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn word(&mut self) -> Result<(), JsonError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        for word in [b"true".as_slice(), b"false", b"null"] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(());
            }
        }
        Err(self.problem("expected a value"))
    }

    fn descend(&mut self) -> Result<(), JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError { offset: self.at, what: "nested more than 256 deep" });
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn ascend(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.at += 1;
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn problem(&self, what: &'static str) -> JsonError {
        let what = if self.at >= self.bytes.len() { "unexpected end" } else { what };
        JsonError { offset: self.at, what }
    }
}

impl Nesting {
    fn set(&mut self, depth: usize, object: bool) {
        let bit = depth.saturating_sub(1);
        if let Some(word) = self.0.get_mut(bit / 64) {
            *word = (*word & !(1 << (bit % 64))) | (u64::from(object) << (bit % 64));
        }
    }

    fn is_object(&self, depth: usize) -> bool {
        let bit = depth.saturating_sub(1);
        self.0.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }
}

#[cfg(test)]
pub(in crate::llm) mod tests;
