//! The way to an upstream: its targets and their turns, their addresses, the connections kept to them, one attempt at an exchange.
//!
//! Owns: when a connection is made, kept and thrown away, and what can go wrong before and after an answer's head.
//! Must not know: who asks, what the bytes mean, whether a second attempt is due.

mod attempt;
mod balancer;
mod connect;
mod framing;
mod head;
mod patience;
mod pool;
mod wire;

pub use attempt::{Answer, AttemptError, Broken, Limits, OutgoingRequest, send};
pub use balancer::Balancer;
pub use connect::Dialer;
pub use head::Head;
pub use patience::Alarm;
