//! The account of every request: one row for each admitted one, written in batches behind it.
//!
//! Owns: what a row says and that it is written; the port [`LedgerStore`].
//! Must not know: HTTP, SQL, how a request was answered beyond what the row tells.

mod record;
mod refusals;
mod writer;

pub use record::{Closing, Entry, Opening, Refused, Row, Status};
pub use writer::{AppendError, Counts, Ledger, LedgerSettings, LedgerStore, Unwritten};
