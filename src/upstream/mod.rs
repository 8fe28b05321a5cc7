//! The way to an upstream: its targets, their addresses, the connections kept to them, one attempt at an exchange.
//!
//! Owns: when a connection is made, kept and thrown away, and what can go wrong before and after an answer's head.
//! Must not know: who asks, what the bytes mean, whether a second attempt is due.

mod attempt;
mod connect;
mod pool;

pub use attempt::{Answer, AttemptError, Broken, OutgoingRequest, send};
pub use connect::Dialer;
