//! Counters found by their labels without formatting, locking or allocating once they are known.
//!
//! The vectors of the `prometheus` crate look a child up under a lock and want the status code as text. A request's
//! labels repeat, so each combination is resolved once and kept here; a lookup is one hash and one comparison.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::IntCounter;

use crate::telemetry::metrics::{ModelCounters, RequestObservation, Vectors};
use crate::units::Stage;

#[derive(Default)]
pub(super) struct SeriesCache {
    hasher: RandomState,
    /// By the hash of the labels; replaced whole when a combination is seen for the first time.
    known: ArcSwap<HashMap<u64, Arc<Series>>>,
}

/// What one combination of labels counts.
pub(super) struct Series {
    route: Box<str>,
    stage: Option<Stage>,
    model: Option<Box<str>>,
    status: u16,
    pub requests: IntCounter,
    pub model_counters: Option<ModelCounters>,
}

impl SeriesCache {
    /// Calls `count` with the series of these labels.
    pub fn with(&self, seen: &RequestObservation<'_>, vectors: &Vectors, count: impl FnOnce(&Series)) {
        let hash = self.hasher.hash_one((seen.route, seen.stage, seen.model, seen.status));
        let known = self.known.load();
        match known.get(&hash) {
            Some(series) if series.is_of(seen) => count(series),
            _ => {
                let Ok(series) = Series::resolve(seen, vectors) else { return };
                count(&series);
                self.remember(hash, Arc::new(series));
            }
        }
    }

    fn remember(&self, hash: u64, series: Arc<Series>) {
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(hash, Arc::clone(&series));
            known
        });
    }
}

impl Series {
    fn resolve(seen: &RequestObservation<'_>, vectors: &Vectors) -> Result<Self, prometheus::Error> {
        let stage = seen.stage.map_or("", Stage::as_str);
        let code = seen.status.to_string();
        let labels = [seen.route, stage, seen.model.unwrap_or_default(), &code];
        Ok(Self {
            route: seen.route.into(),
            stage: seen.stage,
            model: seen.model.map(Into::into),
            status: seen.status,
            requests: vectors.requests.get_metric_with_label_values(&labels)?,
            model_counters: seen.model.map(|model| ModelCounters::resolve(vectors, model)).transpose()?,
        })
    }

    /// Two combinations may share a hash; they must not share a counter.
    fn is_of(&self, seen: &RequestObservation<'_>) -> bool {
        self.status == seen.status
            && self.stage == seen.stage
            && *self.route == *seen.route
            && self.model.as_deref() == seen.model
    }
}
