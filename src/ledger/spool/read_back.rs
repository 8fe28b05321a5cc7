//! Rows back from a segment, a stretch at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::codec::{self, Found, Record};
use crate::ledger::record::Row;

/// Bytes looked at in one go; more only where one record is longer.
const STRETCH: usize = 256 << 10;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Everything before this byte was read.
    pub to: u32,
    /// Whether what follows is no record, though it should be: the disk lost it after it was written.
    pub damaged: bool,
}

/// Appends the rows of the ENDs between the bytes `from` and `to` of a segment to `rows`, until it has `most`.
pub(super) fn rows(path: &Path, from: u32, to: u32, most: usize, rows: &mut Vec<Row>) -> io::Result<Stretch> {
    let file = File::open(path)?;
    let mut at = from;
    let mut wanted = STRETCH;
    let mut bytes = Vec::new();
    while at < to && rows.len() < most {
        bytes.resize(wanted.min((to - at) as usize), 0);
        file.read_exact_at(&mut bytes, u64::from(at))?;
        let mut rest = bytes.as_slice();
        while rows.len() < most && !rest.is_empty() {
            let (body, length) = match codec::find(rest) {
                Found::Body(body, length) => (body, length),
                Found::Short(missing) if rest.len() + missing <= (to - at) as usize => {
                    wanted = STRETCH.max(rest.len() + missing);
                    break;
                }
                Found::Short(_) | Found::Damaged => return Ok(Stretch { to: at, damaged: true }),
            };
            match codec::read(body) {
                Some(Record::End { row, .. }) => rows.push(row),
                Some(_) => {}
                None => return Ok(Stretch { to: at, damaged: true }),
            }
            at = at.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
            rest = rest.get(length..).unwrap_or_default();
        }
    }
    Ok(Stretch { to: at, damaged: false })
}
