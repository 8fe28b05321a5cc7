//! An eye on what is fuzzed: whether each run ends, and whether memory grows from run to run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// No input here takes a thousandth of it.
const HANGS: Duration = Duration::from_secs(60);
/// Between two looks at the memory.
const LOOK: Duration = Duration::from_secs(10);
/// By when caches are as full as they get.
const WARM: Duration = Duration::from_secs(20);
/// What may come on top: the allocator keeps some of what the longest input took.
const GROWTH: u64 = 32 << 20;

pub struct Watch {
    name: &'static str,
    runs: Arc<AtomicU64>,
    looked: Duration,
    warm: Option<u64>,
    most: u64,
}

impl Watch {
    pub fn begin(name: &'static str) -> Self {
        let runs = Arc::new(AtomicU64::new(0));
        let seen = Arc::downgrade(&runs);
        thread::spawn(move || {
            let mut before = None;
            while let Some(runs) = seen.upgrade().map(|runs| runs.load(Ordering::Relaxed)) {
                if before.replace(runs) == Some(runs) {
                    eprintln!("{name}: run {runs} does not end");
                    std::process::abort();
                }
                thread::sleep(HANGS);
            }
        });
        Self { name, runs, looked: Duration::ZERO, warm: None, most: 0 }
    }

    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// A run has ended, so long after the first began.
    pub fn note_run(&mut self, at: Duration) {
        self.runs.fetch_add(1, Ordering::Relaxed);
        if at < self.looked + LOOK {
            return;
        }
        self.looked = at;
        let resident = resident();
        self.most = self.most.max(resident);
        if at >= WARM {
            let warm = *self.warm.get_or_insert(resident);
            assert!(resident <= warm + GROWTH, "{}: {resident} bytes resident after {at:?}, {warm} before", self.name);
        }
    }

    /// In words: how much there was, and how much there is.
    pub fn memory(&self) -> String {
        let [warm, most, now] = [self.warm.unwrap_or_default(), self.most, resident()].map(|bytes| bytes >> 10);
        format!("{warm} KiB resident when warm, {most} at most, {now} at the end")
    }
}

/// Bytes of memory of this process. 0 where it is not said.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kibibytes.unwrap_or_default() << 10
}
