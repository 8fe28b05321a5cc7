//! The way to an upstream: its targets, their addresses, the connections kept to them, one attempt at an exchange.
//!
//! Owns: when a connection is made, kept and thrown away, and what can go wrong before and after an answer's head.
//! Must not know: who asks, what the bytes mean, whether a second attempt is due.

mod attempt;
mod connect;
mod patience;
mod pool;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::{Target, Upstream};

pub use attempt::{Answer, AttemptError, Broken, Limits, OutgoingRequest, send};
pub use connect::Dialer;
pub use patience::Alarm;

/// The targets of an upstream, each once, beginning with the one whose turn it is.
pub fn in_turn(upstream: &Upstream) -> impl Iterator<Item = &Arc<Target>> {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let count = upstream.targets.len();
    let first = if count > 1 { TURN.fetch_add(1, Ordering::Relaxed) % count } else { 0 };
    upstream.targets.iter().cycle().skip(first).take(count)
}
