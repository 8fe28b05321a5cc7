//! Records as bytes: compact, little-endian, each behind its length and a CRC32 over length and body.
//!
//! A record is known whole by its checksum alone, so a reader needs nothing but the bytes: what does not check out is
//! where the writer died, or where the disk lied. CRC32 finds every flip of a single bit.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::ledger::record::{Leases, Opening, Row, Status};
use crate::units::{KeyId, LeaseId, NanoUsd, RequestId, Stage, StageSource, Timestamp, Usage, UserId};

/// Length and checksum, 4 bytes each.
pub(super) const FRAME: usize = 8;
/// No record comes near it: the longest text in one is a header line. A longer length is a damaged one.
const LONGEST: usize = 1 << 20;

const OPEN: u8 = 1;
const END: u8 = 2;
const MARK: u8 = 3;

/// What one record says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    /// A request was admitted. `carried`: said before, in a segment that is gone by now.
    Open { opening: Opening, carried: bool },
    /// A request ended, as `row` says. It needs no OPEN to be understood. `given_back`: its places, where it did not
    /// happen and others may have them.
    End { row: Row, given_back: Leases },
    /// Every END of this lane that stands before this place is in the store.
    Mark(Position),
}

/// A place in a lane: the segment's number and a byte in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Position {
    pub segment: u64,
    pub offset: u32,
}

/// What stands at the beginning of some bytes.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A whole record's body, and how many bytes it takes with its frame.
    Body(&'a [u8], usize),
    /// Not all of it is there: at least this many bytes more are wanted.
    Short(usize),
    Damaged,
}

/// Appends an OPEN.
pub(super) fn open(buffer: &mut Vec<u8>, opening: &Opening, carried: bool) {
    framed(buffer, OPEN, |body| {
        let (lease, key_lease) = (opening.lease.is_some(), opening.key_lease.is_some());
        put_flags(body, &[opening.stream, carried, opening.session_id.is_some(), lease, key_lease]);
        body.extend_from_slice(opening.request.0.as_bytes());
        body.extend_from_slice(&opening.created_at.0.to_le_bytes());
        body.extend_from_slice(opening.user.0.as_bytes());
        body.extend_from_slice(opening.key.0.as_bytes());
        for lease in opening.lease.iter().chain(&opening.key_lease) {
            body.extend_from_slice(lease.0.as_bytes());
        }
        body.extend_from_slice(&[stage_code(Some(opening.stage)), source_code(Some(opening.source))]);
        put_number(body, opening.body_bytes);
        put_text(body, &opening.model);
        if let Some(session) = &opening.session_id {
            put_text(body, session);
        }
    });
}

/// Appends an END.
pub(super) fn end(buffer: &mut Vec<u8>, row: &Row, given_back: &Leases) {
    framed(buffer, END, |body| {
        put_flags(
            body,
            &[
                row.stream,
                row.estimated,
                row.session_id.is_some(),
                row.model.is_some(),
                row.usage.is_some(),
                row.first_token.is_some(),
                row.error.is_some(),
                given_back.iter().any(Option::is_some),
            ],
        );
        body.extend_from_slice(row.request.0.as_bytes());
        body.extend_from_slice(&row.created_at.0.to_le_bytes());
        body.extend_from_slice(row.user.0.as_bytes());
        body.extend_from_slice(row.key.0.as_bytes());
        body.extend_from_slice(&[stage_code(row.stage), source_code(row.source), status_code(row.status)]);
        body.extend_from_slice(&row.http_status.to_le_bytes());
        body.push(row.attempts);
        body.extend_from_slice(&row.cost.0.to_le_bytes());
        put_number(body, row.body_bytes);
        put_duration(body, row.latency);
        if let Some(first_token) = row.first_token {
            put_duration(body, first_token);
        }
        if let Some(usage) = &row.usage {
            let parts = [usage.input, usage.cached_input, usage.cache_write, usage.output, usage.reasoning];
            parts.into_iter().for_each(|part| put_number(body, part));
        }
        for text in [row.model.as_deref(), row.session_id.as_deref(), row.error.as_deref()].into_iter().flatten() {
            put_text(body, text);
        }
        if given_back.iter().any(Option::is_some) {
            put_flags(body, &given_back.map(|lease| lease.is_some()));
            given_back.iter().flatten().for_each(|lease| body.extend_from_slice(lease.0.as_bytes()));
        }
    });
}

/// Appends a MARK.
pub(super) fn mark(buffer: &mut Vec<u8>, stored: Position) {
    framed(buffer, MARK, |body| {
        body.extend_from_slice(&stored.segment.to_le_bytes());
        body.extend_from_slice(&stored.offset.to_le_bytes());
    });
}

/// The record at the beginning of `bytes`, known whole but not yet read.
pub(super) fn find(bytes: &[u8]) -> Found<'_> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Found::Short(FRAME - bytes.len()) };
    let Ok(size) = usize::try_from(u32::from_le_bytes(*length)) else { return Found::Damaged };
    if size == 0 || size > LONGEST {
        return Found::Damaged;
    }
    let whole = FRAME + size;
    let Some(body) = bytes.get(FRAME..whole) else { return Found::Short(whole - bytes.len()) };
    let Some(checksum) = rest.first_chunk::<4>() else { return Found::Damaged };
    if checksum_of(length, body) == u32::from_le_bytes(*checksum) { Found::Body(body, whole) } else { Found::Damaged }
}

/// Reads a record's body. None: the checksum held, but this version does not know such a record.
pub(super) fn read(body: &[u8]) -> Option<Record> {
    let (kind, body) = body.split_first()?;
    let mut bytes = Bytes(body);
    let record = match *kind {
        OPEN => read_open(&mut bytes)?,
        END => read_end(&mut bytes)?,
        MARK => Record::Mark(Position { segment: bytes.fixed().map(u64::from_le_bytes)?, offset: bytes.length()? }),
        _ => return None,
    };
    bytes.0.is_empty().then_some(record)
}

fn read_open(bytes: &mut Bytes<'_>) -> Option<Record> {
    let [stream, carried, has_session, has_lease, has_key_lease, ..] = bytes.flags()?;
    let opening = Opening {
        request: RequestId(bytes.uuid()?),
        created_at: bytes.timestamp()?,
        user: UserId(bytes.uuid()?),
        key: KeyId(bytes.uuid()?),
        lease: bytes.given(has_lease, |bytes| bytes.uuid().map(LeaseId))?,
        key_lease: bytes.given(has_key_lease, |bytes| bytes.uuid().map(LeaseId))?,
        stage: bytes.stage()??,
        source: bytes.source()??,
        body_bytes: bytes.number()?,
        model: Arc::from(bytes.text()?),
        session_id: bytes.given(has_session, |bytes| bytes.text().map(str::to_owned))?,
        stream,
    };
    Some(Record::Open { opening, carried })
}

fn read_end(bytes: &mut Bytes<'_>) -> Option<Record> {
    let [stream, estimated, has_session, has_model, has_usage, has_first_token, has_error, gives_back] =
        bytes.flags()?;
    let row = Row {
        request: RequestId(bytes.uuid()?),
        created_at: bytes.timestamp()?,
        user: UserId(bytes.uuid()?),
        key: KeyId(bytes.uuid()?),
        stage: bytes.stage()?,
        source: bytes.source()?,
        status: bytes.status()?,
        http_status: bytes.fixed().map(u16::from_le_bytes)?,
        attempts: bytes.byte()?,
        cost: NanoUsd(bytes.fixed().map(i64::from_le_bytes)?),
        body_bytes: bytes.number()?,
        latency: bytes.duration()?,
        first_token: bytes.given(has_first_token, Bytes::duration)?,
        usage: bytes.given(has_usage, |bytes| {
            Some(Usage {
                input: bytes.number()?,
                cached_input: bytes.number()?,
                cache_write: bytes.number()?,
                output: bytes.number()?,
                reasoning: bytes.number()?,
            })
        })?,
        model: bytes.given(has_model, |bytes| bytes.text().map(Arc::from))?,
        session_id: bytes.given(has_session, |bytes| bytes.text().map(str::to_owned))?,
        error: bytes.given(has_error, |bytes| bytes.text().map(str::to_owned))?,
        stream,
        estimated,
    };
    let [of_user, of_key, ..] = bytes.given(gives_back, Bytes::flags)?.unwrap_or_default();
    let mut lease = |has| bytes.given(has, |bytes| bytes.uuid().map(LeaseId));
    let given_back = [lease(of_user)?, lease(of_key)?];
    Some(Record::End { row, given_back })
}

/// Appends length, checksum, kind and what `fill` writes.
fn framed(buffer: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; FRAME]);
    buffer.push(kind);
    fill(buffer);
    let (frame, body) = buffer.split_at_mut(start + FRAME);
    // A body is the sum of a few header lines: its length fits.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = checksum_of(&length, body).to_le_bytes();
    frame[start..start + 4].copy_from_slice(&length);
    frame[start + 4..].copy_from_slice(&checksum);
}

fn checksum_of(length: &[u8; 4], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length);
    hasher.update(body);
    hasher.finalize()
}

fn put_flags(body: &mut Vec<u8>, flags: &[bool]) {
    body.push(flags.iter().rev().fold(0, |byte, flag| byte << 1 | u8::from(*flag)));
}

/// Seven bits a byte, lowest first: most counts fit in two.
fn put_number(body: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        body.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    body.push((value & 0x7f) as u8);
}

/// In nanoseconds, for 584 years.
fn put_duration(body: &mut Vec<u8>, duration: Duration) {
    put_number(body, u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    put_number(body, text.len() as u64);
    body.extend_from_slice(text.as_bytes());
}

const STAGES: [Option<Stage>; 5] =
    [None, Some(Stage::Plan), Some(Stage::Code), Some(Stage::Review), Some(Stage::Direct)];
const SOURCES: [Option<StageSource>; 5] = [
    None,
    Some(StageSource::Header),
    Some(StageSource::Model),
    Some(StageSource::Inferred),
    Some(StageSource::Default),
];
const STATUSES: [Status; 4] = [Status::Success, Status::Error, Status::RateLimited, Status::Cancelled];

fn stage_code(stage: Option<Stage>) -> u8 {
    match stage {
        None => 0,
        Some(Stage::Plan) => 1,
        Some(Stage::Code) => 2,
        Some(Stage::Review) => 3,
        Some(Stage::Direct) => 4,
    }
}

fn source_code(source: Option<StageSource>) -> u8 {
    match source {
        None => 0,
        Some(StageSource::Header) => 1,
        Some(StageSource::Model) => 2,
        Some(StageSource::Inferred) => 3,
        Some(StageSource::Default) => 4,
    }
}

fn status_code(status: Status) -> u8 {
    match status {
        Status::Success => 0,
        Status::Error => 1,
        Status::RateLimited => 2,
        Status::Cancelled => 3,
    }
}

/// What is left to read of a body. Every reader yields None where the bytes run out or make no sense.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    fn flags(&mut self) -> Option<[bool; 8]> {
        let byte = self.byte()?;
        Some(std::array::from_fn(|bit| byte >> bit & 1 == 1))
    }

    fn uuid(&mut self) -> Option<Uuid> {
        self.fixed().map(Uuid::from_bytes)
    }

    fn timestamp(&mut self) -> Option<Timestamp> {
        self.fixed().map(|bytes| Timestamp(i64::from_le_bytes(bytes)))
    }

    fn length(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_le_bytes)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn duration(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_nanos)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn stage(&mut self) -> Option<Option<Stage>> {
        STAGES.get(usize::from(self.byte()?)).copied()
    }

    fn source(&mut self) -> Option<Option<StageSource>> {
        SOURCES.get(usize::from(self.byte()?)).copied()
    }

    fn status(&mut self) -> Option<Status> {
        STATUSES.get(usize::from(self.byte()?)).copied()
    }

    /// A value that is there only where its flag says so.
    fn given<T>(&mut self, there: bool, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if there { read(self).map(Some) } else { Some(None) }
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
