//! What tests may see of a slot, and the time that they need not wait for.

use super::{KEPT, Lease, State};
use crate::units::LeaseId;

impl State {
    /// As if nobody had asked for a minute.
    pub(in crate::admission) fn rest(&mut self) {
        (self.idle, self.touched) = (KEPT, false);
    }

    /// The size of the last lease.
    pub(in crate::admission) fn last_granted(&self) -> u32 {
        self.pace.granted
    }

    /// Set aside for this edge, and not taken.
    pub(in crate::admission) fn unused(&self) -> u32 {
        self.leases.iter().map(|lease| lease.available).sum()
    }

    /// Given back, and known to the store as used: lost with the process. `reported`: what the store has heard was used
    /// of a lease, which is more than this edge knows where an answer was lost.
    pub(in crate::admission) fn not_released(&self, reported: impl Fn(LeaseId) -> u32) -> u32 {
        let open = |lease: &Lease| {
            let lies = self.given_back_of(lease);
            lies - lies.min(lease.used().saturating_sub(reported(lease.id)))
        };
        let of_open = |place: &LeaseId| self.leases.iter().any(|lease| lease.id == *place);
        let of_closed = self.given_back.iter().filter(|place| !of_open(place)).count();
        let known = self.leases.iter().map(open).sum::<u32>() + u32::try_from(of_closed).unwrap();
        known + self.credit + self.releasing.map_or(0, |posting| posting.count)
    }

    /// Admitted without the store, and perhaps not counted by it: lost with the process.
    pub(in crate::admission) fn not_posted(&self) -> u32 {
        self.local + self.posting.map_or(0, |posting| posting.count)
    }
}
