//! What tests may see of a slot.

use super::State;

impl State {
    /// Set aside for this edge, and not taken.
    pub(in crate::admission) fn unused(&self) -> u32 {
        self.leases.iter().map(|lease| lease.available).sum()
    }

    /// Given back, and counted as used by the store: lost with the process.
    pub(in crate::admission) fn not_released(&self) -> u32 {
        self.given_back() + self.releasing.map_or(0, |posting| posting.count)
    }

    /// Admitted without the store, and perhaps not counted by it: lost with the process.
    pub(in crate::admission) fn not_posted(&self) -> u32 {
        self.local + self.posting.map_or(0, |posting| posting.count)
    }
}
