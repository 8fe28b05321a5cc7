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

    /// The same, where nothing changes during `pause`: else somebody is in the middle of writing, and half a file may be
    /// one without a mistake. Blocks.
    pub fn settled(source: &Source, pause: impl FnOnce()) -> Option<Self> {
        let look = Self::at(source);
        pause();
        look.is_current().then_some(look)
    }

    /// Whether the files are still as they were. Blocks, but reads none of them.
    pub fn is_current(&self) -> bool {
        self.0.iter().all(|(file, seen)| Stamp::of(file) == *seen)
    }

    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(file, _)| file.as_path())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_that_are_being_written_are_not_settled() {
        let dir = tempfile::tempdir().unwrap();
        let (source, file) = (Source::Directory(dir.path().to_owned()), dir.path().join("cfx.yaml"));
        fs::write(&file, "routes:\n- a\n").unwrap();
        assert!(Look::settled(&source, || fs::write(&file, "routes:\n- a\n- b\n").unwrap()).is_none());
        assert!(Look::settled(&source, || fs::write(dir.path().join("limits.yaml"), "").unwrap()).is_none());
        let look = Look::settled(&source, || ()).unwrap();
        assert!(look.is_current());
    }
}
