//! How a file looks from outside, so that a change shows without reading it again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Device, inode, length, and the seconds and nanoseconds at which its content and its entry changed. The entry's are in
/// it because a file whose owner or mode was put right has no other content, and one that was written twice within a
/// second may have no other time of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    file: (u64, u64),
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// None where there is no such file, or none that may be looked at. Links are followed: what a link of Kubernetes'
    /// `..data` leads to is another file after a change.
    pub fn of(file: &Path) -> Option<Self> {
        let seen = fs::metadata(file).ok()?;
        Some(Self {
            file: (seen.dev(), seen.ino()),
            length: seen.len(),
            written: (seen.mtime(), seen.mtime_nsec()),
            changed: (seen.ctime(), seen.ctime_nsec()),
        })
    }
}
