//! What is counted by route, stage, model and code: requests, tokens and cost.
//!
//! The vectors of the `prometheus` crate look a child up under a lock and want the status code as text. A request's
//! labels repeat, so each combination is set up once; after that a request costs one hash, one comparison, and
//! additions to one cache line of its own thread.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;
use arc_swap::ArcSwap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use crate::telemetry::exposition::counter;
use crate::telemetry::metrics::RequestObservation;
use crate::telemetry::names::{self, kind, label};
use crate::telemetry::shard::Sharded;
use crate::units::Stage;

/// Clones count together.
#[derive(Clone)]
pub(super) struct RequestSeries(Arc<Inner>);

struct Inner {
    descs: [Desc; 3],
    hasher: RandomState,
    /// By the hash of the labels, or the next free number after it. Replaced whole when a combination is new.
    known: ArcSwap<Known>,
}

type Known = HashMap<u64, Arc<Series>, RandomState>;

/// One combination of labels and its numbers.
struct Series {
    route: Box<str>,
    stage: Option<Stage>,
    model: Option<Box<str>>,
    status: u16,
    cells: Sharded<Cells>,
}

#[derive(Default)]
struct Cells {
    requests: AtomicU64,
    input: AtomicU64,
    cached_input: AtomicU64,
    cache_write: AtomicU64,
    output: AtomicU64,
    reasoning: AtomicU64,
    nano_usd: AtomicU64,
}

/// A kind of tokens and where they are counted.
type TokenCell = (&'static str, fn(&Cells) -> &AtomicU64);

/// In the order of their names.
const TOKENS: [TokenCell; 5] = [
    (kind::CACHE_WRITE, |cells| &cells.cache_write),
    (kind::CACHED_INPUT, |cells| &cells.cached_input),
    (kind::INPUT, |cells| &cells.input),
    (kind::OUTPUT, |cells| &cells.output),
    (kind::REASONING, |cells| &cells.reasoning),
];

impl RequestSeries {
    pub fn new() -> Result<Self, prometheus::Error> {
        let descs = [
            names::REQUESTS.desc(&[label::ROUTE, label::STAGE, label::MODEL, label::CODE])?,
            names::TOKENS.desc(&[label::KIND, label::MODEL])?,
            names::COST.desc(&[label::MODEL])?,
        ];
        Ok(Self(Arc::new(Inner { descs, hasher: RandomState::new(), known: ArcSwap::default() })))
    }

    pub fn count(&self, seen: &RequestObservation<'_>) {
        let hash = self.0.hasher.hash_one((seen.route, seen.stage, seen.model, seen.status));
        match find(&self.0.known.load(), hash, seen) {
            Ok(series) => series.add(seen),
            Err(_) => self.introduced(hash, seen).add(seen),
        }
    }

    /// The series of labels that were not known a moment ago. Of threads that meet them at once, one's series stays.
    fn introduced(&self, hash: u64, seen: &RequestObservation<'_>) -> Arc<Series> {
        let mut series = Arc::new(Series::new(seen));
        self.0.known.rcu(|known| match find(known, hash, seen) {
            Ok(theirs) => {
                series = Arc::clone(theirs);
                Arc::clone(known)
            }
            Err(free) => {
                let mut known = Known::clone(known);
                known.insert(free, Arc::clone(&series));
                Arc::new(known)
            }
        });
        series
    }
}

/// The series of these labels, or the number under which it can be put: two combinations may share a hash, and must
/// not share a counter.
fn find<'a>(known: &'a Known, hash: u64, seen: &RequestObservation<'_>) -> Result<&'a Arc<Series>, u64> {
    let mut place = hash;
    while let Some(series) = known.get(&place) {
        if series.is_of(seen) {
            return Ok(series);
        }
        place = place.wrapping_add(1);
    }
    Err(place)
}

impl Series {
    fn new(seen: &RequestObservation<'_>) -> Self {
        Self {
            route: seen.route.into(),
            stage: seen.stage,
            model: seen.model.map(Into::into),
            status: seen.status,
            cells: Sharded::default(),
        }
    }

    fn is_of(&self, seen: &RequestObservation<'_>) -> bool {
        self.status == seen.status
            && self.stage == seen.stage
            && *self.route == *seen.route
            && self.model.as_deref() == seen.model
    }

    fn add(&self, seen: &RequestObservation<'_>) {
        let cells = self.cells.own();
        cells.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(usage) = seen.usage {
            for (cell, tokens) in [
                (&cells.input, usage.input),
                (&cells.cached_input, usage.cached_input),
                (&cells.cache_write, usage.cache_write),
                (&cells.output, usage.output),
                (&cells.reasoning, usage.reasoning),
            ] {
                cell.fetch_add(tokens, Ordering::Relaxed);
            }
        }
        // A counter never falls, whatever a price file says.
        cells.nano_usd.fetch_add(u64::try_from(seen.cost.0).unwrap_or(0), Ordering::Relaxed);
    }

    fn total(&self, cell: fn(&Cells) -> &AtomicU64) -> u64 {
        self.cells.all().map(|cells| cell(cells).load(Ordering::Relaxed)).sum()
    }
}

impl Collector for RequestSeries {
    fn desc(&self) -> Vec<&Desc> {
        self.0.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let known = self.0.known.load();
        let mut requests = Vec::new();
        let mut tokens: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let mut nano_usd: BTreeMap<&str, u64> = BTreeMap::new();
        for series in known.values() {
            let code = series.status.to_string();
            let labels = [
                (label::CODE, code.as_str()),
                (label::MODEL, series.model.as_deref().unwrap_or_default()),
                (label::ROUTE, &series.route),
                (label::STAGE, series.stage.map_or("", Stage::as_str)),
            ];
            requests.push(counter(&labels, series.total(|cells| &cells.requests) as f64));
            let Some(model) = series.model.as_deref() else { continue };
            for (kind, cell) in TOKENS {
                *tokens.entry((kind, model)).or_default() += series.total(cell);
            }
            *nano_usd.entry(model).or_default() += series.total(|cells| &cells.nano_usd);
        }
        let tokens = tokens
            .into_iter()
            .map(|((kind, model), total)| counter(&[(label::KIND, kind), (label::MODEL, model)], total as f64));
        let cost = nano_usd.into_iter().map(|(model, total)| counter(&[(label::MODEL, model)], total as f64 / 1e9));
        vec![
            names::REQUESTS.family(MetricType::COUNTER, requests),
            names::TOKENS.family(MetricType::COUNTER, tokens.collect()),
            names::COST.family(MetricType::COUNTER, cost.collect()),
        ]
    }
}
