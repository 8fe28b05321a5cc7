//! Where a string ends: the search that nearly all time of a scan goes into.

use wide::u8x16;

use super::JsonError;

/// Strings shorter than this are searched eight bytes at a time: keys and small values end before a block pays.
const SHORT: usize = 32;

/// What a block of 64 bytes holds, one bit a byte, the first byte lowest.
struct Block {
    quotes: u64,
    backslashes: u64,
    /// Below 0x20.
    controls: u64,
    /// The letters of the escapes that code is full of: `\n` and `\t`.
    common: u64,
}

/// The closing quote of the string whose first byte is at `start`, and whether an escape lies before it.
///
/// Long strings are read in blocks without a branch per escape, because source code in a prompt has one every twenty
/// bytes. Which bytes a backslash escapes follows Langdale and Lemire, "Parsing Gigabytes of JSON per Second" (2019):
/// runs of backslashes are added to their own beginnings, and the carry tells the odd runs from the even.
pub(in crate::llm) fn string_end(bytes: &[u8], start: usize) -> Result<(usize, bool), JsonError> {
    let short = bytes.get(..bytes.len().min(start + SHORT)).unwrap_or_default();
    let mut at = find_special(short, start);
    if bytes.get(at) == Some(&b'"') {
        return Ok((at, false));
    }
    let mut carry = 0;
    let mut any_escape = 0;
    while let Some(bytes_of_block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<64>) {
        let block = Block::of(bytes_of_block);
        let escaped = escaped_bytes(block.backslashes, &mut carry);
        any_escape |= escaped;
        let stop = (block.quotes & !escaped) | block.controls;
        let before_stop = (stop & stop.wrapping_neg()).wrapping_sub(1);
        let mut rare = escaped & !(block.common | block.quotes | block.backslashes) & before_stop;
        while rare != 0 {
            escape(bytes, at + rare.trailing_zeros() as usize - 1)?;
            rare &= rare - 1;
        }
        if stop != 0 {
            let end = at + stop.trailing_zeros() as usize;
            return match bytes.get(end) {
                Some(b'"') => Ok((end, any_escape != 0)),
                _ => Err(control(end)),
            };
        }
        at += 64;
    }
    // The backslash that the carry stands for is read again, with what it escapes.
    string_end_near(bytes, at - usize::from(carry == 1), any_escape != 0)
}

/// As [`string_end`], for the last bytes of a document.
fn string_end_near(bytes: &[u8], mut at: usize, mut any_escape: bool) -> Result<(usize, bool), JsonError> {
    loop {
        at = find_special(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok((at, any_escape)),
            Some(b'\\') => {
                any_escape = true;
                at = escape(bytes, at)?;
            }
            Some(_) => return Err(control(at)),
            None => return Err(unterminated(bytes)),
        }
    }
}

/// The bytes that a backslash before them escapes. `carry` is 1 where the block before ended in such a backslash.
fn escaped_bytes(backslashes: u64, carry: &mut u64) -> u64 {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    if backslashes | *carry == 0 {
        return 0;
    }
    let backslashes = backslashes & !*carry;
    let behind_one = (backslashes << 1) | *carry;
    let odd_beginnings = backslashes & !EVEN & !behind_one;
    let (sums, overflow) = odd_beginnings.overflowing_add(backslashes);
    *carry = u64::from(overflow);
    (EVEN ^ (sums << 1)) & behind_one
}

/// The offset behind the escape whose backslash is at `at`.
fn escape(bytes: &[u8], at: usize) -> Result<usize, JsonError> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match bytes.get(at + 2..at + 6) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            Some(_) => Err(JsonError { offset: at, what: "an escape must have four hexadecimal digits" }),
            None => Err(unterminated(bytes)),
        },
        Some(_) => Err(JsonError { offset: at, what: "unknown escape" }),
        None => Err(unterminated(bytes)),
    }
}

fn control(offset: usize) -> JsonError {
    JsonError { offset, what: "a control character must be escaped" }
}

fn unterminated(bytes: &[u8]) -> JsonError {
    JsonError { offset: bytes.len(), what: "unterminated string" }
}

impl Block {
    fn of(bytes: &[u8; 64]) -> Self {
        let mut block = Self { quotes: 0, backslashes: 0, controls: 0, common: 0 };
        for (index, lane) in bytes.as_chunks::<16>().0.iter().enumerate() {
            let lane = u8x16::new(*lane);
            let bits = |equal: u8x16| u64::from(equal.to_bitmask()) << (16 * index);
            block.quotes |= bits(lane.simd_eq(u8x16::splat(b'"')));
            block.backslashes |= bits(lane.simd_eq(u8x16::splat(b'\\')));
            block.controls |= bits(lane.min(u8x16::splat(0x1F)).simd_eq(lane));
            block.common |= bits(lane.simd_eq(u8x16::splat(b'n')) | lane.simd_eq(u8x16::splat(b't')));
        }
        block
    }
}

/// The first quote, backslash or control character at or after `at`; the length where there is none.
///
/// Eight bytes at a time. `(x - n) & !x & 0x80…` marks every byte below `n`; a borrow can mark wrong bytes only above
/// a right one, so the lowest mark is always true.
pub(in crate::llm) fn find_special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    const QUOTE: u64 = ONES * b'"' as u64;
    const BACKSLASH: u64 = ONES * b'\\' as u64;
    const CONTROL: u64 = ONES * 0x20;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*eight);
        let quote = word ^ QUOTE;
        let backslash = word ^ BACKSLASH;
        let marks = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(CONTROL) & !word);
        if marks & HIGH != 0 {
            return at + (marks & HIGH).trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}
