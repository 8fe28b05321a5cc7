//! What a request to a model says and how it is changed: stages, the JSON scan and its splices, SSE, usage and price.
//!
//! Owns: the four dialects, and the rule that every byte cfx does not own passes as it came.
//! Must not know: sockets, pingora, who is asking.

pub mod catalog;
mod controls;
mod endpoint;
mod estimate;
mod finder;
#[cfg(test)]
mod fixtures;
pub mod json;
mod price;
mod request;
mod rewrite;
pub mod sse;
mod stage;
mod tally;
mod tap;
mod usage;

pub use endpoint::{Dialect, Endpoint};
pub use estimate::{Calibration, Shown};
pub use price::cost;
pub use request::{BodyProblem, Request, UserText};
pub use rewrite::{Rewritten, rewrite};
pub use stage::{Choice, KeyScope, StageProblem, choose, stage_named_by};
pub use tally::Tally;
pub use tap::{AnswerReport, AnswerTap, StreamReport, Tap};
