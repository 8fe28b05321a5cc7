//! Counts shared by several edges: the daily quota and the streams of a user, in one Redis (or Valkey).
//!
//! **Exact while Redis keeps its data.** Every change is one Lua script on one hash, which holds all of one subject's
//! day, so that it is judged and acted on as one and lives in one slot. Counts are posted to the durable store behind
//! it, each part under one id until it is acknowledged: `used` there lags by less than two seconds, and survives this
//! process (a restarted edge sends the same part again).
//!
//! **Emptied, or come back with older data, it is rebuilt.** Each start of the server, and each emptying, is an
//! *epoch*; a day counted under another one begins anew. It is *seeded* with what the durable store has once every edge
//! that hears (pub/sub) has had 120 ms to store what it counted and had not stored, and to say which leases it holds;
//! each edge remembers both. Grants wait for it, so a request waits no longer than it ever does for a store.
//!
//! - One edge: nothing is counted twice and nothing is lost.
//! - Several: the same, as long as each reaches Redis and the durable store within the pause. One that does not tells
//!   its leases and counts at its next word, within a second of reaching Redis again; by what it holds (a lease or two)
//!   the others may have admitted too many, and a part it had sent in that very moment can be counted twice.
//! - An edge that dies in the same moment takes along what it had counted in its last two seconds, and its leases.
//! - Data that went back behind an unbroken connection (a server loaded or was given older ones) are found out by the
//!   first edge that hears of less than it has heard of before: of a day it counts on, or of its own heartbeat, within
//!   three seconds. What others were granted of the lost counts until then is too many.
//! - A single key that Redis evicts is rebuilt without the pause: keep `maxmemory-policy noeviction`.
//!
//! Failure stance: an error at once where Redis is away, too old or not ours; each port's room says what then.

mod address;
mod books;
mod day;
mod link;
mod places;
mod quota;
mod reseed;
#[cfg(test)]
mod reseed_tests;
mod scripts;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod words;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::admission::QuotaStore;
use crate::units::{EdgeId, StoreError};
use books::Books;
use link::{Link, Unconnected};
use words::{Said, Words};

pub use address::{BadAddress, RedisAddress, VARIABLE};

/// One edge's view of the shared counts.
pub struct Redis {
    link: Link,
    edge: EdgeId,
    /// Where counts are kept for good, and what Redis is rebuilt from.
    durable: Arc<dyn QuotaStore>,
    books: Books,
    words: Words,
    /// Edges that share the counts, this one included, by the last heartbeat; 0 before the first.
    live: AtomicU32,
    /// Until when another edge may hold leases, as far as heartbeats told. They are lost with the rest.
    accompanied: Mutex<Option<Instant>>,
    /// The last heartbeat that was answered: the server's time of it (Unix milliseconds), and the epoch it was in.
    beaten: Mutex<Option<(f64, Arc<str>)>>,
}

/// How the first attempt to reach Redis ended, where it did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum NoRedis {
    /// It answers and refuses us: somebody must change a setting.
    #[error("{0}")]
    Refused(StoreError),
    /// It may yet come; this edge goes on trying.
    #[error("{0}")]
    Away(StoreError),
}

impl Redis {
    /// Speaks to nobody yet.
    pub fn new(address: RedisAddress, edge: EdgeId, durable: Arc<dyn QuotaStore>) -> Arc<Self> {
        let (link, books, words) = (Link::new(address), Books::default(), Words::new());
        let (live, accompanied, beaten) = Default::default();
        Arc::new(Self { link, edge, durable, books, words, live, accompanied, beaten })
    }

    /// Connects, and starts what runs beside requests on the current runtime. After [`NoRedis::Away`] it is used all
    /// the same: the connection is tried for until it is there.
    pub async fn start(self: &Arc<Self>) -> Result<(), NoRedis> {
        let mut first = self.link.connect().await;
        if first.is_ok() {
            // Where only this fails, and may pass, the listener says so.
            first = words::subscribe(&self.link)
                .await
                .map(drop)
                .or_else(|error| if error.refused { Err(error) } else { Ok(()) });
        }
        if let Err(Unconnected { problem, refused: true }) = first {
            return Err(NoRedis::Refused(problem));
        }
        let (keeper, listener, bookkeeper) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        tokio::spawn(async move { keeper.link.keep().await });
        tokio::spawn(async move { listener.words.run(&listener.link).await });
        tokio::spawn(async move { bookkeeper.keep_books().await });
        tokio::spawn(Arc::clone(self).answer_losses());
        first.map_err(|away| NoRedis::Away(away.problem))
    }

    /// Why Redis is not used at this moment, or the other edges are not heard, for the operator; None while all is well.
    pub fn problem(&self) -> Option<StoreError> {
        self.link.problem().or_else(|| self.words.problem())
    }

    /// Whether calls fail at this moment.
    pub fn is_away(&self) -> bool {
        self.link.problem().is_some()
    }

    fn live(&self) -> u32 {
        self.live.load(Ordering::Relaxed).max(1)
    }

    /// Whether no other edge was heard of for as long as an edge is taken to live.
    fn is_alone(&self) -> bool {
        let accompanied = *self.accompanied.lock().unwrap_or_else(PoisonError::into_inner);
        accompanied.is_none_or(|until| until < Instant::now())
    }

    async fn say(&self, said: Said) -> Result<(), StoreError> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(&self.link.address.channel).arg(words::write(self.edge, said));
        self.link.ask::<redis::Value>(command).await.map(drop)
    }
}
