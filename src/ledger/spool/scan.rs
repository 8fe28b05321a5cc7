//! What an edge's folder says: read whole, once, when its process is dead, or to look at it while it lives.
//!
//! Memory: the requests that were under way, and a few bytes for each END that waits.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use super::codec::{Position, Record};
use super::folder::SpoolProblem;
use super::segment::{self, HeaderProblem, Records, VERSION};
use super::tally::Tally;
use crate::ledger::record::Opening;
use crate::units::{RequestId, Timestamp};

/// All that was found.
#[derive(Debug)]
pub(super) struct Scan {
    pub segments: VecDeque<Remaining>,
    /// Requests that were let in and have no END.
    pub unfinished: Vec<Opening>,
    /// Requests by lease, of segments that are gone too.
    pub tally: Tally,
    /// The newest time in any record.
    pub last: Timestamp,
    /// Since when the oldest row waits; of a request without END, when it began.
    pub oldest: Option<Timestamp>,
    /// The highest of any segment; 0 where there is none.
    pub generation: u32,
    pub damages: Vec<Damage>,
    /// Files that were made and never written to.
    pub empty: Vec<PathBuf>,
    /// Of all files.
    pub bytes: u64,
}

/// A segment of a dead process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remaining {
    pub path: PathBuf,
    /// The first byte that may belong to an END which is not stored.
    pub from: u32,
    /// Where its good records end.
    pub to: u32,
    /// ENDs between the two.
    pub ends: usize,
}

/// Bytes that are no records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub path: PathBuf,
    /// Where the good ones end; 0 where not even the header is good.
    pub good: u32,
    pub lost: u64,
}

/// One lane of one generation: marks hold within it.
#[derive(Default)]
struct LaneScan {
    tally: Tally,
    stored: Position,
    /// ENDs that no mark has covered yet.
    waiting: VecDeque<(Position, Timestamp)>,
}

type Lanes = HashMap<(u32, u16), LaneScan>;

/// Reads every segment in `folder`.
pub(super) fn scan(folder: &Path) -> Result<Scan, SpoolProblem> {
    let paths = segments(folder).map_err(|error| SpoolProblem::at(folder, error))?;
    let mut scan = Scan::new();
    let mut lanes = Lanes::new();
    let mut open: HashMap<RequestId, Opening> = HashMap::new();
    let mut places = Vec::new();
    for path in paths {
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // its process is alive
            read => read.map_err(|error| SpoolProblem::at(&path, error))?,
        };
        if bytes.is_empty() {
            scan.empty.push(path);
            continue;
        }
        scan.bytes += bytes.len() as u64;
        let header = match segment::read_header(&bytes) {
            Ok(header) => header,
            Err(HeaderProblem::Version(found)) => return Err(SpoolProblem::Version { path, found, known: VERSION }),
            Err(HeaderProblem::Damaged) => {
                scan.damages.push(Damage { path, good: 0, lost: bytes.len() as u64 });
                continue;
            }
        };
        let name = header.name;
        scan.generation = scan.generation.max(name.generation);
        let lane = lanes.entry((name.generation, name.lane)).or_default();
        lane.tally.at_least(&header.tally);
        let mut records = Records::new(&bytes, header.length);
        for (record, end) in records.by_ref() {
            scan.take(record, Position { segment: name.number, offset: end }, lane, &mut open);
        }
        let to = records.offset();
        if records.is_damaged() {
            scan.damages.push(Damage { path: path.clone(), good: to, lost: bytes.len() as u64 - u64::from(to) });
        }
        places.push((name, header.length));
        scan.segments.push_back(Remaining { path, from: header.length, to, ends: 0 });
    }
    for (segment, (name, first)) in scan.segments.iter_mut().zip(places) {
        let Some(lane) = lanes.get(&(name.generation, name.lane)) else { continue };
        let of_this = lane.waiting.iter().filter(|(place, _)| place.segment == name.number);
        segment.ends = of_this.count();
        segment.from = if lane.stored.segment == name.number { lane.stored.offset.max(first) } else { first };
    }
    let begun = lanes.values().filter_map(|lane| lane.waiting.front().map(|(_, began)| *began));
    scan.oldest = begun.chain(open.values().map(|opening| opening.created_at)).min();
    scan.tally = total(&lanes);
    scan.unfinished = open.into_values().collect();
    scan.unfinished.sort_by_key(|opening| (opening.created_at, opening.request));
    Ok(scan)
}

impl Scan {
    fn new() -> Self {
        Self {
            segments: VecDeque::new(),
            unfinished: Vec::new(),
            tally: Tally::default(),
            last: Timestamp(0),
            oldest: None,
            generation: 0,
            damages: Vec::new(),
            empty: Vec::new(),
            bytes: 0,
        }
    }

    fn take(&mut self, record: Record, at: Position, lane: &mut LaneScan, open: &mut HashMap<RequestId, Opening>) {
        match record {
            Record::Open { opening, carried } => {
                self.last = self.last.max(opening.created_at);
                if !carried {
                    lane.tally.count(&opening);
                }
                open.insert(opening.request, opening);
            }
            Record::End { row, given_back } => {
                lane.tally.uncount(&given_back);
                self.last = self.last.max(row.ended());
                lane.waiting.push_back((at, row.ended()));
                open.remove(&row.request);
            }
            Record::Mark(stored) => {
                lane.stored = lane.stored.max(stored);
                while lane.waiting.front().is_some_and(|(place, _)| *place <= stored) {
                    lane.waiting.pop_front();
                }
            }
        }
    }

    /// ENDs that wait, and OPENs without one.
    pub fn waiting(&self) -> usize {
        self.unfinished.len() + self.segments.iter().map(|segment| segment.ends).sum::<usize>()
    }
}

/// A generation begins with what all before it counted, so that each is an account of the same OPENs up to its end:
/// the fullest one holds.
fn total(lanes: &Lanes) -> Tally {
    let mut generations: HashMap<u32, Tally> = HashMap::new();
    for ((generation, _), lane) in lanes {
        generations.entry(*generation).or_default().add(&lane.tally);
    }
    let mut total = Tally::default();
    generations.values().for_each(|tally| total.at_least(tally));
    total
}

/// The segments in a folder, in the order in which they were written.
fn segments(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "spool") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
