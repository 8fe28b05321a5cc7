//! `ledger` in `cfx.yaml`.

use super::super::problem::Checked;
use super::super::snapshot::{Fsync, Ledger, OnSpoolFull, Spool};
use super::quantity;
use super::read::At;

/// What holds where the file is silent: a year that can be compared with the one before, and room for some three
/// million requests.
pub(super) const DEFAULTS: Ledger =
    Ledger { retention: 13, spool: Spool { size: 1 << 30, fsync: Fsync::Off, on_full: OnSpoolFull::Refuse } };

/// Less would be full of what is merely under way.
const SMALLEST: usize = 1 << 20;

pub(super) fn ledger(at: &At) -> Checked<Ledger> {
    let fields = at.fields(&["retention", "spool"])?;
    let retention = fields.or("retention", DEFAULTS.retention, |at| at.parsed("a number of months", quantity::months));
    let spool = fields.or("spool", DEFAULTS.spool, |at| spool(&at));
    Ok(Ledger { retention: retention?, spool: spool? })
}

fn spool(at: &At) -> Checked<Spool> {
    let fields = at.fields(&["size", "fsync", "on_full"])?;
    let size = fields.or("size", DEFAULTS.spool.size, |at| match at.parsed("a size", quantity::size)? {
        bytes if bytes < SMALLEST => Err(at.problem(format!("{bytes} bytes are too few, at least 1MiB is needed"))),
        bytes => Ok(bytes as u64),
    });
    let syncs = [("off", Fsync::Off), ("each", Fsync::Each)];
    let fsync = fields.or("fsync", DEFAULTS.spool.fsync, |at| at.one_of("way to sync", &syncs));
    let ways = [("refuse", OnSpoolFull::Refuse), ("drop", OnSpoolFull::Drop)];
    let on_full = fields.or("on_full", DEFAULTS.spool.on_full, |at| at.one_of("way when full", &ways));
    Ok(Spool { size: size?, fsync: fsync?, on_full: on_full? })
}
