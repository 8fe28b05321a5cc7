//! How an upstream's targets and models are watched: when nothing is sent to them for a while, and when again.

use std::time::Duration;

/// When a target that cannot be reached, or a model that only fails, is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row.
    pub failures: usize,
    pub open_for: Duration,
}

/// How a target is asked whether it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// As it stands in the request line.
    pub path: String,
    /// Between two checks of one target, give or take a tenth.
    pub interval: Duration,
    /// Of one check, the connection included.
    pub timeout: Duration,
    /// Checks passed in a row after which a target is used again.
    pub healthy: u32,
    /// Checks failed in a row after which it is used no more.
    pub unhealthy: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(30) }
    }
}
