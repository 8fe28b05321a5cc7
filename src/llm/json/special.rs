//! The search that nearly all time of a scan goes into.

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
