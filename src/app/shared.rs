//! What several edges share: the daily quota and the cap of a user's streams, in the Redis that `REDIS_URL` names.
//!
//! Failure stance: a start does not wait for Redis, and goes on without it in the stances of admission (for the quota
//! `on_store_outage`, for streams the cap of this edge alone) until it answers. It does not start where Redis refuses
//! this edge, which only a person can put right.

use std::sync::Arc;

use crate::admission::{Concurrency, QuotaStore, SharedPlaces};
use crate::storage::redis::{NoRedis, Redis, RedisAddress};
use crate::units::{EdgeId, StoreError};

/// Redis, where there is one.
#[derive(Clone, Default)]
pub struct SharedCounts(Option<Arc<Redis>>);

impl SharedCounts {
    /// Connects to the Redis at `address`, behind which `durable` keeps the counts for good. Lives on the runtime that
    /// this is called on.
    pub async fn start(
        address: Option<RedisAddress>,
        edge: EdgeId,
        durable: Arc<dyn QuotaStore>,
    ) -> Result<Self, StoreError> {
        let Some(address) = address else { return Ok(Self::default()) };
        let redis = Redis::new(address, edge, durable);
        match redis.start().await {
            Ok(()) => {}
            Err(NoRedis::Refused(problem)) => return Err(problem),
            Err(NoRedis::Away(problem)) => tracing::warn!(
                %problem,
                "starting without Redis: quotas are counted as on_store_outage says, streams on this edge alone"
            ),
        }
        Ok(Self(Some(redis)))
    }

    /// Where requests are counted: in Redis, else where they are kept.
    pub fn quota(&self, durable: &Arc<dyn QuotaStore>) -> Arc<dyn QuotaStore> {
        match &self.0 {
            Some(redis) => Arc::clone(redis) as _,
            None => Arc::clone(durable),
        }
    }

    /// Whether requests are counted in another place than they are kept in.
    pub fn counts_elsewhere(&self) -> bool {
        self.0.is_some()
    }

    /// The table of open requests. To be called on the runtime that the places of its streams are renewed on.
    pub fn concurrency(&self) -> Arc<Concurrency> {
        let Some(redis) = &self.0 else { return Concurrency::new() };
        let places = SharedPlaces::new(Arc::clone(redis) as _);
        tokio::spawn(Arc::clone(&places).run());
        Concurrency::shared(places)
    }

    /// Whether the Redis that there should be does not answer.
    pub fn is_away(&self) -> bool {
        self.0.as_ref().is_some_and(|redis| redis.is_away())
    }

    /// What is not as it should be, for the operator.
    pub fn problem(&self) -> Option<String> {
        self.0.as_ref()?.problem().map(|problem| problem.0)
    }
}
