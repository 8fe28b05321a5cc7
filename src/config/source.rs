//! Where the files come from: a directory, or the ones built into the binary.

use std::io;
use std::path::{Path, PathBuf};

/// Where a configuration is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `cfx.yaml`, `models.yaml` and, where limits differ from the defaults, `limits.yaml`.
    Directory(PathBuf),
    /// The shipped `conf/`, as it was when the binary was built.
    Embedded,
}

/// The shipped files, by the names that the files themselves use.
const EMBEDDED: [(&str, &str); 6] = [
    ("cfx.yaml", include_str!("../../conf/cfx.yaml")),
    ("models.yaml", include_str!("../../conf/models.yaml")),
    ("limits.yaml", include_str!("../../conf/limits.yaml")),
    ("prompts/plan.md", include_str!("../../conf/prompts/plan.md")),
    ("prompts/code.md", include_str!("../../conf/prompts/code.md")),
    ("prompts/review.md", include_str!("../../conf/prompts/review.md")),
];

impl Source {
    /// A file as messages name it.
    pub fn name(&self, file: &str) -> String {
        match self {
            Source::Directory(directory) => directory.join(file).display().to_string(),
            Source::Embedded => format!("conf/{file}"),
        }
    }

    /// The text of a file that the configuration consists of or names. A relative name is one in the directory.
    pub(super) fn read(&self, file: &str) -> io::Result<String> {
        match self {
            Source::Directory(directory) => std::fs::read_to_string(directory.join(file)),
            Source::Embedded => match EMBEDDED.iter().find(|(name, _)| *name == file) {
                Some((_, text)) => Ok((*text).to_owned()),
                None => std::fs::read_to_string(file),
            },
        }
    }

    /// The path of a file beside the directory: `certs/example.org.pem` stands next to `conf/`, so that `conf/` can be
    /// kept in version control without its keys. For the built-in files that is the working directory.
    pub(super) fn beside_directory(&self, file: &str) -> PathBuf {
        match self {
            Source::Directory(directory) => parent(directory).join(file),
            Source::Embedded => PathBuf::from(file),
        }
    }
}

fn parent(directory: &Path) -> PathBuf {
    match (directory.file_name(), directory.parent()) {
        (Some(_), Some(parent)) => parent.to_path_buf(),
        // `.`, `..` and `/` name no folder that could be cut off.
        _ => directory.join(".."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_stand_beside_the_directory() {
        for (directory, expected) in [
            ("conf", "certs/a.pem"),
            ("/etc/cfx/conf/", "/etc/cfx/certs/a.pem"),
            (".", "./../certs/a.pem"),
            ("..", "../../certs/a.pem"),
        ] {
            let source = Source::Directory(PathBuf::from(directory));
            assert_eq!(source.beside_directory("certs/a.pem"), PathBuf::from(expected), "{directory}");
        }
        let source = Source::Directory(PathBuf::from("conf"));
        assert_eq!(source.beside_directory("/secrets/a.pem"), PathBuf::from("/secrets/a.pem"));
    }
}
