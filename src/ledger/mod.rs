//! The account of every request: one row for each admitted one, written down before it goes upstream and in the store
//! behind it.
//!
//! Owns: what a row says, that it is written, and the folder `DATA/spool` that keeps it until the store has it; the
//! ports [`LedgerStore`], [`Reports`].
//! Must not know: HTTP, SQL, how a request was answered beyond what the row tells.

mod record;
mod refusals;
mod reports;
mod spool;
mod writer;

pub use record::{Closing, Entry, Opening, Refused, Row, Status};
pub use reports::{
    Cursor, DayUsage, Filter, LogRow, Overview, Pace, QUESTION_LIMIT, ReportStore, Reports, SESSION_OVER,
    SessionReports, Share, TOO_LONG, is_of_nobody, took_too_long,
};
pub use spool::{
    FolderStatus, Quarantined, Recovered, Spool, SpoolFull, SpoolProblem, SpoolSettings, SpoolStatus, status,
};
pub use writer::{AppendError, Counts, Ledger, LedgerSettings, LedgerStore, Unwritten};
