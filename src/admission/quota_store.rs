//! The port to where daily counts are kept, and the words spoken over it.
//!
//! A store hands out **leases**: `granted` requests set aside for one edge, counted as `leased` until that edge says
//! how many were used. So `request_count + leased ≤ limit` at every moment, and most requests touch no store.
//! Every call may be repeated with the same id after an answer was lost, and then changes nothing more.

use async_trait::async_trait;
use uuid::Uuid;

use crate::units::{Day, EdgeId, KeyId, LeaseId, StoreError, UserId};

/// The most one lease sets aside of an ordinary limit where edges share a day.
pub const LARGEST_LEASE: u32 = 32;
/// The same for an edge that is alone: nobody waits for what lies unused, and a quarter of the grants is a quarter of
/// the transactions.
const LARGEST_ALONE: u32 = 128;
/// Of a larger limit a lease may set this part aside: who has millions a day asks thousands of times a second, and would
/// wait for the store as often as a small lease is used up.
const PART: u32 = 1_000;

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

    /// Says that `edge` lives; to be said again every few seconds. Gives how many edges live, this one included.
    async fn beat(&self, edge: EdgeId) -> Result<u32, StoreError>;

    /// Says that `edge` ends, so that leases grow again without waiting for its heartbeat to run out.
    async fn depart(&self, edge: EdgeId) -> Result<(), StoreError>;

    /// The leases granted to `edge` and not closed: what a restarted edge must account for.
    async fn open_leases(&self, edge: EdgeId) -> Result<Vec<OpenLease>, StoreError>;

    /// Asks every other edge for what it holds unused of `subject`'s day. Answered, if at all, by [`Word::Freed`].
    async fn recall(&self, edge: EdgeId, subject: Subject, day: Day) -> Result<(), StoreError>;

    /// The next word from another edge that concerns `edge`. Pends where none can come. Whoever listens must call
    /// again at once; what is said in between is kept, or else a [`Word::Missed`] follows.
    async fn hear(&self, edge: EdgeId) -> Word;

    /// Whether [`hear`](Self::hear) hears at this moment. An edge that does not must hold no more than it needs now.
    fn hears(&self) -> bool;

    /// What is known of a day where this store does not answer, from the place it keeps its counts in for good. None
    /// where that does not answer either, or there is no other place.
    async fn remembered(&self, _edge: EdgeId, _subject: Subject, _day: Day) -> Option<Remembered> {
        None
    }
}

/// A day's count as it was kept elsewhere, some seconds old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    pub used: u32,
    /// Edges that share the count, this one included; at least 1.
    pub live_edges: u32,
}

/// What edges say to each other by way of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Another edge has run dry: close this subject's leases that have something left.
    Recall { subject: Subject, day: Day },
    /// Something was freed of a day that was reached: an exhaustion remembered is no longer true.
    Freed { subject: Subject, day: Day },
    /// Words may have been lost: no exhaustion remembered is to be trusted.
    Missed,
}

/// A lease as the store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenLease {
    pub lease: LeaseId,
    pub subject: Subject,
    pub day: Day,
    pub granted: u32,
    /// As last reported.
    pub used: u32,
}

/// Whose requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    User(UserId),
    /// A key with a quota of its own, beside its user's.
    Key(KeyId),
}

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
    /// The most to set aside, by the pace of its requests: 1 for an edge that could not hear a recall.
    pub most: u32,
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
    /// What other edges hold of this day and have not reported as used: worth a recall when nothing was granted.
    pub elsewhere: u32,
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

/// What an edge may ask for at most under this limit, by how many edges it knows of.
pub fn largest_lease(limit: u32, live_edges: u32) -> u32 {
    let least = if live_edges > 1 { LARGEST_LEASE } else { LARGEST_ALONE };
    least.max(limit / PART)
}

/// How many requests a lease sets aside when `counted` of the limit are not free: large while there is plenty, one as the
/// limit nears, so that little lies unused on one edge while another runs dry. Never more than `most`.
pub fn lease_size(limit: u32, counted: u32, live_edges: u32, most: u32) -> u32 {
    let remaining = limit.saturating_sub(counted);
    let most = most.clamp(1, largest_lease(limit, 1));
    (remaining / live_edges.max(1).saturating_mul(4)).clamp(1, most).min(remaining)
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
        let sizes = [0, 900, 980, 996, 999, 1_000].map(|counted| lease_size(1_000, counted, 1, LARGEST_LEASE));
        assert_eq!(sizes, [32, 25, 5, 1, 1, 0]);
        assert_eq!(lease_size(1_000, 0, 16, LARGEST_LEASE), 15);
        assert_eq!(lease_size(3, 0, 0, LARGEST_LEASE), 1);
        assert_eq!(lease_size(1_000, 0, 1, 1), 1, "an edge that cannot hear a recall holds one at a time");
    }

    #[test]
    fn no_lease_is_more_than_a_thousandth_of_a_large_limit() {
        let largest = [1_000, 128_000, 1_000_000].map(|limit| lease_size(limit, 0, 1, u32::MAX));
        assert_eq!(largest, [128, 128, 1_000]);
        assert_eq!([1_000, 1_000_000].map(|limit| largest_lease(limit, 2)), [32, 1_000]);
    }
}
