//! The ledger on disk: what was let in is written down before it goes upstream, so that the death of the process, at
//! any moment, loses no row.
//!
//! Owns: `DATA/spool/`, its format, its lock, its replay. Must not know: the store.
//!
//! Failure stance: closed for OPENs by default (`on_full: refuse`), because a request that cannot be written down
//! cannot be accounted for; open for ENDs, which stay in memory until the disk takes them. The death of the process
//! loses nothing; the loss of power at most what the disk's thread had not yet synced, which it does every second
//! (`fsync: off`), or nothing (`fsync: each`).

mod backlog;
mod codec;
mod disk;
mod folder;
mod home;
mod lane;
mod quarantine;
mod read_back;
mod scan;
mod segment;
mod start;
mod status;
mod taking;
mod tally;

use std::cell::Cell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::record::{Leases, Opening, Row};
use crate::config::{Fsync, OnSpoolFull};
use crate::units::{EdgeId, LeaseId, StoreError, Timestamp};
use backlog::Backlog;
use home::{Home, NoRoom};
use lane::{Kept, Lane};
use quarantine::Quarantine;

pub use folder::SpoolProblem;
pub use quarantine::Quarantined;
pub use status::{FolderStatus, SpoolStatus, status};
pub(super) use taking::Taken;

/// How much the spool may hold, and what happens beyond.
#[derive(Debug, Clone, Copy)]
pub struct SpoolSettings {
    /// The most that it may take of the disk, in bytes.
    pub size: u64,
    pub fsync: Fsync,
    pub on_full: OnSpoolFull,
    /// Threads that write to it.
    pub lanes: usize,
    /// Rows kept in memory, all lanes together.
    pub capacity: usize,
}

/// What a dead process of this or another edge left behind, for the room that hands out leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    pub edge: EdgeId,
    /// Requests by lease, of today and yesterday: OPENs, but for those that gave their place back.
    pub leases: HashMap<LeaseId, u32>,
}

/// An open spool. Its folder belongs to this process until it is dropped.
pub struct Spool {
    shared: Arc<Shared>,
    thread: disk::DiskThread,
}

struct Shared {
    home: Arc<Home>,
    lanes: Vec<Mutex<Lane>>,
    on_full: OnSpoolFull,
    /// Of each lane: the write up to which the disk has it, and whether it ever failed. None with `fsync: off`.
    synced: Option<Vec<watch::Sender<Synced>>>,
    backlog: Mutex<Backlog>,
    backlog_rows: AtomicUsize,
    backlog_oldest: Option<Timestamp>,
    quarantine: Quarantine,
    cuts: u64,
    /// Something waits to be written, synced or removed.
    work: AtomicBool,
    /// A request waits for it.
    urgent: AtomicBool,
    doomed: Mutex<Doomed>,
    turn: AtomicUsize,
    /// OPENs that found no room.
    refused: AtomicU64,
    _folder: folder::Folder,
}

/// What nothing needs any more.
#[derive(Default)]
struct Doomed {
    /// Of dead processes: the store has it all.
    files: Vec<PathBuf>,
    folders: Vec<folder::Folder>,
    /// Of this one: gone once the disk has what took their place.
    replaced: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Synced {
    upto: u64,
    failed: bool,
}

/// The place of a request that was opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    lane: usize,
    slot: u32,
    write: u64,
}

/// What became of the END of a request that did not happen.
#[derive(Debug, Clone, Copy)]
pub(super) struct GivenBack {
    /// As of any END.
    pub full: Result<bool, SpoolFull>,
    pub written: bool,
}

/// A request cannot be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger's spool has no room")]
pub struct SpoolFull;

impl Spool {
    /// Whose spool it is: the same as long as the folder is the same.
    pub fn edge(&self) -> EdgeId {
        self.shared.home.edge
    }

    /// Writes an OPEN. None: there is no room, and the request goes on without (`on_full: drop`).
    pub(super) fn open_request(&self, opening: &Opening) -> Result<Option<Ticket>, SpoolFull> {
        let index = own_lane() % self.shared.lanes.len();
        let mut lane = self.shared.lane(index);
        let opened = lane.open(opening);
        let write = lane.writes();
        drop(lane);
        match opened {
            Ok(slot) => Ok(Some(Ticket { lane: index, slot, write })),
            Err(problem) => self.shared.no_room(&problem),
        }
    }

    /// Waits until the disk has a request's OPEN, where that was asked for.
    pub(super) async fn synced(&self, ticket: &Ticket) -> Result<(), SpoolFull> {
        let Some(synced) = self.shared.synced.as_ref().and_then(|synced| synced.get(ticket.lane)) else {
            return Ok(());
        };
        self.shared.urgent.store(true, Ordering::Release);
        self.wake();
        let reached = |synced: &Synced| synced.failed || synced.upto >= ticket.write;
        let failed = synced.subscribe().wait_for(reached).await.map_or(true, |synced| synced.failed);
        if failed { Err(SpoolFull) } else { Ok(()) }
    }

    /// Takes the END of a request, or of one that was never opened. True: as many rows wait as make a batch.
    /// `Err`: the row is lost.
    pub(super) fn end(&self, ticket: Option<&Ticket>, row: Row, batch: usize) -> Result<bool, SpoolFull> {
        let index = ticket.map_or_else(|| own_lane() % self.shared.lanes.len(), |ticket| ticket.lane);
        let kept = self.shared.lane(index).end(ticket.map(|ticket| ticket.slot), row, &[None; 2], batch);
        self.wake();
        kept.into()
    }

    /// Takes the END of a request that did not happen, and writes it before it returns: others may then have its
    /// places. `written`: false where that failed, and it waits in memory for the disk's thread.
    pub(super) fn give_back(&self, ticket: &Ticket, row: Row, places: &Leases, batch: usize) -> GivenBack {
        let mut lane = self.shared.lane(ticket.lane);
        let full = Result::from(lane.end(Some(ticket.slot), row, places, batch));
        let written = lane.flush().is_ok();
        drop(lane);
        self.wake();
        GivenBack { full, written }
    }

    /// Writes whatever has gathered in memory to the disk.
    pub(super) fn flush(&self) {
        for lane in 0..self.shared.lanes.len() {
            if let Err(error) = self.shared.lane(lane).flush() {
                tracing::error!(%error, "the ledger's spool cannot be written");
            }
        }
    }

    /// Keeps a row that the store refuses.
    pub(super) fn quarantine(&self, row: &Row, refusal: &StoreError, now: Timestamp) -> std::io::Result<PathBuf> {
        self.shared.quarantine.keep(row, refusal, now)
    }

    /// Rows that the store does not have.
    pub(super) fn waiting(&self) -> usize {
        let lanes = (0..self.shared.lanes.len()).map(|lane| self.shared.lane(lane).waiting()).sum::<usize>();
        lanes + self.shared.backlog_rows.load(Ordering::Relaxed)
    }

    /// Since when the oldest row waits, of those that were not taken.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let lanes = (0..self.shared.lanes.len()).filter_map(|lane| self.shared.lane(lane).oldest()).min();
        let backlog = self.shared.backlog_oldest.filter(|_| self.shared.backlog_rows.load(Ordering::Relaxed) > 0);
        lanes.into_iter().chain(backlog).min()
    }

    /// What it takes of the disk, in bytes, what is set aside included.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.home.bytes()
    }

    /// Segments that were found damaged when it was opened.
    pub(super) fn cuts(&self) -> u64 {
        self.shared.cuts
    }

    fn wake(&self) {
        // Looked at before it is written, so that its cache line stays with all who only look. Whoever reads "asked" here
        // has left the lane's lock before the disk's thread takes it next.
        let asked = self.shared.work.load(Ordering::Acquire) || self.shared.work.swap(true, Ordering::AcqRel);
        if !asked || self.shared.urgent.load(Ordering::Acquire) {
            self.thread.wake();
        }
    }
}

impl From<Kept> for Result<bool, SpoolFull> {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Queued { full } => Ok(full),
            Kept::OnDisk => Ok(false),
            Kept::Lost => Err(SpoolFull),
        }
    }
}

impl Shared {
    fn lane(&self, index: usize) -> MutexGuard<'_, Lane> {
        self.lanes[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doomed(&self) -> MutexGuard<'_, Doomed> {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_room(&self, problem: &NoRoom) -> Result<Option<Ticket>, SpoolFull> {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        // Each power of two: loud at first, and no flood of its own.
        if refused.is_power_of_two() {
            tracing::error!(%problem, refused, "requests cannot be written to the ledger's spool");
        }
        match self.on_full {
            OnSpoolFull::Refuse => Err(SpoolFull),
            OnSpoolFull::Drop => Ok(None),
        }
    }
}

/// Threads are numbered as they first write something.
fn own_lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.get().unwrap_or_else(|| {
        let own = NEXT.fetch_add(1, Ordering::Relaxed);
        OWN.set(Some(own));
        own
    })
}

#[cfg(test)]
mod testing;

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "crash_tests.rs"]
mod crash_tests;
