//! Logs and metrics: their names and forms. Knows nothing of what it counts.
//!
//! Two streams leave the process: the access log, one line a request, on stdout ([`access`]), and diagnostics on
//! stderr ([`log`]). Numbers are kept in [`metrics`] and read from the admin listener. [`traces`] go to a collector, where
//! there is one.

use std::io::IsTerminal;

pub mod access;
mod escape;
mod exposition;
pub mod fields;
mod histogram;
mod json;
mod line;
pub mod log;
pub mod metrics;
pub mod names;
pub mod redact;
pub mod seldom;
mod series;
mod shard;
pub mod spans;
pub mod trace_context;
pub mod traces;
mod upstreams;

/// How a stream of lines is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Aligned text for people.
    Human { colour: bool },
}

impl Format {
    /// Text where a person is looking, JSON where a program is. `NO_COLOR`, set to anything but the empty string,
    /// takes the colours away (<https://no-color.org>).
    pub fn of(stream: &impl IsTerminal) -> Self {
        if !stream.is_terminal() {
            return Format::Json;
        }
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Format::Human { colour: !unwanted }
    }
}
