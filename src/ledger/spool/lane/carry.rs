//! Carrying OPENs forward: a stream that lasts for half an hour must not keep half an hour of segments.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::Lane;
use super::open_requests::Opened;
use crate::ledger::record::Opening;
use crate::ledger::spool::codec::{self, Found, Position, Record};

impl Lane {
    /// Writes up to `most` OPENs anew that alone keep the oldest segment. False when none is left, or none can be.
    ///
    /// Not before another segment was filled behind it: by then nearly every request of the oldest has ended.
    pub fn carry(&mut self, most: usize) -> bool {
        let (Some(oldest), 2..) = (self.sealed.front(), self.sealed.len()) else { return false };
        let number = oldest.number;
        if oldest.open == 0 || self.stored < (Position { segment: number, offset: oldest.last_end }) {
            return false;
        }
        let lasting = self.open.in_segment(number, most);
        let Ok(file) = File::open(&oldest.path) else { return false };
        for (slot, opened) in &lasting {
            let carried = match read(&file, opened) {
                Ok(Some(opening)) => self.write_anew(*slot, &opening),
                Ok(None) => {
                    // It cannot be read back after a crash either: to keep its segment would serve nobody.
                    tracing::error!(segment = %self.sealed[0].path.display(), "an OPEN of the spool is damaged");
                    self.open.moved(*slot, 0, 0, 0);
                    true
                }
                Err(_) => false,
            };
            if !carried {
                return false;
            }
            self.superseded.push(number);
        }
        self.flush().is_ok() && !lasting.is_empty()
    }

    fn write_anew(&mut self, slot: u32, opening: &Opening) -> bool {
        let mut start = self.buffer.len();
        codec::open(&mut self.buffer, opening, true);
        let length = self.buffer.len() - start;
        if !self.has_room(length, 0) {
            self.buffer.truncate(start);
            if self.rotate().is_err() {
                return false;
            }
            start = self.buffer.len();
            codec::open(&mut self.buffer, opening, true);
        }
        let place = self.place_of(start);
        if let Some(current) = &mut self.current {
            current.open += 1;
        }
        self.open.moved(slot, place.segment, place.offset, u32::try_from(length).unwrap_or(u32::MAX));
        true
    }
}

/// None: what stands there is no OPEN.
fn read(file: &File, opened: &Opened) -> io::Result<Option<Opening>> {
    let mut bytes = vec![0; opened.length as usize];
    file.read_exact_at(&mut bytes, u64::from(opened.offset))?;
    let Found::Body(body, _) = codec::find(&bytes) else { return Ok(None) };
    Ok(match codec::read(body) {
        Some(Record::Open { opening, .. }) => Some(opening),
        _ => None,
    })
}
