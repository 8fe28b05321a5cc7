//! How many requests were let in on each lease, as far as a restart may have to know.
//!
//! The counts outlive the segments they were taken from: each new segment has them at its head. Only leases of today
//! and yesterday matter, and of those the ones used last: a living edge reports what it used of a lease within seconds,
//! so that one which thousands of others have followed is known to the store.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use uuid::Uuid;

use crate::ledger::record::{Leases, Opening};
use crate::units::{Day, LeaseId, Timestamp};

/// Leases that one segment's head remembers at the most.
const MOST: u64 = 16_384;
/// Lease, count, time of the last.
const ENTRY: usize = 16 + 4 + 8;

/// OPENs by lease, without those whose END gave the place back.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tally(HashMap<LeaseId, Count, BuildHasherDefault<OwnBits>>);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Count {
    opens: u32,
    last: Timestamp,
}

/// A lease's id is random: its own bits are hash enough.
#[derive(Debug, Default)]
pub(super) struct OwnBits(u64);

impl Hasher for OwnBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(5) ^ u64::from_le_bytes(word);
        }
    }
}

impl Tally {
    /// Counts one OPEN under each of its leases.
    pub fn count(&mut self, opening: &Opening) {
        for lease in opening.lease.iter().chain(&opening.key_lease) {
            let count = self.0.entry(*lease).or_insert(Count { opens: 0, last: opening.created_at });
            count.opens = count.opens.saturating_add(1);
            count.last = count.last.max(opening.created_at);
        }
    }

    /// Takes back one OPEN under each of its leases: its places are free, and whoever has them next is counted by an
    /// OPEN of its own.
    pub fn uncount(&mut self, given_back: &Leases) {
        for lease in given_back.iter().flatten() {
            if let Some(count) = self.0.get_mut(lease) {
                count.opens = count.opens.saturating_sub(1);
            }
        }
    }

    /// How many leases the head of a segment of this many bytes may remember: a quarter of it, so that there is room for
    /// requests behind them however small it is. What is forgotten is counted after a death as it was last reported.
    pub fn most_in(segment: u64) -> usize {
        usize::try_from(MOST.min(segment / 4 / ENTRY as u64)).unwrap_or_default()
    }

    /// Forgets what no restart will ask for at `now`, and all but the `most` leases used last.
    pub fn prune(&mut self, now: Timestamp, most: usize) {
        let yesterday = Day(now.day().0 - 1);
        self.0.retain(|_, count| count.last.day() >= yesterday);
        if self.0.len() > most {
            let mut last: Vec<_> = self.0.values().map(|count| count.last).collect();
            let (_, oldest_kept, _) = last.select_nth_unstable_by(most, |one, other| other.cmp(one));
            let oldest_kept = *oldest_kept;
            self.0.retain(|_, count| count.last > oldest_kept);
        }
    }

    /// The larger count of each lease: two accounts of the same OPENs, one of which may have gaps.
    pub fn at_least(&mut self, other: &Tally) {
        for (lease, theirs) in &other.0 {
            let count = self.0.entry(*lease).or_insert(*theirs);
            count.opens = count.opens.max(theirs.opens);
            count.last = count.last.max(theirs.last);
        }
    }

    /// Both together: accounts of different OPENs.
    pub fn add(&mut self, other: &Tally) {
        for (lease, theirs) in &other.0 {
            let count = self.0.entry(*lease).or_insert(Count { opens: 0, last: theirs.last });
            count.opens = count.opens.saturating_add(theirs.opens);
            count.last = count.last.max(theirs.last);
        }
    }

    pub fn into_counts(self) -> HashMap<LeaseId, u32> {
        self.0.into_iter().map(|(lease, count)| (lease, count.opens)).collect()
    }

    pub fn encoded_len(&self) -> usize {
        4 + self.0.len() * ENTRY
    }

    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (lease, count) in &self.0 {
            bytes.extend_from_slice(lease.0.as_bytes());
            bytes.extend_from_slice(&count.opens.to_le_bytes());
            bytes.extend_from_slice(&count.last.0.to_le_bytes());
        }
    }

    /// A tally and what stands behind it.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (entries, rest) = rest.split_at_checked(length.checked_mul(ENTRY)?)?;
        let mut tally = Self::default();
        for entry in entries.chunks_exact(ENTRY) {
            let (lease, entry) = entry.split_first_chunk::<16>()?;
            let (opens, entry) = entry.split_first_chunk::<4>()?;
            let last = Timestamp(i64::from_le_bytes(*entry.first_chunk::<8>()?));
            tally.0.insert(LeaseId(Uuid::from_bytes(*lease)), Count { opens: u32::from_le_bytes(*opens), last });
        }
        Some((tally, rest))
    }
}
