//! What the files of a configuration look like from outside: enough to tell whether any has changed, without reading it.

use std::path::{Path, PathBuf};

use crate::config::{Source, Stamp, files};

/// The files at one moment.
#[derive(Debug, Clone)]
pub struct Look(Vec<(PathBuf, Option<Stamp>)>);

impl Look {
    /// Links are followed: it is the file behind them that counts. Blocks, and reads the files to learn which they are.
    pub fn at(source: &Source) -> Self {
        let files = files(source, &|name| std::env::var(name).ok());
        Self(files.into_iter().map(|file| (file.clone(), Stamp::of(&file))).collect())
    }

    /// Whether the files are still as they were. Blocks, but reads none of them.
    pub fn is_current(&self) -> bool {
        self.0.iter().all(|(file, seen)| Stamp::of(file) == *seen)
    }

    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(file, _)| file.as_path())
    }
}
