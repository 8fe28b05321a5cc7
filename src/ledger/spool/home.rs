//! What all lanes of a spool share: its folder, its identity, and how much of the disk it may use.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::tally::Tally;
use crate::units::EdgeId;

/// A segment is never larger: replaying one after a crash stays a matter of moments.
const LARGEST_SEGMENT: u64 = 16 << 20;
const SMALLEST_SEGMENT: u64 = 16 << 10;
/// A lane's own segment may be this part of its share: the rest is for those that wait for the store.
const SEGMENTS_PER_LANE: u64 = 8;

#[derive(Debug)]
pub(super) struct Home {
    /// `DATA/spool/<edge>`.
    pub folder: PathBuf,
    pub edge: EdgeId,
    pub generation: u32,
    /// Bytes at which a segment is full, and which are set aside for it.
    pub segment: u64,
    /// Leases that a segment's head remembers.
    pub leases: usize,
    /// The most that all segments together may take.
    cap: u64,
    /// What they take; of those being written, all that is set aside.
    bytes: AtomicU64,
    /// Whether a new file's name must outlast a loss of power.
    sync_names: bool,
}

/// Why a record cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRoom {
    #[error("the spool has reached its size (ledger.spool.size)")]
    Cap,
    #[error("the disk: {0}")]
    Disk(io::Error),
}

impl Home {
    /// `taken`: bytes of segments that earlier processes left.
    pub fn new(
        folder: PathBuf,
        edge: EdgeId,
        generation: u32,
        size: u64,
        taken: u64,
        lanes: usize,
        each: bool,
    ) -> Self {
        let segment = size / (SEGMENTS_PER_LANE * lanes.max(1) as u64);
        let segment = segment.clamp(SMALLEST_SEGMENT, LARGEST_SEGMENT);
        Self {
            folder,
            edge,
            generation,
            segment,
            leases: Tally::most_in(segment),
            cap: size,
            bytes: AtomicU64::new(taken),
            sync_names: each,
        }
    }

    /// Takes a segment's room, where there is still that much.
    pub fn claim(&self) -> Result<(), NoRoom> {
        let grown = |bytes: u64| bytes.checked_add(self.segment).filter(|bytes| *bytes <= self.cap);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).map(drop).map_err(|_| NoRoom::Cap)
    }

    pub fn take(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn give_back(&self, bytes: u64) {
        let left = |have: u64| Some(have.saturating_sub(bytes));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn note_new_file(&self) {
        if self.sync_names {
            let synced = std::fs::File::open(&self.folder).and_then(|folder| folder.sync_all());
            if let Err(error) = synced {
                tracing::warn!(folder = %self.folder.display(), %error, "the spool's folder cannot be synced");
            }
        }
    }
}
