//! The clock that both ends share, and what was seen by it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since this process first asked.
pub fn now() -> u64 {
    nanos(ORIGIN.elapsed())
}

pub fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// One line for the script that reads them.
pub fn say(name: &str, value: impl std::fmt::Display) {
    println!("{name} {value}");
}

/// Spans of time, counted in steps of 10 µs up to a second.
pub struct Times {
    steps: Box<[AtomicU64]>,
    longest: AtomicU64,
}

const STEP: u64 = 10_000;
const STEPS: usize = 100_000;

impl Default for Times {
    fn default() -> Self {
        Self { steps: (0..=STEPS).map(|_| AtomicU64::new(0)).collect(), longest: AtomicU64::new(0) }
    }
}

impl Times {
    pub fn note(&self, nanos: u64) {
        let step = usize::try_from(nanos / STEP).map_or(STEPS, |step| step.min(STEPS));
        self.steps[step].fetch_add(1, Ordering::Relaxed);
        self.longest.fetch_max(nanos, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.steps.iter().map(|step| step.load(Ordering::Relaxed)).sum()
    }

    /// The upper end of the step that holds the `per_mille`th of a thousand, in milliseconds.
    fn quantile(&self, per_mille: u64) -> f64 {
        let wanted = (self.count() * per_mille).div_ceil(1_000);
        let mut seen = 0;
        for (upper, step) in (1u32..).zip(&self.steps) {
            seen += step.load(Ordering::Relaxed);
            if seen >= wanted {
                return f64::from(upper) / 100.0;
            }
        }
        f64::INFINITY
    }

    /// `name_count`, and `name_p50_ms`, `_p99_ms`, `_p999_ms`, `_max_ms`.
    pub fn tell(&self, name: &str) {
        say(&format!("{name}_count"), self.count());
        for (word, per_mille) in [("p50", 500), ("p99", 990), ("p999", 999)] {
            say(&format!("{name}_{word}_ms"), format_args!("{:.2}", self.quantile(per_mille)));
        }
        let longest = Duration::from_nanos(self.longest.load(Ordering::Relaxed));
        say(&format!("{name}_max_ms"), format_args!("{:.2}", longest.as_secs_f64() * 1e3));
    }
}

/// What went otherwise than meant, by what it was.
#[derive(Default)]
pub struct Troubles(Mutex<BTreeMap<String, u64>>);

impl Troubles {
    pub fn note(&self, what: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen.entry(what.to_owned()).or_default() += 1;
    }

    /// `name N`, and each kind on stderr.
    pub fn tell(&self, name: &str) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        say(name, seen.values().sum::<u64>());
        seen.iter().for_each(|(what, count)| eprintln!("crowd: {count} × {what}"));
    }
}

/// Memory of a process in KiB, as the system has it: `VmRSS` now, `VmHWM` at its most.
pub fn memory(pid: u32, field: &str) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let figure = line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse().ok());
    figure.ok_or_else(|| io::Error::other(format!("{pid} shows no {field}")))
}
