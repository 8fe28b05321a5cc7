//! What the files of a configuration look like from outside: enough to tell whether any has changed, without reading it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::{Source, files};

/// The files at one moment.
#[derive(Debug, Clone)]
pub struct Look(Vec<(PathBuf, Option<Stamp>)>);

/// What changes where a file is written to or replaced: device, inode, length, and the seconds and nanoseconds at which its
/// content and its entry changed.
type Stamp = (u64, u64, u64, [i64; 4]);

impl Look {
    /// Links are followed: it is the file behind them that counts. Blocks, and reads the files to learn which they are.
    pub fn at(source: &Source) -> Self {
        let files = files(source, &|name| std::env::var(name).ok());
        Self(files.into_iter().map(|file| (file.clone(), stamp(&file))).collect())
    }

    /// Whether the files are still as they were. Blocks, but reads none of them.
    pub fn is_current(&self) -> bool {
        self.0.iter().all(|(file, seen)| stamp(file) == *seen)
    }

    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(file, _)| file.as_path())
    }
}

/// None: there is no such file.
fn stamp(file: &Path) -> Option<Stamp> {
    let seen = std::fs::metadata(file).ok()?;
    let times = [seen.mtime(), seen.mtime_nsec(), seen.ctime(), seen.ctime_nsec()];
    Some((seen.dev(), seen.ino(), seen.len(), times))
}
