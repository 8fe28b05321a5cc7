//! Inputs drawn at random: seeds, changed as a careless or a hostile hand would.

/// Longer inputs say nothing that shorter ones do not: an event of a stream that is too long to be held is in there.
const LONGEST: usize = 24 * 1024;
/// From this length on a seed is drawn about a quarter as often as others: so much more does it cost.
const LONG: usize = 4 * 1024;

/// What the formats here are made of.
const WORDS: [&[u8]; 56] = [
    b"\n\n",
    b"\r\n\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b"\xff",
    b"\xef\xbb\xbf",
    b",",
    b";",
    b"\"",
    b"\\",
    b"\\\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"data: ",
    b"data:[DONE]",
    b"event: ",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"1e400",
    b"-0",
    b"model",
    b"usage",
    b"cfx_live_",
    b"00-",
    b"${X:-",
    b"for=",
    b"10.0.0.2",
    b"[2001:db8::1]:4",
    b"198.51.100.1",
    b"unknown",
    b"proto=https",
    b"PROXY TCP4 ",
    b"PROXY UNKNOWN",
    b"\r\n\r\n\0\r\nQUIT\n",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"Content-Length: 1",
    b"Transfer-Encoding: chunked",
    b"Host: a",
    b"/../",
    b"%2e",
    b"%2F",
    b"%5c",
    b"//",
    b"http://a",
    b"?",
    b"\x16\x03\x01",
    b"\x15\x03\x03\0\x02",
];

/// SplitMix64: the same inputs from the same seed on every machine.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of the seeds with a few changes.
    pub fn changed(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one_of(seeds).clone();
        // More often few than many: of much that is changed, nothing gets past the first look.
        let most = self.below(6) + 1;
        for _ in 0..=self.below(most) {
            let place = self.below(input.len() + 1);
            match self.below(8) {
                0 if place < input.len() => input[place] ^= 1 << self.below(8),
                1 if place < input.len() => input[place] = self.byte(),
                2 => {
                    let end = (place + self.below(32)).min(input.len());
                    input.drain(place..end);
                }
                3 => {
                    let end = (place + self.below(64)).min(input.len());
                    input.extend_from_within(place..end);
                    let length = end - place;
                    input[place..].rotate_right(length);
                }
                4 => {
                    let other = self.one_of(seeds);
                    let from = self.below(other.len() + 1);
                    let end = (from + self.below(256)).min(other.len());
                    input.splice(place..place, other[from..end].iter().copied());
                }
                5 => {
                    let word = WORDS[self.below(WORDS.len())];
                    input.splice(place..place, word.iter().copied());
                }
                6 => input.truncate(place),
                _ => {
                    let many = std::iter::repeat_n(self.byte(), self.below(300));
                    input.splice(place..place, many);
                }
            }
            input.truncate(LONGEST);
        }
        input
    }

    fn one_of<'seeds>(&mut self, seeds: &'seeds [Vec<u8>]) -> &'seeds Vec<u8> {
        let drawn = &seeds[self.below(seeds.len())];
        if drawn.len() >= LONG && self.below(4) != 0 { &seeds[self.below(seeds.len())] } else { drawn }
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap_or_default() % bound.max(1)
    }
}
