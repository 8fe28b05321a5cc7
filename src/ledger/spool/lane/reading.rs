//! A lane as the store's writer sees it: rows to take, from memory or back from the disk, and word of what is stored.

use std::path::PathBuf;

use super::Lane;
use crate::ledger::record::Row;
use crate::ledger::spool::codec::{self, Position};
use crate::units::Timestamp;

/// Rows of one lane in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) struct Done {
    pub lane: usize,
    pub rows: usize,
    /// Behind the last of them that is in a segment.
    pub upto: Option<Position>,
}

/// A stretch of a segment that holds rows which are nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger) struct Window {
    pub path: PathBuf,
    pub from: Position,
    /// The first byte behind it.
    pub to: u32,
}

impl Lane {
    /// Moves up to `most` of the oldest rows in memory to `rows`.
    pub fn take(&mut self, lane: usize, most: usize, rows: &mut Vec<Row>) -> Option<Done> {
        let count = most.min(self.queue.len());
        let mut upto = None;
        for queued in self.queue.drain(..count) {
            upto = queued.end.or(upto);
            rows.push(queued.row);
        }
        if self.queue.is_empty() {
            self.queue.shrink_to(256);
        }
        (count > 0).then_some(Done { lane, rows: count, upto })
    }

    /// Where the next rows are that only the disk has. None while there are rows in memory, which are older, and once
    /// everything was read: from then on rows are kept in memory again.
    pub fn window(&mut self) -> Option<Window> {
        if !self.queue.is_empty() {
            return None;
        }
        let mut from = self.unread?;
        let flushed = self.flush().is_ok();
        loop {
            let current = self.current.as_ref()?;
            let sealed = self.sealed.iter().find(|sealed| sealed.number >= from.segment);
            let (number, first, length, path) = match sealed {
                Some(sealed) => (sealed.number, sealed.first, sealed.length, &sealed.path),
                None => (current.number, current.first, current.written, &current.path),
            };
            let offset = if number == from.segment { from.offset.max(first) } else { first };
            from = Position { segment: number, offset };
            if offset < length {
                return Some(Window { path: path.clone(), from, to: length });
            }
            if number == current.number {
                // What could not be written is in no queue either: it is read once it is on disk.
                self.unread = (!flushed).then_some(from);
                return None;
            }
            from = Position { segment: number + 1, offset: 0 };
        }
    }

    /// Everything before `upto` was read back; `newest` is the time of the last row of it.
    pub fn was_read(&mut self, upto: Position, newest: Option<Timestamp>) {
        self.unread = Some(upto);
        self.unread_since = newest.or(self.unread_since);
    }

    /// Whether rows wait that are on disk alone.
    pub fn has_unread(&self) -> bool {
        self.unread.is_some()
    }

    /// A lane's rows are in the store. Gives the files that are of no use any more.
    pub fn stored(&mut self, done: &Done) -> Vec<PathBuf> {
        self.waiting = self.waiting.saturating_sub(done.rows);
        let Some(upto) = done.upto.filter(|upto| *upto > self.stored) else { return Vec::new() };
        self.stored = upto;
        if self.current.is_some() {
            codec::mark(&mut self.buffer, upto);
        }
        self.garbage()
    }

    /// Takes the segments off the list that nothing needs any more.
    pub fn garbage(&mut self) -> Vec<PathBuf> {
        let mut gone = Vec::new();
        while let Some(oldest) = self.sealed.front() {
            let ends = Position { segment: oldest.number, offset: oldest.last_end };
            if oldest.open > 0 || oldest.last_end > 0 && self.stored < ends {
                break;
            }
            self.home.give_back(u64::from(oldest.length));
            gone.extend(self.sealed.pop_front().map(|sealed| sealed.path));
        }
        gone
    }

    /// ENDs that the store does not have.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Since when the oldest row waits, of those that were not taken.
    pub fn oldest(&self) -> Option<Timestamp> {
        let queued = self.queue.front().map(|queued| queued.row.ended());
        queued.or(self.unread.and(self.unread_since))
    }

    /// Requests under way.
    #[cfg(test)]
    pub fn open_requests(&self) -> usize {
        self.open.len()
    }
}
