use super::*;
use crate::ledger::spool::read_back;
use crate::ledger::spool::testing::{NOON, opening, row};
use crate::units::EdgeId;

struct Desk {
    lane: Lane,
    home: Arc<Home>,
    folder: tempfile::TempDir,
}

impl Desk {
    /// Segments of 16 KiB, which hold some sixty requests, and no more than `size` bytes of them.
    fn new(size: u64, capacity: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let edge = EdgeId(uuid::Uuid::from_u128(1));
        let home = Arc::new(Home::new(folder.path().to_owned(), edge, 1, size, 0, 8, false));
        assert_eq!(home.segment, 16 << 10);
        let mut lane = Lane::new(Arc::clone(&home), 0, Tally::default(), capacity);
        lane.begin(NOON).unwrap();
        Self { lane, home, folder }
    }

    fn serve(&mut self, from: u64, to: u64) {
        for n in from..to {
            let slot = self.lane.open(&opening(n)).unwrap();
            self.lane.end(Some(slot), row(n), &[None; 2], 500);
        }
    }

    /// Takes all rows in memory and says that they are stored.
    fn store(&mut self) -> usize {
        let mut rows = Vec::new();
        let done = self.lane.take(0, usize::MAX, &mut rows);
        let gone = done.map(|done| self.lane.stored(&done)).unwrap_or_default();
        gone.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        rows.len()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path()).unwrap().count()
    }
}

#[test]
fn segments_go_once_their_rows_are_stored_and_not_before() {
    let mut desk = Desk::new(1 << 20, 10_000);
    desk.serve(0, 300);
    assert!(desk.files() > 3, "{} segments", desk.files());
    let all = desk.files();
    assert_eq!(desk.lane.garbage(), Vec::<PathBuf>::new());
    assert_eq!(desk.files(), all);
    assert_eq!(desk.store(), 300);
    assert_eq!(desk.files(), 1, "the one being written");
    assert_eq!(desk.home.bytes(), desk.home.segment);
    assert_eq!((desk.lane.waiting(), desk.lane.open_requests()), (0, 0));
}

#[test]
fn one_long_stream_does_not_keep_segments() {
    let mut desk = Desk::new(1 << 20, 10_000);
    let slot = desk.lane.open(&opening(9_999)).unwrap();
    for round in 0..20 {
        desk.serve(round * 100, (round + 1) * 100);
        desk.store();
        while desk.lane.carry(4) {}
        for path in desk.lane.garbage() {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert!(desk.files() <= 4, "{} segments after 2,000 requests", desk.files());
    desk.lane.flush().unwrap();
    let opens = crate::ledger::spool::scan::scan(desk.folder.path()).unwrap().unfinished;
    assert_eq!(opens, [opening(9_999)], "it is still known to be under way");
    desk.lane.end(Some(slot), row(9_999), &[None; 2], 500);
    desk.serve(5_000, 5_200);
    desk.store();
    assert_eq!(desk.files(), 1);
}

#[test]
fn a_full_spool_lets_nobody_in_and_everybody_out() {
    let mut desk = Desk::new(64 << 10, 10_000);
    let mut open = Vec::new();
    let refused = loop {
        match desk.lane.open(&opening(open.len() as u64)) {
            Ok(slot) => open.push(slot),
            Err(problem) => break problem,
        }
    };
    assert!(matches!(refused, NoRoom::Cap));
    let bytes = desk.home.bytes();
    assert!(((48 << 10)..=(64 << 10)).contains(&bytes), "as much as it may, and not a byte more: {bytes}");
    for (n, slot) in open.iter().enumerate() {
        assert!(matches!(desk.lane.end(Some(*slot), row(n as u64), &[None; 2], 500), Kept::Queued { .. }));
    }
    desk.lane.flush().unwrap();
    assert!(desk.home.bytes() <= 64 << 10, "the room of their ENDs was reserved");
    assert_eq!(desk.store(), open.len());
    assert!(desk.lane.open(&opening(9_000)).is_ok(), "there is room again");
}

#[test]
fn beyond_what_memory_holds_rows_are_read_back_in_their_order() {
    let mut desk = Desk::new(1 << 20, 100);
    desk.serve(0, 450);
    assert_eq!(desk.lane.waiting(), 450);
    let mut rows = Vec::new();
    let done = desk.lane.take(0, usize::MAX, &mut rows).unwrap();
    assert_eq!(done.rows, 100);
    desk.lane.stored(&done);
    desk.serve(450, 460); // still behind what is on disk
    while let Some(window) = desk.lane.window() {
        let before = rows.len();
        let read = read_back::rows(&window.path, window.from.offset, window.to, before + 7, &mut rows).unwrap();
        let upto = Position { offset: read.to, ..window.from };
        desk.lane.was_read(upto, None);
        if rows.len() > before {
            desk.lane.stored(&Done { lane: 0, rows: rows.len() - before, upto: Some(upto) });
        }
    }
    let expected: Vec<_> = (0..460).map(row).collect();
    assert_eq!(rows, expected);
    assert_eq!(desk.lane.waiting(), 0);
    assert!(matches!(desk.lane.end(None, row(500), &[None; 2], 500), Kept::Queued { .. }), "memory takes rows again");
}

#[test]
fn rows_that_the_spool_has_no_room_for_stay_in_memory() {
    let mut desk = Desk::new(16 << 10, 10);
    let mut ended = 0;
    while desk.lane.end(None, row(ended), &[None; 2], 500) != Kept::Lost {
        ended += 1;
        assert!(ended < 10_000, "neither disk nor memory is without end");
    }
    assert!(ended > 10);
}
