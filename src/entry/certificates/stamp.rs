//! How the files of a pair looked when they were read, so that a change shows without reading them again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::CertificateFiles;

/// Symbolic links are followed: what a link of Kubernetes' `..data` leads to is another file after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp([Option<One>; 2]);

/// One file. The time of its last change of any kind is in it: a file whose owner or mode was put right has no other
/// content, and one that was written twice within a second may have no other time of writing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct One {
    file: (u64, u64),
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(files: &CertificateFiles) -> Self {
        Self([&files.cert, &files.key].map(|file| One::of(file)))
    }
}

impl One {
    /// None where there is no such file, or none that may be looked at.
    fn of(file: &Path) -> Option<Self> {
        let seen = fs::metadata(file).ok()?;
        Some(Self {
            file: (seen.dev(), seen.ino()),
            length: seen.len(),
            written: (seen.mtime(), seen.mtime_nsec()),
            changed: (seen.ctime(), seen.ctime_nsec()),
        })
    }
}
