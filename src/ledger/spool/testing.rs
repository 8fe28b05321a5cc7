//! What the spool's tests write down, and a data folder that can be killed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::{Recovered, Spool, SpoolSettings, Taken};
use crate::config::{Fsync, OnSpoolFull};
use crate::ledger::record::{Closing, Leases, Opening, Row, Status};
use crate::units::{KeyId, LeaseId, NanoUsd, RequestId, Stage, StageSource, Timestamp, Usage, UserId};

pub const NOON: Timestamp = Timestamp(1_769_860_800_000_000); // 2026-01-31T12:00:00Z

/// Small enough that a few dozen requests fill segments: with one lane they are of 128 KiB, with eight of 16 KiB.
pub const SMALL: SpoolSettings =
    SpoolSettings { size: 1 << 20, fsync: Fsync::Off, on_full: OnSpoolFull::Refuse, lanes: 8, capacity: 80_000 };
/// Whichever thread serves, what it writes is in the first segment.
pub const ONE_LANE: SpoolSettings = SpoolSettings { lanes: 1, ..SMALL };

/// The `n`th request, a millisecond after the one before it, on the `n % 7`th lease.
pub fn opening(n: u64) -> Opening {
    let created_at = Timestamp(NOON.0 + i64::try_from(n).unwrap() * 1_000);
    Opening {
        request: RequestId(Uuid::from_u128(u128::from(n) << 64 | 0xabcdef)),
        created_at,
        user: UserId(Uuid::from_u128(1)),
        key: KeyId(Uuid::from_u128(2)),
        lease: Some(lease(n % 7)),
        key_lease: None,
        session_id: Some(format!("session {n}")),
        stage: Stage::Code,
        source: StageSource::Header,
        model: Arc::from("deepseek"),
        stream: n.is_multiple_of(2),
        body_bytes: 2_048 + n,
    }
}

pub fn lease(n: u64) -> LeaseId {
    LeaseId(Uuid::from_u128(0x0001_ea5e_0000 + u128::from(n)))
}

pub fn closing() -> Closing {
    Closing {
        status: Status::Success,
        http_status: 200,
        usage: Some(Usage { input: 10, output: 5, ..Usage::default() }),
        estimated: false,
        cost: NanoUsd(1_234),
        latency: Duration::from_millis(900),
        first_token: Some(Duration::from_millis(150)),
        attempts: 1,
        model: Arc::from("deepseek"),
        error: None,
    }
}

/// The row of the `n`th request, ended well.
pub fn row(n: u64) -> Row {
    Row::of(opening(n), closing())
}

/// A data folder.
pub struct Disk(tempfile::TempDir);

impl Disk {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn root(&self) -> PathBuf {
        self.0.path().join("spool")
    }

    pub fn open(&self, settings: SpoolSettings) -> (Spool, Vec<Recovered>) {
        Spool::open(&self.root(), settings, NOON).unwrap()
    }

    /// What the disk held at this moment: what a process that dies now leaves behind.
    pub fn killed(&self) -> Disk {
        let copy = Disk::new();
        copy_tree(self.0.path(), copy.0.path());
        copy
    }

    /// The segments of all edges, in order.
    pub fn segments(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in std::fs::read_dir(self.root()).unwrap() {
            let files = std::fs::read_dir(folder.unwrap().path()).unwrap();
            found.extend(files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some()));
        }
        found.retain(|path| path.extension().is_some_and(|extension| extension == "spool"));
        found.sort();
        found
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            let _ = std::fs::copy(&path, &target); // may have been removed meanwhile, which is what a crash sees too
        }
    }
}

/// Takes everything that waits, as a store does that is there again.
pub fn drain(spool: &Spool, batch: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    loop {
        let mut taken: Taken = spool.take(batch);
        if taken.is_empty() {
            return rows;
        }
        rows.append(&mut taken.rows);
        spool.stored(taken);
    }
}

prop_compose! {
    pub fn any_opening()(
        ids in any::<[u128; 5]>(), time in any::<i64>(), leases in any::<[bool; 2]>(), stream in any::<bool>(),
        texts in (".{0,40}", proptest::option::of(".{0,300}")), stage in 0..4usize, source in 0..4usize,
        body_bytes in any::<u64>(),
    ) -> Opening {
        Opening {
            request: RequestId(Uuid::from_u128(ids[0])),
            created_at: Timestamp(time),
            user: UserId(Uuid::from_u128(ids[1])),
            key: KeyId(Uuid::from_u128(ids[2])),
            lease: leases[0].then(|| LeaseId(Uuid::from_u128(ids[3]))),
            key_lease: leases[1].then(|| LeaseId(Uuid::from_u128(ids[4]))),
            session_id: texts.1,
            stage: Stage::ALL[stage],
            source: SOURCES[source],
            model: Arc::from(texts.0),
            stream,
            body_bytes,
        }
    }
}

pub fn any_leases() -> impl Strategy<Value = Leases> {
    any::<[Option<u128>; 2]>().prop_map(|leases| leases.map(|lease| lease.map(|lease| LeaseId(Uuid::from_u128(lease)))))
}

const SOURCES: [StageSource; 4] =
    [StageSource::Header, StageSource::Model, StageSource::Inferred, StageSource::Default];

prop_compose! {
    pub fn any_row()(
        opening in any_opening(), known in any::<[bool; 5]>(), status in 0..4usize, http_status in any::<u16>(),
        tokens in any::<[u64; 5]>(), cost in any::<i64>(), times in any::<[u64; 2]>(), attempts in any::<u8>(),
        error in proptest::option::of(".{0,60}"),
    ) -> Row {
        let [input, cached_input, cache_write, output, reasoning] = tokens;
        let statuses = [Status::Success, Status::Error, Status::RateLimited, Status::Cancelled];
        Row {
            stage: known[0].then_some(opening.stage),
            source: known[1].then_some(opening.source),
            model: known[2].then(|| opening.model.clone()),
            status: statuses[status],
            http_status,
            usage: known[3].then_some(Usage { input, cached_input, cache_write, output, reasoning }),
            estimated: known[4],
            cost: NanoUsd(cost),
            latency: Duration::from_nanos(times[0]),
            first_token: known[4].then(|| Duration::from_nanos(times[1])),
            attempts,
            error,
            ..Row::of(opening, closing())
        }
    }
}
