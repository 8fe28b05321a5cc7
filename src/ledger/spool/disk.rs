//! The thread that does what no request should wait for: ENDs are written, files synced and removed, OPENs carried.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::folder::Folder;
use super::{Shared, Synced};
use crate::{failpoint, heap};

/// How long an END may wait for others.
const END_LAG: Duration = Duration::from_millis(5);
/// How often the disk is asked to keep what was written.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// OPENs carried under one hold of a lane's lock, which a request may be waiting for.
const CARRIED_AT_ONCE: usize = 32;

/// Ends, with everything written, when it is dropped.
pub(super) struct DiskThread {
    thread: Thread,
    stop: Arc<AtomicBool>,
    handle: Option<JoinHandle<()>>,
}

impl DiskThread {
    pub fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let named = std::thread::Builder::new().name("cfx-spool".to_owned());
        let handle = named.spawn(move || run(&shared, &stopping))?;
        Ok(Self { thread: handle.thread().clone(), stop, handle: Some(handle) })
    }

    pub fn wake(&self) {
        self.thread.unpark();
    }
}

impl Drop for DiskThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
        let ended = self.handle.take().map(JoinHandle::join);
        if let Some(Err(_panic)) = ended {
            tracing::error!("the spool's thread had ended before its time");
        }
    }
}

fn run(shared: &Shared, stop: &AtomicBool) {
    let mut last_sync = Instant::now();
    loop {
        let stopping = stop.load(Ordering::Acquire);
        // `work` stays true through the pause: whoever has more of it then wakes nobody.
        if shared.work.load(Ordering::Acquire) && !stopping && !shared.urgent.load(Ordering::Acquire) {
            std::thread::park_timeout(END_LAG);
        }
        shared.work.swap(false, Ordering::AcqRel);
        let urgent = shared.urgent.swap(false, Ordering::AcqRel);
        shared.write_ends();
        shared.remove_replayed();
        if urgent || stopping || last_sync.elapsed() >= SYNC_EVERY {
            shared.sync_and_remove();
            last_sync = Instant::now();
            shared.carry();
        }
        if stopping {
            return;
        }
        // The pause above may have taken the call that was meant for this one.
        if shared.work.load(Ordering::Acquire) || shared.urgent.load(Ordering::Acquire) || stop.load(Ordering::Acquire)
        {
            continue;
        }
        if shared.has_unsynced() || shared.has_replaced() {
            std::thread::park_timeout(SYNC_EVERY.saturating_sub(last_sync.elapsed()).max(END_LAG));
        } else {
            heap::empty_cache();
            std::thread::park();
        }
    }
}

impl Shared {
    fn write_ends(&self) {
        let mut wrote = false;
        for index in 0..self.lanes.len() {
            let mut lane = self.lane(index);
            let before = lane.writes();
            if let Err(error) = lane.flush() {
                drop(lane);
                tracing::error!(%error, "the ledger's spool cannot be written; its ENDs wait in memory");
                // Tried again soon, without spinning: the disk may have room by then.
                std::thread::park_timeout(SYNC_EVERY);
                self.work.store(true, Ordering::Release);
                return;
            }
            wrote |= lane.writes() != before;
        }
        if wrote {
            failpoint::reached(failpoint::AFTER_END);
        }
    }

    fn has_unsynced(&self) -> bool {
        (0..self.lanes.len()).any(|index| self.lane(index).has_unsynced())
    }

    fn has_replaced(&self) -> bool {
        !self.doomed().replaced.is_empty()
    }

    fn remove_replayed(&self) {
        let (files, folders) = {
            let mut doomed = self.doomed();
            (std::mem::take(&mut doomed.files), std::mem::take(&mut doomed.folders))
        };
        remove_files(&files);
        remove_folders(&folders);
    }

    /// What is of no use any more goes once the disk has what took its place: an END, a carried OPEN, the counts in
    /// another segment's head. A loss of power may otherwise keep the removal and nothing else.
    fn sync_and_remove(&self) {
        let mut replaced = std::mem::take(&mut self.doomed().replaced);
        if self.sync() {
            remove_files(&replaced);
        } else {
            self.doomed().replaced.append(&mut replaced);
        }
    }

    /// Asks the disk to keep what was written, and tells who waits for it. False where it does not.
    fn sync(&self) -> bool {
        let mut all = true;
        for index in 0..self.lanes.len() {
            let Some((files, upto)) = self.lane(index).take_unsynced() else { continue };
            let synced = files.iter().try_for_each(|file| file.sync_data());
            if let Err(error) = &synced {
                tracing::error!(%error, "the ledger's spool cannot be synced");
                self.lane(index).not_synced(files);
                all = false;
            }
            if let Some(told) = self.synced.as_ref().and_then(|synced| synced.get(index)) {
                told.send_replace(Synced { upto, failed: synced.is_err() });
            }
        }
        all
    }

    fn carry(&self) {
        for index in 0..self.lanes.len() {
            while self.lane(index).carry(CARRIED_AT_ONCE) {}
            let mut replaced = self.lane(index).garbage();
            self.doomed().replaced.append(&mut replaced);
        }
    }
}

/// Whether a segment is left in a folder whose segments were all read; also where nobody can tell.
fn holds_segments(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return true };
    let segment = |entry: io::Result<std::fs::DirEntry>| {
        entry.map_or(true, |entry| entry.path().extension().is_some_and(|kind| kind == "spool"))
    };
    entries.into_iter().any(segment)
}

fn remove_files(files: &[PathBuf]) {
    for file in files {
        if let Err(error) = std::fs::remove_file(file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %file.display(), %error, "a segment that is done with cannot be removed");
        }
    }
}

fn remove_folders(folders: &[Folder]) {
    for folder in folders {
        if holds_segments(&folder.path) {
            // What could not be read now may be readable at the next start, and its rows stand nowhere else.
            tracing::error!(folder = %folder.path.display(), "a spool is kept: some of it could not be read");
            continue;
        }
        // Still locked: another process that finds it in this moment leaves it alone.
        if let Err(error) = std::fs::remove_dir_all(&folder.path) {
            tracing::warn!(folder = %folder.path.display(), %error, "a replayed spool cannot be removed");
        }
    }
}
