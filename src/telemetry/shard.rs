//! Numbers that many threads add to and few read. Each thread adds to cells of its own, so that no cache line travels
//! between cores for a request; a reader takes the sum.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More threads than this share cells, which costs them time and nothing else.
const SHARDS: usize = 16;

/// One `T` a thread.
#[derive(Default)]
pub(super) struct Sharded<T>([Line<T>; SHARDS]);

/// Keeps neighbours off each other's cache lines.
#[derive(Default)]
#[repr(align(64))]
struct Line<T>(T);

impl<T> Sharded<T> {
    /// The calling thread's own.
    pub fn own(&self) -> &T {
        &self.0[own_shard() % SHARDS].0
    }

    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|line| &line.0)
    }
}

/// Threads are numbered as they first add something.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.get().unwrap_or_else(|| {
        let own = NEXT.fetch_add(1, Ordering::Relaxed);
        OWN.set(Some(own));
        own
    })
}
