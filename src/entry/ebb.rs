//! Memory goes back to the system behind a crowd, and not only while there is work.
//!
//! jemalloc looks at what lies free in a thread's arena as that thread allocates, so a thread whose clients have left keeps
//! their memory. Its own answer, a thread that looks in the background, holds more of large bodies
//! (docs/decisions/002-allocator.md). Here all that is free goes back every few seconds; what is taken again in
//! between, by an edge at work, is some pages a thread.
//!
//! Failure stance: an arena that is not there, or an allocator that is another, is passed over. Nothing depends
//! on it.

use std::cell::Cell;
use std::time::Duration;

use tikv_jemalloc_ctl::arenas::narenas;
use tikv_jemalloc_ctl::{Access, AsName, Result};
use tokio::time::{MissedTickBehavior, interval};

use crate::heap;

/// Timers of clients that have left lie on their pages for 10 s at the most: what they leave free is back within 15.
const EVERY: Duration = Duration::from_secs(5);
/// Sooner than that: pages are given back as wholes, and a block in a thread's cache holds all that its run has.
const CACHES_EVERY: Duration = Duration::from_secs(3);

thread_local! {
    static EMPTIED: Cell<bool> = const { Cell::new(false) };
}

/// Runs for as long as the process, on a runtime with one worker: in that thread's cache lies what it freed of requests that are over.
pub async fn give_back_often() {
    let mut ticks = ticks(EVERY);
    loop {
        ticks.tick().await;
        heap::empty_cache();
        // Beside what runs here: the system takes its time over a gigabyte.
        let _ = tokio::task::spawn_blocking(give_back).await; // fails where the process ends
    }
}

/// From the first call on, the blocks in this thread's cache go back to their runs, for as long as its runtime lives. It
/// has some hundred of them again with the next few requests.
pub fn empty_cache_often() {
    if !EMPTIED.replace(true) {
        tokio::spawn(async {
            let mut ticks = ticks(CACHES_EVERY);
            loop {
                ticks.tick().await;
                heap::empty_cache();
            }
        });
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// An arena that is told to keep nothing gives back what is free at once. Then it has its own pace again.
fn give_back() {
    for arena in 0..narenas::read().unwrap_or(0) {
        let key = format!("arena.{arena}.dirty_decay_ms\0");
        let key = key.name();
        let pace: Result<isize> = key.read();
        if let Ok(pace @ 1..) = pace {
            let _ = key.write(0isize).and_then(|()| key.write(pace));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arenas_have_their_own_pace_again() {
        let pace = || -> isize { "arena.0.dirty_decay_ms\0".name().read().unwrap() };
        let before = pace();
        give_back();
        assert!(before > 0);
        assert_eq!(pace(), before);
    }
}
