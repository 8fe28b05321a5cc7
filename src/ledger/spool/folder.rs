//! `DATA/spool/<edge>/`: an edge's identity and its segments, which belong to one living process, by a lock.
//!
//! A starting process takes the first folder that nobody holds and so is that edge again. Folders that are held are
//! another process's, an old one that still serves its last streams for instance: they are left alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use uuid::Uuid;

use crate::units::EdgeId;

const LOCK: &str = "lock";
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// A folder that this process holds, until it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    pub edge: EdgeId,
    pub path: PathBuf,
    _lock: File,
}

/// Why the spool cannot be used: what was found, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SpoolProblem {
    #[error(
        "cannot use the ledger's spool at {path}: {error}; cfx must be able to write there, or name another folder \
         with --data (CFX_DATA)"
    )]
    Folder { path: PathBuf, error: io::Error },
    #[error(
        "no room for the ledger's spool at {path}: {wanted} bytes are wanted and the disk is full; free some, lower \
         ledger.spool.size, or name another folder with --data (CFX_DATA)"
    )]
    Full { path: PathBuf, wanted: u64 },
    #[error(
        "the ledger's spool holds {path} in format {found}, and this cfx reads format {known}: start the cfx that \
         wrote it once more, which empties it, or name another folder with --data (CFX_DATA)"
    )]
    Version { path: PathBuf, found: u16, known: u16 },
    #[error("cannot start the spool's thread: {0}")]
    Thread(io::Error),
}

impl SpoolProblem {
    pub(super) fn at(path: &Path, error: io::Error) -> Self {
        Self::Folder { path: path.to_owned(), error }
    }
}

/// Every folder under `root` that nobody holds, oldest first; one at least, made where there is none.
pub(super) fn hold(root: &Path) -> Result<Vec<Folder>, SpoolProblem> {
    make(root)?;
    let mut held = Vec::new();
    for (edge, path) in list(root).map_err(|error| SpoolProblem::at(root, error))? {
        held.extend(lock(edge, &path).map_err(|error| SpoolProblem::at(&path, error))?);
    }
    while held.is_empty() {
        let edge = EdgeId(Uuid::now_v7());
        let path = root.join(edge.0.to_string());
        make(&path)?;
        held.extend(lock(edge, &path).map_err(|error| SpoolProblem::at(&path, error))?);
    }
    Ok(held)
}

/// The folders of all edges, in the order of their names, which is that of their making.
pub(super) fn list(root: &Path) -> io::Result<Vec<(EdgeId, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let edge = entry.file_name().to_str().and_then(|name| Uuid::parse_str(name).ok());
        found.extend(edge.map(|edge| (EdgeId(edge), entry.path())));
    }
    found.sort();
    Ok(found)
}

/// Whether a living process holds the folder at `path`.
pub(super) fn is_held(path: &Path) -> io::Result<bool> {
    let Ok(file) = File::open(path.join(LOCK)) else { return Ok(false) };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn make(path: &Path) -> Result<(), SpoolProblem> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| SpoolProblem::at(path, error))
}

/// None where another process holds it, or has taken it away in this moment.
fn lock(edge: EdgeId, path: &Path) -> io::Result<Option<Folder>> {
    let name = path.join(LOCK);
    let file = match OpenOptions::new().create(true).append(true).mode(0o600).open(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !taken(&file)? {
        return Ok(None);
    }
    // A process that has replayed the folder removes it, and with it the file that this lock is on.
    let ours = file.metadata()?;
    let there = std::fs::metadata(&name).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
    Ok(there.then(|| Folder { edge, path: path.to_owned(), _lock: file }))
}

/// Asked more than once: `cfx ledger status` holds a lock too, for as long as it takes to ask whether one is held.
fn taken(file: &File) -> io::Result<bool> {
    for _ in 0..TRIES {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(BETWEEN_TRIES),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}
