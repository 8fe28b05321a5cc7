//! Where a string begins, or an object or array begins or ends: the search over what lies between.

use wide::u8x16;

/// The first quote, brace or bracket at or after `at`; the length where there is none.
pub(in crate::llm) fn find_nesting(bytes: &[u8], mut at: usize) -> usize {
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<64>) {
        let [a, b, c, d] = block.as_chunks::<16>().0 else { break };
        let (a, b, c, d) = (marks(*a), marks(*b), marks(*c), marks(*d));
        if (a | b | c | d).to_bitmask() != 0 {
            let bits = |marks: u8x16| u64::from(marks.to_bitmask());
            let found = bits(a) | bits(b) << 16 | bits(c) << 32 | bits(d) << 48;
            return at + found.trailing_zeros() as usize;
        }
        at += 64;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']')).unwrap_or(rest.len())
}

/// A brace differs from its bracket in one bit, which no other byte shares with them.
fn marks(bytes: [u8; 16]) -> u8x16 {
    const BRACE: u8 = b'{' ^ b'[';
    let bytes = u8x16::new(bytes);
    let braces = bytes | u8x16::splat(BRACE);
    bytes.simd_eq(u8x16::splat(b'"')) | braces.simd_eq(u8x16::splat(b'{')) | braces.simd_eq(u8x16::splat(b'}'))
}
