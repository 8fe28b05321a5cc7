//! One JSON string: compared and unescaped only as far as someone asks.

use std::borrow::Cow;

use super::{Span, find_special};

/// A string as it stands in the document, without its quotes.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    raw: &'a [u8],
    escaped: bool,
    start: usize,
}

/// The characters of a raw string, escapes resolved. A lone surrogate is U+FFFD, as in any lossy decoding.
struct Unescaped<'a> {
    rest: &'a [u8],
}

impl<'a> Text<'a> {
    /// `raw` has passed the scanner; `start` is its first byte's offset in the document.
    pub(crate) fn new(raw: &'a [u8], escaped: bool, start: usize) -> Self {
        Self { raw, escaped, start }
    }

    /// The bytes between the quotes, escapes and all.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    pub fn is_escaped(&self) -> bool {
        self.escaped
    }

    /// The whole value in the document, quotes included.
    pub fn span(&self) -> Span {
        Span { start: self.start - 1, end: self.start + self.raw.len() + 1 }
    }

    /// Whether it reads `other` once unescaped: `mod\u0065l` is `model`.
    pub fn is(&self, other: &str) -> bool {
        if self.escaped { *self.unescape() == *other } else { self.raw == other.as_bytes() }
    }

    /// What it says. Borrowed where nothing was escaped.
    pub fn unescape(&self) -> Cow<'a, str> {
        unescape(self.raw, self.escaped)
    }
}

/// As [`Text::unescape`], of any part of a raw string: an escape cut in two is dropped or read as it stands.
pub fn unescape(raw: &[u8], escaped: bool) -> Cow<'_, str> {
    if !escaped {
        return String::from_utf8_lossy(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(at);
        out.push_str(&String::from_utf8_lossy(plain));
        let mut unescaped = Unescaped { rest: escape };
        out.extend(unescaped.next());
        rest = unescaped.rest;
    }
    out.push_str(&String::from_utf8_lossy(rest));
    Cow::Owned(out)
}

impl Unescaped<'_> {
    /// The character of the escape that `rest` begins with.
    fn next(&mut self) -> Option<char> {
        let kind = self.rest.get(1).copied();
        let long = kind == Some(b'u');
        let unit = if long { self.unit(2) } else { None };
        self.rest = self.rest.get(if long { 6 } else { 2 }..).unwrap_or_default();
        match kind? {
            b'b' => Some('\u{8}'),
            b'f' => Some('\u{c}'),
            b'n' => Some('\n'),
            b'r' => Some('\r'),
            b't' => Some('\t'),
            b'u' => unit.map(|unit| self.pair(unit)),
            other => Some(char::from(other)),
        }
    }

    /// Joins a high surrogate with the low one that follows it.
    fn pair(&mut self, unit: u32) -> char {
        if (0xD800..0xDC00).contains(&unit)
            && self.rest.starts_with(b"\\u")
            && let Some(low @ 0xDC00..0xE000) = self.unit(2)
        {
            self.rest = self.rest.get(6..).unwrap_or_default();
            let code = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
            return char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        }
        char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn unit(&self, at: usize) -> Option<u32> {
        let digits = std::str::from_utf8(self.rest.get(at..at + 4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    }
}

/// Appends `text` as the inside of a JSON string, without quotes.
pub fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let at = find_special(bytes, from);
        out.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        match bytes.get(at) {
            None => return,
            Some(b'\n') => out.extend_from_slice(b"\\n"),
            Some(b'\r') => out.extend_from_slice(b"\\r"),
            Some(b'\t') => out.extend_from_slice(b"\\t"),
            Some(special @ (b'"' | b'\\')) => out.extend_from_slice(&[b'\\', *special]),
            Some(control) => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        from = at + 1;
    }
}
