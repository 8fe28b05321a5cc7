//! The port to where daily counts are kept, and the words spoken over it.
//!
//! A store hands out **leases**: `granted` requests set aside for one edge, counted as `leased` until that edge says
//! how many were used. So `request_count + leased ≤ limit` at every moment, and most requests touch no store.
//! Every call may be repeated with the same id after an answer was lost, and then changes nothing more.

use async_trait::async_trait;
use uuid::Uuid;

use crate::units::{Day, EdgeId, KeyId, StoreError, UserId};

/// The most one lease sets aside.
const LARGEST: u32 = 32;

/// Counters of requests per UTC day.
#[async_trait]
pub trait QuotaStore: Send + Sync {
    /// Applies `ask.settled`, then sets aside [`lease_size`] requests under `ask.lease`, as one atomic step. A lease
    /// that exists already is answered as it was granted.
    async fn grant(&self, ask: Ask) -> Result<Grant, StoreError>;

    /// Applies settlements, of any subjects. Those of leases the store does not know change nothing.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), StoreError>;

    /// Takes `count` requests that were settled as used, and then never happened, off the day's count.
    async fn release(&self, posting: Posting) -> Result<(), StoreError>;

    /// Adds `count` requests that were admitted without the store; the count may pass the limit by this.
    async fn post(&self, posting: Posting) -> Result<(), StoreError>;

    /// The day's `request_count`, without what is only leased.
    async fn used(&self, subject: Subject, day: Day) -> Result<u32, StoreError>;
}

/// Whose requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    User(UserId),
    /// A key with a quota of its own, beside its user's.
    Key(KeyId),
}

/// One lease. Chosen by the edge, so that it can ask again after a lost answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub Uuid);

/// One release or post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PostingId(pub Uuid);

#[derive(Debug, Clone)]
pub struct Ask {
    pub edge: EdgeId,
    pub lease: LeaseId,
    pub subject: Subject,
    pub day: Day,
    /// Requests per day for this subject, as the edge's configuration has it now.
    pub limit: u32,
    /// What became of earlier leases of the same subject.
    pub settled: Vec<Settlement>,
}

/// What a store answers to an [`Ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// 0: the limit is reached.
    pub granted: u32,
    /// `request_count + leased` of the day after this grant.
    pub counted: u32,
    /// Edges that share the count, this one included; at least 1.
    pub live_edges: u32,
}

/// How much of a lease was used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    pub lease: LeaseId,
    pub subject: Subject,
    pub day: Day,
    /// Since the grant, in all: what was said before is included.
    pub used: u32,
    /// The lease ends, and what it has left is free again.
    pub closes: bool,
}

/// A change of the count beside the leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    pub id: PostingId,
    pub subject: Subject,
    pub day: Day,
    pub count: u32,
}

/// How many requests a lease sets aside when `remaining` are free: large while there is plenty, one as the limit
/// nears, so that little lies unused on one edge while another runs dry.
pub fn lease_size(remaining: u32, live_edges: u32) -> u32 {
    (remaining / live_edges.max(1).saturating_mul(4)).clamp(1, LARGEST).min(remaining)
}

impl LeaseId {
    pub(super) fn fresh() -> Self {
        Self(Uuid::new_v4())
    }
}

impl PostingId {
    pub(super) fn fresh() -> Self {
        Self(Uuid::new_v4())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_shrink_to_one_as_the_limit_nears() {
        let sizes = [1_000, 100, 20, 4, 1, 0].map(|remaining| lease_size(remaining, 1));
        assert_eq!(sizes, [32, 25, 5, 1, 1, 0]);
        assert_eq!(lease_size(1_000, 16), 15);
        assert_eq!(lease_size(3, 0), 1);
    }
}
