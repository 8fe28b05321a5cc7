//! From a folder on disk to a spool that can be written: what earlier processes left is read, cut and handed on.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

use super::backlog::Backlog;
use super::folder::{self, SpoolProblem};
use super::home::{Home, NoRoom};
use super::lane::Lane;
use super::quarantine::Quarantine;
use super::tally::Tally;
use super::{Recovered, Shared, Spool, SpoolSettings, Synced, disk, scan};
use crate::config::Fsync;
use crate::units::Timestamp;

impl Spool {
    /// Opens the spool under `root` (`DATA/spool`) and reads what earlier processes left. The first of what was
    /// recovered is this edge's own. Blocks; for start-up.
    pub fn open(root: &Path, settings: SpoolSettings, now: Timestamp) -> Result<(Self, Vec<Recovered>), SpoolProblem> {
        let lanes = settings.lanes.max(1);
        let quarantine = Quarantine::under(root);
        let mut held = folder::hold(root)?.into_iter();
        let Some(own) = held.next() else { return Err(SpoolProblem::at(root, std::io::ErrorKind::NotFound.into())) };
        let found = scan::scan(&own.path)?;
        let others =
            held.map(|other| Ok((scan::scan(&other.path)?, other))).collect::<Result<Vec<_>, SpoolProblem>>()?;
        let all = || others.iter().map(|(scan, _)| scan).chain([&found]);
        all().try_for_each(|scan| set_aside(&quarantine, scan))?;
        let cuts = all().map(|scan| scan.damages.len() as u64).sum();
        let taken = all().map(|scan| scan.bytes).sum();
        let (waiting, oldest) = (all().map(scan::Scan::waiting).sum(), all().filter_map(|scan| scan.oldest).min());
        let recovered = |edge, tally: &Tally| Recovered { edge, leases: tally.clone().into_counts() };
        let mut told = vec![recovered(own.edge, &found.tally)];
        told.extend(others.iter().map(|(scan, other)| recovered(other.edge, &scan.tally)));

        let each = settings.fsync == Fsync::Each;
        let generation = found.generation + 1;
        let home = Home::new(own.path.clone(), own.edge, generation, settings.size, taken, lanes, each);
        let home = Arc::new(home);
        let capacity = (settings.capacity / lanes).max(1);
        let mut first = Lane::new(Arc::clone(&home), 0, found.tally.clone(), capacity);
        first.begin(now).map_err(|problem| cannot_begin(&home, problem))?;
        let mut all_lanes = vec![Mutex::new(first)];
        for index in 1..lanes {
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            let lane = Lane::new(Arc::clone(&home), index, Tally::default(), capacity);
            all_lanes.push(Mutex::new(lane));
        }
        let mut backlog = Backlog::default();
        backlog.add(None, found);
        others.into_iter().for_each(|(scan, other)| backlog.add(Some(other), scan));
        let shared = Arc::new(Shared {
            home,
            lanes: all_lanes,
            on_full: settings.on_full,
            synced: each.then(|| (0..lanes).map(|_| tokio::sync::watch::Sender::new(Synced::default())).collect()),
            backlog: Mutex::new(backlog),
            backlog_rows: AtomicUsize::new(waiting),
            backlog_oldest: oldest,
            quarantine,
            cuts,
            work: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            doomed: Mutex::default(),
            turn: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            _folder: own,
        });
        let thread = disk::DiskThread::start(Arc::clone(&shared)).map_err(SpoolProblem::Thread)?;
        Ok((Self { shared, thread }, told))
    }
}

/// Keeps what cannot be read, and says so.
fn set_aside(quarantine: &Quarantine, scan: &scan::Scan) -> Result<(), SpoolProblem> {
    for damage in &scan.damages {
        let kept = quarantine.cut(damage).map_err(|error| SpoolProblem::at(quarantine.path(), error))?;
        tracing::error!(
            segment = %damage.path.display(), good = damage.good, lost = damage.lost, kept = %kept.display(),
            "a segment of the ledger's spool is damaged; it was cut at its last good record"
        );
    }
    Ok(())
}

fn cannot_begin(home: &Home, problem: NoRoom) -> SpoolProblem {
    match problem {
        NoRoom::Disk(error) if error.kind() != std::io::ErrorKind::StorageFull => SpoolProblem::at(&home.folder, error),
        _ => SpoolProblem::Full { path: home.folder.clone(), wanted: home.segment },
    }
}
