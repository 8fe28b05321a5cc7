//! Places at which a process can be told to die, so that tests know what is whole and what is not at that moment.
//!
//! `CFX_FAILPOINT=name` or `name:n` aborts the process when it comes by `name` the first, or the `n`th, time: no
//! destructor runs, no buffer is written, as with `kill -9`. Builds without debug assertions have none of it.

/// A lease was granted and nothing was written down yet.
pub const AFTER_GRANT: &str = "after_grant";
/// A request's OPEN is in the spool, and nothing has gone upstream.
pub const AFTER_OPEN: &str = "after_open";
/// The request has gone upstream.
pub const AFTER_FIRST_BYTE: &str = "after_first_byte";
/// A request's END is in the spool, and its row not in the store.
pub const AFTER_END: &str = "after_end";
/// The store has committed a batch, and the spool does not know it.
pub const AFTER_COMMIT: &str = "after_commit";

/// Dies here, if that was asked for.
#[cfg(not(debug_assertions))]
pub fn reached(_name: &str) {}

/// Dies here, if that was asked for.
#[cfg(debug_assertions)]
pub fn reached(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ASKED: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let text = std::env::var("CFX_FAILPOINT").ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU32::new(times.parse().unwrap_or(1))))
    });
    if let Some((asked, left)) = &*ASKED
        && asked == name
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}
