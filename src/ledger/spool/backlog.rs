//! What dead processes left: their rows go to the store like those of living requests, then their files go.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::folder::Folder;
use super::read_back;
use super::scan::{Remaining, Scan};
use crate::ledger::record::{Opening, Row};
use crate::units::Timestamp;

/// The folders still to be replayed, this edge's own first.
#[derive(Debug, Default)]
pub(super) struct Backlog(VecDeque<Left>);

/// One folder's.
#[derive(Debug)]
struct Left {
    /// Another edge's, to be removed once it is empty. None: this edge's own.
    folder: Option<Folder>,
    /// Requests that were under way. Written before any file goes, for theirs may be in any of them.
    unfinished: VecDeque<Opening>,
    segments: VecDeque<Remaining>,
    last: Timestamp,
}

/// What is of no use any more once the rows that came with it are stored.
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub rows: usize,
    pub files: Vec<PathBuf>,
    pub folders: Vec<Folder>,
}

impl Backlog {
    pub fn add(&mut self, folder: Option<Folder>, scan: Scan) {
        let Scan { segments, unfinished, last, empty, .. } = scan;
        let empty = empty.into_iter().map(|path| Remaining { path, from: 0, to: 0, ends: 0 });
        let segments = segments.into_iter().chain(empty).collect();
        self.0.push_back(Left { folder, unfinished: unfinished.into(), segments, last });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends rows until there are `most`. What they finish may go once they are stored, and not before.
    pub fn take(&mut self, most: usize, rows: &mut Vec<Row>) -> Finished {
        let before = rows.len();
        let mut finished = Finished::default();
        while let Some(left) = self.0.front_mut() {
            let room = most.saturating_sub(rows.len()).min(left.unfinished.len());
            rows.extend(left.unfinished.drain(..room).map(|opening| Row::stopped(opening, left.last)));
            left.take(most, rows, &mut finished.files);
            if !left.unfinished.is_empty() || !left.segments.is_empty() {
                break;
            }
            finished.folders.extend(self.0.pop_front().and_then(|left| left.folder));
        }
        finished.rows = rows.len() - before;
        finished
    }
}

impl Left {
    fn take(&mut self, most: usize, rows: &mut Vec<Row>, files: &mut Vec<PathBuf>) {
        while self.unfinished.is_empty()
            && let Some(segment) = self.segments.front_mut()
        {
            if segment.ends > 0 && segment.from < segment.to {
                if rows.len() >= most {
                    return;
                }
                let before = rows.len();
                match read_back::rows(&segment.path, segment.from, segment.to, most, rows) {
                    Ok(stretch) if !stretch.damaged => {
                        segment.from = stretch.to;
                        segment.ends = segment.ends.saturating_sub(rows.len() - before);
                        continue;
                    }
                    // It was whole a moment ago. The file stays for whoever can repair the disk.
                    Ok(_) => tracing::error!(segment = %segment.path.display(), "a segment cannot be read to its end"),
                    Err(error) => tracing::error!(segment = %segment.path.display(), %error, "a segment is unreadable"),
                }
                self.segments.pop_front();
                continue;
            }
            files.extend(self.segments.pop_front().map(|segment| segment.path));
        }
    }
}
