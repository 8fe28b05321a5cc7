//! The fuzz targets on any toolchain: every seed, then seeds that were changed at random. `make fuzz` does it for longer
//! (FUZZ_SECONDS for each target, FUZZ_RUNS at least); FUZZ_SEED draws anew, and a run is the same again under the same one.
//! FUZZ_LAST names a file in which each input is before it is tried, for what ends the process.
#![cfg(test)]

mod chance;
mod hellos;
#[path = "../../fuzz/targets/mod.rs"]
mod targets;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use chance::Chance;
use watch::Watch;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(name: &'static str) {
    let (_, target) = targets::ALL.into_iter().find(|(known, _)| *known == name).expect("a target");
    let seeds = targets::seeds(name);
    assert!(!seeds.is_empty(), "no seeds for {name}");
    seeds.iter().for_each(|seed| target(seed));
    let mut chance = Chance::new(number("FUZZ_SEED").unwrap_or(20_260_131));
    let least = number("FUZZ_RUNS").unwrap_or(500);
    let time = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(0));
    let last = std::env::var_os("FUZZ_LAST");
    let mut watch = Watch::begin(name);
    let start = Instant::now();
    let (mut slowest, mut bytes, mut now) = (Duration::ZERO, 0, start);
    while watch.runs() < least || now - start < time {
        let input = chance.changed(&seeds);
        if let Some(last) = &last {
            std::fs::write(last, &input).expect("a file");
        }
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            let (run, kept) = (watch.runs(), std::env::temp_dir().join(format!("cfx-fuzz-{name}-{}", watch.runs())));
            std::fs::write(&kept, &input).expect("a file");
            panic!("{name}: run {run} failed; its input is in {}: {}", kept.display(), input.escape_ascii());
        }
        bytes += input.len() as u64;
        let begun = std::mem::replace(&mut now, Instant::now());
        slowest = slowest.max(now - begun);
        watch.note_run(now - start);
    }
    println!(
        "{name}: {} runs of {} bytes each from {} seeds in {:.0?}, the slowest {slowest:.1?}; {}",
        watch.runs(),
        bytes / watch.runs().max(1),
        seeds.len(),
        now - start,
        watch.memory(),
    );
}

macro_rules! fuzzed {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*
    };
}

fuzzed!(configuration rewrite tap key client_address forwarded trace proxy_header client_hello head path);

#[test]
fn every_target_has_a_test() {
    let tested = include_str!("main.rs").lines().find_map(|line| line.strip_prefix("fuzzed!(")).expect("the tests");
    let tested: Vec<_> = tested.trim_end_matches(");").split(' ').collect();
    assert_eq!(tested, targets::ALL.map(|(name, _)| name));
}
