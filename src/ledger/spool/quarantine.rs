//! What could not be used and must not be lost: torn ends of segments, and rows that the store refuses.
//!
//! `DATA/spool/quarantine/` is shared by all edges of a data folder. Rows hold what `request_logs` does and so neither
//! prompts nor answers.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::scan::Damage;
use crate::ledger::record::Row;
use crate::units::{StoreError, Timestamp};

const FOLDER: &str = "quarantine";
const ROWS: &str = "rows.jsonl";

#[derive(Debug, Clone)]
pub(super) struct Quarantine(PathBuf);

/// What lies in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quarantined {
    pub rows: usize,
    /// Ends of segments that were cut off.
    pub cuts: usize,
    pub bytes: u64,
}

impl Quarantine {
    pub fn under(root: &Path) -> Self {
        Self(root.join(FOLDER))
    }

    /// Cuts a segment behind its last good record, keeping what is cut off. Gives the file it is kept in.
    pub fn cut(&self, damage: &Damage) -> io::Result<PathBuf> {
        self.make()?;
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let edge = damage.path.parent().map(name).unwrap_or_default();
        let kept = self.0.join(format!("{edge}-{}.{}.cut", name(&damage.path), damage.good));
        if damage.good == 0 {
            std::fs::rename(&damage.path, &kept)?;
            return Ok(kept);
        }
        let mut file = OpenOptions::new().read(true).write(true).open(&damage.path)?;
        file.seek(SeekFrom::Start(u64::from(damage.good)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut copy = private().write(true).truncate(true).open(&kept)?;
        copy.write_all(&bytes)?;
        copy.sync_all()?; // before the only other one goes
        file.set_len(u64::from(damage.good))?;
        Ok(kept)
    }

    /// Keeps a row that the store does not take, as one line of JSON with its words.
    pub fn keep(&self, row: &Row, refusal: &StoreError, now: Timestamp) -> io::Result<PathBuf> {
        self.make()?;
        let path = self.0.join(ROWS);
        let mut line = line(row, refusal, now).to_string();
        line.push('\n');
        // One write, so that two processes do not mix their lines.
        private().append(true).open(&path)?.write_all(line.as_bytes())?;
        Ok(path)
    }

    pub fn contents(&self) -> io::Result<Quarantined> {
        let mut found = Quarantined::default();
        let entries = match std::fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            found.bytes += entry.metadata()?.len();
            if entry.file_name() == ROWS {
                let mut bytes = Vec::new();
                File::open(entry.path())?.read_to_end(&mut bytes)?;
                found.rows += bytes.iter().filter(|byte| **byte == b'\n').count();
            } else {
                found.cuts += 1;
            }
        }
        Ok(found)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

fn line(row: &Row, refusal: &StoreError, now: Timestamp) -> serde_json::Value {
    let milliseconds = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    json!({
        "refused_at": now.rfc3339_micros(),
        "refused_with": refusal.0,
        "request_id": row.request.0.to_string(),
        "created_at": row.created_at.rfc3339_micros(),
        "user_id": row.user.0.to_string(),
        "api_key_id": row.key.0.to_string(),
        "session_id": row.session_id,
        "stage": row.stage.map(|stage| stage.as_str()),
        "stage_source": row.source.map(|source| source.as_str()),
        "model": row.model.as_deref(),
        "stream": row.stream,
        "body_bytes": row.body_bytes,
        "status": row.status.as_str(),
        "http_status": row.http_status,
        "input_tokens": row.usage.map(|usage| usage.input),
        "cached_input_tokens": row.usage.map(|usage| usage.cached_input),
        "cache_write_tokens": row.usage.map(|usage| usage.cache_write),
        "output_tokens": row.usage.map(|usage| usage.output),
        "reasoning_tokens": row.usage.map(|usage| usage.reasoning),
        "estimated": row.estimated,
        "cost_nano_usd": row.cost.0,
        "latency_ms": milliseconds(row.latency),
        "ttft_ms": row.first_token.map(milliseconds),
        "attempts": row.attempts,
        "error_message": row.error,
    })
}
