use std::os::unix::fs::FileExt;

use super::testing::{Disk, NOON, ONE_LANE, SMALL, drain, lease, opening, row};
use super::*;

/// Opens and ends the requests `from..to`.
fn serve(spool: &Spool, from: u64, to: u64) {
    for n in from..to {
        let ticket = spool.open_request(&opening(n)).unwrap().unwrap();
        spool.end(Some(&ticket), row(n), 500).unwrap();
    }
}

#[test]
fn a_request_is_on_disk_before_it_goes_on() {
    let disk = Disk::new();
    let (spool, _) = disk.open(SMALL);
    spool.open_request(&opening(1)).unwrap();
    let (next, recovered) = disk.killed().open(SMALL);
    let rows = drain(&next, 500);
    assert_eq!(rows, [Row::stopped(opening(1), opening(1).created_at)]);
    assert_eq!(rows[0].error.as_deref(), Some("edge stopped"));
    assert_eq!(recovered[0].leases, HashMap::from([(lease(1), 1)]));
}

#[test]
fn replaying_twice_is_replaying_once() {
    let disk = Disk::new();
    let (spool, _) = disk.open(SMALL);
    serve(&spool, 0, 200);
    spool.open_request(&opening(500)).unwrap();
    spool.flush();
    let dead = disk.killed();
    let (first, told) = dead.open(SMALL);
    let rows = drain_without_word(&first);
    drop(first);
    let (second, told_again) = dead.open(SMALL);
    assert_eq!(drain_without_word(&second), rows);
    assert_eq!(told, told_again);
    assert_eq!(rows.len(), 201);
}

/// Takes everything, and dies before the spool hears that it is stored.
fn drain_without_word(spool: &Spool) -> Vec<Row> {
    let mut rows = spool.take(10_000).rows;
    rows.sort_by_key(|row| row.request);
    rows
}

#[test]
fn a_restart_on_the_same_folder_is_the_same_edge() {
    let disk = Disk::new();
    let (spool, _) = disk.open(SMALL);
    let edge = spool.edge();
    drop(spool);
    assert_eq!(disk.open(SMALL).0.edge(), edge);
}

#[test]
fn a_second_process_is_another_edge_and_leaves_the_first_alone() {
    let disk = Disk::new();
    let (old, _) = disk.open(SMALL);
    let under_way = old.open_request(&opening(1)).unwrap().unwrap();
    let (new, recovered) = disk.open(SMALL);
    assert_ne!(new.edge(), old.edge());
    assert_eq!(recovered, [Recovered { edge: new.edge(), leases: HashMap::new() }]);
    assert!(drain(&new, 500).is_empty(), "the old one's request is still under way");
    old.end(Some(&under_way), row(1), 500).unwrap();
    let (first, second) = (old.edge(), new.edge());
    serve(&new, 2, 4);
    drop((old, new));
    let (third, recovered) = disk.open(SMALL);
    assert_eq!(recovered.iter().map(|left| left.edge).collect::<Vec<_>>(), [first, second]);
    let mut rows = drain(&third, 500);
    rows.sort_by_key(|row| row.request);
    assert_eq!(rows, [row(1), row(2), row(3)]);
    drop(third);
    assert_eq!(folder::list(&disk.root()).unwrap().len(), 1, "a folder that was replayed goes");
}

#[test]
fn a_torn_end_is_cut_once_and_kept() {
    let disk = Disk::new();
    let (spool, _) = disk.open(ONE_LANE);
    serve(&spool, 0, 10);
    spool.flush();
    let dead = disk.killed();
    let path = dead.segments().remove(0);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let (next, _) = dead.open(SMALL);
    assert_eq!(next.cuts(), 1);
    let mut rows = drain(&next, 500);
    rows.sort_by_key(|row| row.request);
    assert_eq!(rows[..9], (0..9).map(row).collect::<Vec<_>>());
    assert_eq!(rows[9].error.as_deref(), Some("edge stopped"), "its OPEN was whole, its END torn");
    drop(next);
    assert_eq!(dead.open(SMALL).0.cuts(), 0);
    let kept = status(&dead.root()).unwrap().quarantine;
    assert_eq!((kept.cuts, kept.rows), (1, 0));
}

#[test]
fn a_flipped_bit_cuts_there_and_a_bad_header_sets_the_whole_file_aside() {
    for (from_end, lost) in [(40_u64, 1), (u64::MAX, 10)] {
        let disk = Disk::new();
        let (spool, _) = disk.open(ONE_LANE);
        serve(&spool, 0, 10);
        spool.flush();
        let dead = disk.killed();
        let path = dead.segments().remove(0);
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let at = file.metadata().unwrap().len().saturating_sub(from_end).max(20);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        let (next, _) = dead.open(SMALL);
        assert_eq!(next.cuts(), 1);
        assert_eq!(drain(&next, 500).iter().filter(|row| row.error.is_none()).count(), 10 - lost);
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_a_remedy() {
    let disk = Disk::new();
    std::fs::write(disk.root(), "no folder").unwrap();
    let problem = Spool::open(&disk.root(), SMALL, NOON).err().unwrap().to_string();
    assert!(problem.contains("--data (CFX_DATA)") && problem.contains("spool"), "{problem}");

    let disk = Disk::new();
    drop(disk.open(SMALL));
    let path = disk.segments().remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 9;
    let checksum = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let problem = Spool::open(&disk.root(), SMALL, NOON).err().unwrap().to_string();
    assert!(problem.contains("format 9") && problem.contains("--data (CFX_DATA)"), "{problem}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "and left as it was");
}

#[test]
fn a_full_spool_refuses_or_goes_on_without() {
    for (on_full, goes_on) in [(OnSpoolFull::Refuse, false), (OnSpoolFull::Drop, true)] {
        let disk = Disk::new();
        let (spool, _) = disk.open(SpoolSettings { on_full, size: 64 << 10, ..SMALL });
        let last = (0..2_000).map(|n| spool.open_request(&opening(n))).find(|opened| !matches!(opened, Ok(Some(_))));
        assert_eq!(last.unwrap().is_ok(), goes_on);
    }
}

#[tokio::test]
async fn with_fsync_each_a_request_waits_for_the_disk() {
    let disk = Disk::new();
    let (spool, _) = disk.open(SpoolSettings { fsync: Fsync::Each, ..SMALL });
    for n in 0..5 {
        let ticket = spool.open_request(&opening(n)).unwrap().unwrap();
        assert_eq!(spool.synced(&ticket).await, Ok(()));
        let synced = *spool.shared.synced.as_ref().unwrap()[ticket.lane].borrow();
        assert!(synced.upto >= ticket.write && !synced.failed, "{synced:?}");
    }
}

#[test]
fn a_segment_goes_once_the_disk_has_what_took_its_place_and_not_before() {
    let disk = Disk::new();
    let (spool, _) = disk.open(SpoolSettings { fsync: Fsync::Each, lanes: 1, ..SMALL });
    let lasting = spool.open_request(&opening(9_999)).unwrap().unwrap();
    serve(&spool, 0, 1_500);
    let before = disk.segments();
    // The END that replaces the OPEN in the first segment is the last thing written before all is stored.
    spool.end(Some(&lasting), row(9_999), 500).unwrap();
    spool.flush();
    let written = spool.shared.lane(lasting.lane).writes();
    drain(&spool, 5_000);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while before[0].exists() {
        assert!(std::time::Instant::now() < deadline, "it is of no use any more");
        std::thread::yield_now();
    }
    let synced = *spool.shared.synced.as_ref().unwrap()[lasting.lane].borrow();
    assert!(synced.upto >= written && !synced.failed, "{synced:?} of {written} writes");
}

#[test]
fn a_small_spool_serves_more_users_than_it_can_remember_leases_of() {
    let disk = Disk::new();
    let (spool, _) = disk.open(SMALL);
    for n in 0..20_000 {
        let ticket = spool.open_request(&Opening { lease: Some(lease(n)), ..opening(n) }).unwrap().unwrap();
        spool.end(Some(&ticket), row(n), 500).unwrap();
        if n % 100 == 0 {
            drain(&spool, 500);
        }
    }
    let (_, recovered) = disk.killed().open(SMALL);
    let newest = (19_900..20_000).all(|n| recovered[0].leases.get(&lease(n)) == Some(&1));
    assert!(newest, "the leases used last are known: {} of them", recovered[0].leases.len());
}

#[test]
fn the_status_says_what_waits_and_who_holds_it() {
    let disk = Disk::new();
    assert!(status(&disk.root()).unwrap().folders.is_empty());
    let (spool, _) = disk.open(SMALL);
    serve(&spool, 0, 3);
    spool.open_request(&opening(3)).unwrap();
    let found = status(&disk.root()).unwrap().folders.remove(0);
    assert_eq!((found.held, found.waiting, found.open, found.damaged), (true, 3, 1, 0));
    assert_eq!(found.oldest, Some(opening(3).created_at));
    let taken = spool.take(500);
    spool.stored(taken);
    spool.flush();
    assert_eq!(status(&disk.root()).unwrap().folders[0].waiting, 0);
    drop(spool);
    let found = status(&disk.root()).unwrap().folders.remove(0);
    assert_eq!((found.held, found.open), (false, 1));
}
