//! One writer's way through its segments. Each worker thread has a lane of its own, so that nobody waits for another's
//! lock; what is beside the requests (the store's batches, the disk's thread) takes it for moments.
//!
//! Records of a request are all in the lane it was opened in. ENDs go to the store in the order they stand here, so
//! that one place (`stored`) says which of them are done, and a MARK of it is all a restart needs.
//!
//! A segment may go when it is full, every END in it is stored, and no OPEN in it is the only word on its request: an
//! END that is written replaces its OPEN, and an OPEN that lasts is carried forward. Segments go in order.

mod carry;
mod open_requests;
mod reading;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::codec::{self, Position};
use super::home::{Home, NoRoom};
use super::segment::{self, Name};
use super::tally::Tally;
use crate::ledger::record::{Leases, Opening, Row};
use crate::units::Timestamp;
use open_requests::{OpenRequests, Opened};
pub(super) use reading::{Done, Window};

/// What an END may be longer than its OPEN: the figures, and a short text of ours.
const END_BEYOND_OPEN: u32 = 192;
/// ENDs are written at the latest when so much has gathered.
const MOST_UNWRITTEN: usize = 64 << 10;

pub(super) struct Lane {
    home: Arc<Home>,
    index: u16,
    /// Made with the first record.
    current: Option<Current>,
    /// Full segments, oldest first, numbered without a gap.
    sealed: VecDeque<Sealed>,
    next_number: u64,
    /// Records that are not written yet. They belong behind what is written of the current segment.
    buffer: Vec<u8>,
    open: OpenRequests,
    /// Segments whose OPENs are answered for by what is in `buffer`, one entry an OPEN.
    superseded: Vec<u64>,
    tally: Tally,
    /// The newest time seen, by which tallies age.
    latest: Timestamp,
    /// Rows for the store, oldest first.
    queue: VecDeque<Queued>,
    /// How many rows `queue` may hold.
    capacity: usize,
    /// While rows wait on disk alone: the first byte that may hold one. Then `queue` takes none that are on disk.
    unread: Option<Position>,
    /// ENDs that are not in the store, wherever they are kept.
    waiting: usize,
    /// Since when the oldest row of those on disk alone waits.
    unread_since: Option<Timestamp>,
    /// Every END before this is in the store.
    stored: Position,
    /// Counts writes, so that one can be waited for.
    writes: u64,
    /// Whether something was written since the last time the disk was asked to keep it.
    unsynced: bool,
    /// Sealed files of which that is true.
    unsynced_files: Vec<Arc<File>>,
}

/// The segment being written.
struct Current {
    number: u64,
    file: Arc<File>,
    path: PathBuf,
    /// Length of the header.
    first: u32,
    /// Bytes written, header included.
    written: u32,
    /// Where its last END ends; 0 where it has none.
    last_end: u32,
    /// OPENs in it that are the only word on their request.
    open: u32,
}

struct Sealed {
    number: u64,
    path: PathBuf,
    first: u32,
    length: u32,
    last_end: u32,
    open: u32,
}

struct Queued {
    row: Row,
    /// None: the row is in no segment.
    end: Option<Position>,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// In memory; `full`: as many as make a batch.
    Queued {
        full: bool,
    },
    /// On disk, to be read back.
    OnDisk,
    Lost,
}

impl Lane {
    pub fn new(home: Arc<Home>, index: u16, tally: Tally, capacity: usize) -> Self {
        Self {
            home,
            index,
            current: None,
            sealed: VecDeque::new(),
            next_number: 1,
            buffer: Vec::new(),
            open: OpenRequests::default(),
            superseded: Vec::new(),
            tally,
            latest: Timestamp(0),
            queue: VecDeque::new(),
            capacity,
            unread: None,
            waiting: 0,
            unread_since: None,
            stored: Position::default(),
            writes: 0,
            unsynced: false,
            unsynced_files: Vec::new(),
        }
    }

    /// Makes the first segment, also where earlier ones have used up all the room: it takes over what they tell of
    /// leases, and without it they could never go.
    pub fn begin(&mut self, now: Timestamp) -> Result<(), NoRoom> {
        self.latest = self.latest.max(now);
        self.home.take(self.home.segment);
        self.make_segment()
    }

    /// Writes an OPEN, and every END that waited to be written. Gives the slot under which the request is known here.
    pub fn open(&mut self, opening: &Opening) -> Result<u32, NoRoom> {
        self.latest = self.latest.max(opening.created_at);
        let mut start = self.buffer.len();
        codec::open(&mut self.buffer, opening, false);
        let length = self.buffer.len() - start;
        let reserve = u32::try_from(length).unwrap_or(u32::MAX).saturating_add(END_BEYOND_OPEN);
        if !self.has_room(length, reserve) {
            self.buffer.truncate(start);
            self.rotate()?;
            start = self.buffer.len();
            codec::open(&mut self.buffer, opening, false);
        }
        let place = self.place_of(start);
        if let Err(error) = self.flush() {
            // The ENDs stay for another try; what of the OPEN reached the disk is cut by its checksum.
            self.buffer.truncate(start);
            return Err(NoRoom::Disk(error));
        }
        self.tally.count(opening);
        if let Some(current) = &mut self.current {
            current.open += 1;
        }
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        Ok(self.open.insert(Opened { segment: place.segment, offset: place.offset, length, reserve }))
    }

    /// Takes an END, to be written with the next OPEN or by the disk's thread. `slot`: None where nothing was opened.
    /// `given_back`: the places that its request had, where others may have them once the END is written.
    pub fn end(&mut self, slot: Option<u32>, row: Row, given_back: &Leases, batch: usize) -> Kept {
        self.latest = self.latest.max(row.created_at);
        let start = self.buffer.len();
        codec::end(&mut self.buffer, &row, given_back);
        let length = self.buffer.len() - start;
        if !self.has_room(length, 0) {
            // Behind an OPEN there is room: it was reserved. Where the disk broke its word the segment grows.
            let end = self.buffer.split_off(start);
            let rotated = self.rotate();
            if slot.is_none() && rotated.is_err() || self.current.is_none() {
                return self.keep_in_memory(row, batch);
            }
            self.buffer.extend_from_slice(&end);
        }
        self.tally.uncount(given_back);
        let start = self.place_of(self.buffer.len() - length);
        let end = self.place_of(self.buffer.len());
        if let Some(current) = &mut self.current {
            current.last_end = end.offset;
        }
        if let Some(opened) = slot.and_then(|slot| self.open.remove(slot)) {
            self.superseded.push(opened.segment);
        }
        if self.buffer.len() > MOST_UNWRITTEN {
            let _ = self.flush(); // tried again with the next record, and by the disk's thread
        }
        self.waiting += 1;
        if self.unread.is_none() && self.queue.len() < self.capacity {
            self.queue.push_back(Queued { row, end: Some(end) });
            return Kept::Queued { full: self.queue.len() == batch };
        }
        self.unread.get_or_insert(start);
        self.unread_since.get_or_insert(row.ended());
        Kept::OnDisk
    }

    fn keep_in_memory(&mut self, row: Row, batch: usize) -> Kept {
        if self.queue.len() >= self.capacity {
            return Kept::Lost;
        }
        self.waiting += 1;
        self.queue.push_back(Queued { row, end: None });
        Kept::Queued { full: self.queue.len() == batch }
    }

    /// Writes what has gathered. On an error it stays.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if self.buffer.is_empty() {
            return Ok(());
        }
        current.file.write_all_at(&self.buffer, u64::from(current.written))?;
        current.written = current.written.saturating_add(u32::try_from(self.buffer.len()).unwrap_or(u32::MAX));
        self.buffer.clear();
        self.buffer.shrink_to(4 * MOST_UNWRITTEN);
        self.writes += 1;
        self.unsynced = true;
        for number in std::mem::take(&mut self.superseded) {
            self.release(number);
        }
        Ok(())
    }

    /// Whether the disk's thread has something to do here.
    pub fn has_unsynced(&self) -> bool {
        self.unsynced || !self.buffer.is_empty()
    }

    /// The number of the last write: what has to be on the disk for everything until now to be.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Files that hold what the disk was not yet asked to keep, and the write up to which they do.
    pub fn take_unsynced(&mut self) -> Option<(Vec<Arc<File>>, u64)> {
        let _ = self.flush();
        if !std::mem::take(&mut self.unsynced) {
            return None;
        }
        let mut files = std::mem::take(&mut self.unsynced_files);
        files.extend(self.current.as_ref().map(|current| Arc::clone(&current.file)));
        Some((files, self.writes))
    }

    /// The disk did not keep these: it is asked again.
    pub fn not_synced(&mut self, files: Vec<Arc<File>>) {
        self.unsynced = true;
        let current = self.current.as_ref().map(|current| &current.file);
        let sealed = files.into_iter().filter(|file| !current.is_some_and(|current| Arc::ptr_eq(file, current)));
        self.unsynced_files.extend(sealed);
    }

    /// Whether a record that is in the buffer already may stay in this segment, with `reserve` bytes for its END.
    fn has_room(&self, record: usize, reserve: u32) -> bool {
        let Some(current) = &self.current else { return false };
        let used = current.written as usize + self.buffer.len();
        // Beyond half a segment of reservations a new segment would be full before it began.
        let reserved = self.open.reserved().min(self.home.segment / 2);
        let fresh = used - record <= current.first as usize;
        fresh || used as u64 + reserved + u64::from(reserve) <= self.home.segment
    }

    /// Begins the next segment. Where that fails, everything is as it was.
    fn rotate(&mut self) -> Result<(), NoRoom> {
        self.flush().map_err(NoRoom::Disk)?;
        self.home.claim()?;
        self.make_segment()
    }

    /// In room that is claimed already, and given back where it comes to nothing.
    fn make_segment(&mut self) -> Result<(), NoRoom> {
        self.tally.prune(self.latest, self.home.leases);
        let name =
            Name { edge: self.home.edge, generation: self.home.generation, lane: self.index, number: self.next_number };
        let path = self.home.folder.join(name.file_name());
        let (file, first) = segment::create(&path, &name, &self.tally, self.home.segment).map_err(|error| {
            self.home.give_back(self.home.segment);
            NoRoom::Disk(error)
        })?;
        self.home.note_new_file();
        let fresh =
            Current { number: name.number, file: Arc::new(file), path, first, written: first, last_end: 0, open: 0 };
        self.next_number += 1;
        if let Some(full) = self.current.replace(fresh) {
            self.seal(full);
        }
        self.unsynced = true; // its head may be all that is left of the counts in files before it
        Ok(())
    }

    fn seal(&mut self, full: Current) {
        let _ = full.file.set_len(u64::from(full.written)); // gives back what was set aside and not used
        self.home.give_back(self.home.segment);
        self.home.take(u64::from(full.written));
        if self.unsynced {
            self.unsynced_files.push(full.file);
        }
        self.sealed.push_back(Sealed {
            number: full.number,
            path: full.path,
            first: full.first,
            length: full.written,
            last_end: full.last_end,
            open: full.open,
        });
    }

    /// An OPEN in this segment is no longer the only word on its request.
    fn release(&mut self, number: u64) {
        let open = match &mut self.current {
            Some(current) if current.number == number => Some(&mut current.open),
            _ => self.sealed_mut(number).map(|sealed| &mut sealed.open),
        };
        if let Some(open) = open {
            *open = open.saturating_sub(1);
        }
    }

    fn sealed_mut(&mut self, number: u64) -> Option<&mut Sealed> {
        let first = self.sealed.front()?.number;
        self.sealed.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// Where a byte of the buffer will stand.
    fn place_of(&self, in_buffer: usize) -> Position {
        let in_buffer = u32::try_from(in_buffer).unwrap_or(u32::MAX);
        let current = self.current.as_ref();
        current.map_or(Position::default(), |current| Position {
            segment: current.number,
            offset: current.written.saturating_add(in_buffer),
        })
    }
}

#[cfg(test)]
#[path = "../lane_tests.rs"]
mod tests;
