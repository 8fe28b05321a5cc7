//! The caches in which the allocator keeps what a thread freed.
//!
//! Failure stance: a cache that is not there, or an allocator that is another, is passed over. Nothing depends on it.

use tikv_jemalloc_ctl::{Access, AsName, Result};

/// The blocks in this thread's cache go back to their runs: a thread that has nothing to do keeps whole pages by them. It
/// has some hundred of them again with the next work.
pub fn empty_cache() {
    let _ = off_and_on();
}

/// A cache that is switched off has given back what was in it.
fn off_and_on() -> Result<()> {
    let key = "thread.tcache.enabled\0".name();
    if key.read()? {
        key.write(false)?;
        key.write(true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_a_cache_again() {
        let has = || -> bool { "thread.tcache.enabled\0".name().read().unwrap() };
        assert!(has());
        off_and_on().unwrap();
        assert!(has());
    }
}
