//! The fuzz targets on any toolchain: every seed, then seeds that were changed at random. `make fuzz` does it for longer
//! (FUZZ_SECONDS for each target, FUZZ_RUNS at least); FUZZ_SEED draws anew.
#![cfg(test)]

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Longer inputs say nothing that shorter ones do not.
const LONGEST: usize = 16 * 1024;
/// What the formats here are made of.
const WORDS: [&[u8]; 24] = [
    b"\n\n",
    b"\r\n\r\n",
    b"data: ",
    b"data:[DONE]",
    b"event: ",
    b": ",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\"",
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
    b"\0",
    b"\xef\xbb\xbf",
];

/// SplitMix64: the same inputs from the same seed on every machine.
struct Chance(u64);

impl Chance {
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

/// One of the seeds with a few changes, such as a careless or a hostile hand would make.
fn changed(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut input = seeds[chance.below(seeds.len())].clone();
    for _ in 0..=chance.below(6) {
        let place = chance.below(input.len() + 1);
        match chance.below(8) {
            0 if place < input.len() => input[place] ^= 1 << chance.below(8),
            1 if place < input.len() => input[place] = chance.byte(),
            2 => {
                let end = (place + chance.below(32)).min(input.len());
                input.drain(place..end);
            }
            3 => {
                let end = (place + chance.below(64)).min(input.len());
                let again = input[place..end].to_vec();
                input.splice(place..place, again);
            }
            4 => {
                let other = &seeds[chance.below(seeds.len())];
                let from = chance.below(other.len() + 1);
                let end = (from + chance.below(256)).min(other.len());
                input.splice(place..place, other[from..end].iter().copied());
            }
            5 => {
                let word = WORDS[chance.below(WORDS.len())];
                input.splice(place..place, word.iter().copied());
            }
            6 => input.truncate(place),
            _ => {
                let many = vec![chance.byte(); chance.below(300)];
                input.splice(place..place, many);
            }
        }
        input.truncate(LONGEST);
    }
    input
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(name: &str) {
    let (_, target) = targets::ALL.into_iter().find(|(known, _)| *known == name).expect("a target");
    let seeds = targets::seeds(name);
    assert!(!seeds.is_empty(), "no seeds for {name}");
    seeds.iter().for_each(|seed| target(seed));
    let mut chance = Chance(number("FUZZ_SEED").unwrap_or(20_260_131));
    let start = Instant::now();
    let least = number("FUZZ_RUNS").unwrap_or(500);
    let time = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(0));
    let (mut runs, mut slowest) = (0, Duration::ZERO);
    while runs < least || start.elapsed() < time {
        let input = changed(&seeds, &mut chance);
        let begun = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            let kept = std::env::temp_dir().join(format!("cfx-fuzz-{name}-{runs}"));
            std::fs::write(&kept, &input).expect("a file");
            panic!("{name}: run {runs} failed; its input is in {}: {}", kept.display(), input.escape_ascii());
        }
        slowest = slowest.max(begun.elapsed());
        runs += 1;
    }
    println!("{name}: {runs} runs from {} seeds in {:.0?}, the slowest {slowest:.1?}", seeds.len(), start.elapsed());
}

macro_rules! fuzzed {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*
    };
}

fuzzed!(configuration rewrite tap key client_address trace);
