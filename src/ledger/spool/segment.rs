//! One file of the spool: a header, then records one behind the other.
//!
//! The first sixteen bytes are the same in every version of the format (magic, version, their checksum), so that a
//! file of another version is told from a damaged one. The room of a segment is asked of the file system when it is
//! made: a disk that fills up later does not keep a request that was let in from being written down at its end.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FallocateFlags;
use uuid::Uuid;

use super::codec::{self, Found, Record};
use super::tally::Tally;
use crate::units::EdgeId;

const MAGIC: &[u8; 8] = b"cfxspool";
/// Raised with every change of the header or of a record.
pub(super) const VERSION: u16 = 2;
/// Magic, version, two bytes of nothing, checksum.
const PREFIX: usize = 16;
/// Edge, generation, lane, number, size of the tally.
const FIXED: usize = 16 + 4 + 2 + 8 + 4;

/// Whose segment it is, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub edge: EdgeId,
    /// One more with every start of the edge.
    pub generation: u32,
    pub lane: u16,
    /// Counted from 1 in each lane of a generation.
    pub number: u64,
}

/// A segment's head as read.
#[derive(Debug)]
pub(super) struct Header {
    pub name: Name,
    /// Of the OPENs before this segment.
    pub tally: Tally,
    /// Bytes of the header: where the first record begins.
    pub length: u32,
}

/// Why a file has no header that can be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderProblem {
    Version(u16),
    Damaged,
}

/// The records of a segment, in order, up to its end or to where it is damaged.
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    offset: usize,
    damaged: bool,
}

impl Name {
    /// Sorts by generation, lane and number.
    pub fn file_name(&self) -> String {
        format!("{:06}-{:02}-{:010}.spool", self.generation, self.lane, self.number)
    }
}

/// Makes a segment's file with its header, and sets `size` bytes of the disk aside for it. Gives the file and the
/// length of its header. A file that could not be made whole is taken away again.
pub(super) fn create(path: &Path, name: &Name, tally: &Tally, size: u64) -> io::Result<(File, u32)> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    let header = header(name, tally);
    let whole = set_aside(&file, size).and_then(|()| file.write_all_at(&header, 0));
    match whole {
        Ok(()) => Ok((file, u32::try_from(header.len()).unwrap_or(u32::MAX))),
        Err(error) => {
            let _ = std::fs::remove_file(path);
            Err(error)
        }
    }
}

/// File systems that know no such thing are taken as they are.
fn set_aside(file: &File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Err(rustix::io::Errno::NOSPC) => Err(rustix::io::Errno::NOSPC.into()),
        Err(rustix::io::Errno::DQUOT) => Err(rustix::io::Errno::DQUOT.into()),
        _ => Ok(()),
    }
}

fn header(name: &Name, tally: &Tally) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PREFIX + FIXED + tally.encoded_len() + 4);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(name.edge.0.as_bytes());
    bytes.extend_from_slice(&name.generation.to_le_bytes());
    bytes.extend_from_slice(&name.lane.to_le_bytes());
    bytes.extend_from_slice(&name.number.to_le_bytes());
    tally.encode(&mut bytes);
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads the header at the beginning of a segment's bytes.
pub(super) fn read_header(bytes: &[u8]) -> Result<Header, HeaderProblem> {
    let (prefix, rest) = bytes.split_at_checked(PREFIX).ok_or(HeaderProblem::Damaged)?;
    let (said, checksum) = prefix.split_at(PREFIX - 4);
    if !said.starts_with(MAGIC) || crc32fast::hash(said).to_le_bytes() != checksum {
        return Err(HeaderProblem::Damaged);
    }
    let version = u16::from_le_bytes([said[8], said[9]]);
    if version != VERSION {
        return Err(HeaderProblem::Version(version));
    }
    read_rest(bytes, rest).ok_or(HeaderProblem::Damaged)
}

fn read_rest(bytes: &[u8], rest: &[u8]) -> Option<Header> {
    let (edge, rest) = rest.split_first_chunk::<16>()?;
    let (generation, rest) = rest.split_first_chunk::<4>()?;
    let (lane, rest) = rest.split_first_chunk::<2>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (tally, rest) = Tally::decode(rest)?;
    let checksum = rest.first_chunk::<4>()?;
    let length = bytes.len() - rest.len() + 4;
    if crc32fast::hash(&bytes[..length - 4]).to_le_bytes() != *checksum {
        return None;
    }
    let name = Name {
        edge: EdgeId(Uuid::from_bytes(*edge)),
        generation: u32::from_le_bytes(*generation),
        lane: u16::from_le_bytes(*lane),
        number: u64::from_le_bytes(*number),
    };
    Some(Header { name, tally, length: u32::try_from(length).ok()? })
}

impl<'a> Records<'a> {
    /// The records of `bytes` from `offset` on.
    pub fn new(bytes: &'a [u8], offset: u32) -> Self {
        Self { bytes, offset: offset as usize, damaged: false }
    }

    /// Where the good records end.
    pub fn offset(&self) -> u32 {
        u32::try_from(self.offset).unwrap_or(u32::MAX)
    }

    /// Whether what stands behind the last record is none. Holds once the iterator has ended.
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }
}

impl Iterator for Records<'_> {
    /// A record and where it ends.
    type Item = (Record, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.offset..).filter(|rest| !rest.is_empty())?;
        if let Found::Body(body, length) = codec::find(rest)
            && let Some(record) = codec::read(body)
        {
            self.offset += length;
            return Some((record, self.offset()));
        }
        self.damaged = true;
        None
    }
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
