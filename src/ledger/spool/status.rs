//! What lies in a data folder's spool, for whoever asks beside a running edge or after a dead one. Changes nothing.

use std::io;
use std::path::{Path, PathBuf};

use super::folder::{self, SpoolProblem};
use super::quarantine::{Quarantine, Quarantined};
use super::scan;
use crate::units::{EdgeId, Timestamp};

/// All of `DATA/spool`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolStatus {
    pub folders: Vec<FolderStatus>,
    pub quarantine: Quarantined,
    pub quarantine_path: PathBuf,
}

/// One edge's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderStatus {
    pub edge: EdgeId,
    pub path: PathBuf,
    /// Whether a living process works with it.
    pub held: bool,
    pub segments: usize,
    /// Of records; what is set aside for more is not counted.
    pub bytes: u64,
    /// Rows that the store does not have, as far as the spool was told.
    pub waiting: usize,
    /// Requests without an end: under way where the process lives, and `edge stopped` at the next start where not.
    pub open: usize,
    /// Since when the oldest of both waits.
    pub oldest: Option<Timestamp>,
    /// Segments that cannot be read to their end. Where the process lives, one may just be being written.
    pub damaged: usize,
}

/// Reads `root` (`DATA/spool`), which need not be there.
pub fn status(root: &Path) -> Result<SpoolStatus, SpoolProblem> {
    let quarantine = Quarantine::under(root);
    let listed = match folder::list(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(|error| SpoolProblem::at(root, error))?,
    };
    let folders = listed.into_iter().map(|(edge, path)| of_folder(edge, path)).collect::<Result<_, _>>()?;
    Ok(SpoolStatus {
        folders,
        quarantine: quarantine.contents().map_err(|error| SpoolProblem::at(quarantine.path(), error))?,
        quarantine_path: quarantine.path().to_owned(),
    })
}

fn of_folder(edge: EdgeId, path: PathBuf) -> Result<FolderStatus, SpoolProblem> {
    let held = folder::is_held(&path).map_err(|error| SpoolProblem::at(&path, error))?;
    let scan = scan::scan(&path)?;
    Ok(FolderStatus {
        edge,
        held,
        segments: scan.segments.len(),
        bytes: scan.bytes,
        waiting: scan.waiting() - scan.unfinished.len(),
        open: scan.unfinished.len(),
        oldest: scan.oldest,
        damaged: scan.damages.len(),
        path,
    })
}
