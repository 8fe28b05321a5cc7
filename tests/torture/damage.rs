//! A disk that lies: the newest segment loses its last bytes, or one bit of them.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::PATIENCE;
use crate::chance::Chance;
use crate::harness::cfx;

/// Asks `cfx ledger status`, beside the running edge, until every request that was let in has its END.
pub fn wait_until_nothing_is_open(data: &Path) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = status(data);
        let edges = found["edges"].as_array().cloned().unwrap_or_default();
        if !edges.is_empty() && edges.iter().all(|edge| edge["open"] == 0) {
            assert!(edges.iter().any(|edge| edge["in_use"] == true), "the edge is alive: {found}");
            return;
        }
        assert!(Instant::now() < deadline, "requests without an end: {found}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How many ends of segments the quarantine holds.
pub fn cuts_kept(data: &Path) -> usize {
    usize::try_from(status(data)["quarantine"]["cuts"].as_u64().expect("a number")).expect("a small number")
}

/// In the last sixteen bytes: every record is longer than that, so that the last one is hit and no other.
pub fn harm_the_newest_segment(data: &Path, chance: &mut Chance) {
    let path = newest_segment(data);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("a segment");
    let length = file.metadata().expect("a segment").len();
    if chance.below(2) == 0 {
        file.set_len(length - 1 - chance.below(16)).expect("a segment can be cut");
    } else {
        let at = length - 1 - chance.below(16);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("a segment can be read");
        file.write_all_at(&[byte[0] ^ (1 << chance.below(8))], at).expect("a segment can be written");
    }
}

/// The one that was written last. A lane's first may be nothing but a header still; its lane has not seen a request.
fn newest_segment(data: &Path) -> PathBuf {
    let folders = std::fs::read_dir(data.join("spool")).expect("a spool").flatten().map(|entry| entry.path());
    let files = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flat_map(|files| files.flatten());
    let segments = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "spool"));
    let newest = segments.max_by_key(|path| path.metadata().and_then(|found| found.modified()).ok());
    newest.expect("a segment")
}

fn status(data: &Path) -> Value {
    let output = cfx().args(["ledger", "status", "--json", "--data"]).arg(data).output().expect("cfx starts");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("`cfx ledger status`: {error}: {}", String::from_utf8_lossy(&output.stderr));
    })
}
