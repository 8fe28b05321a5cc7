//! Rows on their way out: to the store in batches, from the lanes and from what dead processes left, in turns.

use std::sync::atomic::Ordering;

use super::backlog::Finished;
use super::lane::{Done, Window};
use super::{Shared, Spool, codec, read_back};
use crate::ledger::record::Row;

/// Rows on their way to the store, and what is to be done once they are there.
#[derive(Default)]
pub(in crate::ledger) struct Taken {
    pub rows: Vec<Row>,
    lanes: Vec<Done>,
    finished: Finished,
}

impl Taken {
    /// Whether there was nothing: neither rows nor files that have none left.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.finished.files.is_empty() && self.finished.folders.is_empty()
    }
}

impl Spool {
    /// Whether [`take`](Self::take) would read files.
    pub(in crate::ledger) fn reads_files(&self) -> bool {
        !self.shared.backlog().is_empty()
            || (0..self.shared.lanes.len()).any(|lane| self.shared.lane(lane).has_unread())
    }

    /// The next rows for the store, `most` of them at the most. Blocks where it [reads files](Self::reads_files). One
    /// lot at a time: what was taken must be [stored](Self::stored) before more is.
    pub(in crate::ledger) fn take(&self, most: usize) -> Taken {
        let sources = self.shared.lanes.len() + 1;
        // In turns, so that neither living requests nor a backlog have to wait for the other's end.
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        let mut taken = Taken::default();
        for source in (0..sources).map(|source| (turn + source) % sources) {
            if source < self.shared.lanes.len() {
                self.shared.take_of(source, most, &mut taken);
            } else {
                let finished = self.shared.backlog().take(most, &mut taken.rows);
                taken.finished = finished;
            }
        }
        taken
    }

    /// The rows of `taken` are in the store, or in the quarantine.
    pub(in crate::ledger) fn stored(&self, taken: Taken) {
        let Finished { rows, mut files, mut folders } = taken.finished;
        let sizes = files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|found| found.len());
        self.shared.home.give_back(sizes.sum());
        let left = |waiting: usize| Some(waiting.saturating_sub(rows));
        let _ = self.shared.backlog_rows.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        let mut replaced: Vec<_> =
            taken.lanes.iter().flat_map(|done| self.shared.lane(done.lane).stored(done)).collect();
        let mut doomed = self.shared.doomed();
        doomed.files.append(&mut files);
        doomed.folders.append(&mut folders);
        doomed.replaced.append(&mut replaced);
        drop(doomed);
        self.wake();
    }
}

impl Shared {
    fn take_of(&self, index: usize, most: usize, taken: &mut Taken) {
        let room = most.saturating_sub(taken.rows.len());
        let mut lane = self.lane(index);
        if let Some(done) = lane.take(index, room, &mut taken.rows) {
            taken.lanes.push(done);
            return;
        }
        drop(lane);
        let before = taken.rows.len();
        // A stretch may hold nothing but OPENs: it goes on until there are rows or no stretch is left.
        while room > 0 && taken.rows.len() == before {
            let window = self.lane(index).window();
            let Some(window) = window else { return };
            if !self.read_back(index, most, &window, taken) {
                return;
            }
        }
    }

    /// False where the disk does not answer: tried again with the next batch.
    fn read_back(&self, index: usize, most: usize, window: &Window, taken: &mut Taken) -> bool {
        let before = taken.rows.len();
        let read = read_back::rows(&window.path, window.from.offset, window.to, most, &mut taken.rows);
        let upto = match read {
            Ok(stretch) if !stretch.damaged => stretch.to,
            Ok(_) => {
                tracing::error!(segment = %window.path.display(), "rows of the spool are damaged and lost");
                window.to
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                tracing::error!(segment = %window.path.display(), "a segment of the spool was removed; its rows are lost");
                window.to
            }
            Err(error) => {
                tracing::error!(segment = %window.path.display(), %error, "the spool cannot be read");
                return false;
            }
        };
        let upto = codec::Position { offset: upto, ..window.from };
        let newest = taken.rows.get(before..).and_then(<[Row]>::last).map(Row::ended);
        self.lane(index).was_read(upto, newest);
        let rows = taken.rows.len() - before;
        if rows > 0 {
            taken.lanes.push(Done { lane: index, rows, upto: Some(upto) });
        }
        true
    }
}
