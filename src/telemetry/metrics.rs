//! The numbers of this edge, for Prometheus. Owns its own registry; knows nothing of requests but what it is told.
//!
//! Every label takes its values from the configuration or from an enum of ours, never from what a client sent, so
//! that nobody outside can grow the number of series.

use std::time::Duration;

use prometheus::{
    Counter, CounterVec, Encoder, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder, core::Collector,
};

use crate::telemetry::names::{self, Name, kind, label};
use crate::telemetry::series::SeriesCache;
use crate::units::{NanoUsd, Stage, Timestamp, Usage};

/// All metrics of a process. Shared by reference; every method may be called from any thread.
pub struct Metrics {
    registry: Registry,
    series: SeriesCache,
    vectors: Vectors,
    duration: Histogram,
    first_token: Histogram,
    overhead: Histogram,
    refusals: IntCounterVec,
    attempts: IntCounterVec,
    leases: IntCounterVec,
    streams: IntGauge,
    ledger_queue: IntGauge,
    ledger_dropped: IntCounter,
    certificate_expiry: GaugeVec,
}

/// One finished request of any route.
#[derive(Debug, Clone, Copy)]
pub struct RequestObservation<'a> {
    /// The route's name as configured.
    pub route: &'a str,
    pub stage: Option<Stage>,
    /// A configured alias, never the client's own text.
    pub model: Option<&'a str>,
    pub status: u16,
    pub duration: Duration,
    /// For streams: until the first byte of the answer's body.
    pub first_token: Option<Duration>,
    /// cfx's own share of the time until the answer's head.
    pub overhead: Option<Duration>,
    pub usage: Option<&'a Usage>,
    pub cost: NanoUsd,
}

/// Counts one stream as under way until it is dropped.
#[derive(Debug)]
#[must_use = "the stream counts as ended when this is dropped"]
pub struct StreamGauge(IntGauge);

/// The labelled families whose children the series cache hands out.
pub(super) struct Vectors {
    pub requests: IntCounterVec,
    pub tokens: IntCounterVec,
    pub cost: CounterVec,
}

/// The counters of one model.
pub(super) struct ModelCounters {
    input: IntCounter,
    cached_input: IntCounter,
    cache_write: IntCounter,
    output: IntCounter,
    reasoning: IntCounter,
    cost: Counter,
}

impl Metrics {
    /// Fails only if two metrics in `names` share a name or one of the names is malformed.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let build = registered(&registry, IntGaugeVec::new(opts(&names::BUILD_INFO), &[label::VERSION])?)?;
        build.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1);
        let request_labels = [label::ROUTE, label::STAGE, label::MODEL, label::CODE];
        let vectors = Vectors {
            requests: registered(&registry, IntCounterVec::new(opts(&names::REQUESTS), &request_labels)?)?,
            tokens: registered(&registry, IntCounterVec::new(opts(&names::TOKENS), &[label::KIND, label::MODEL])?)?,
            cost: registered(&registry, CounterVec::new(opts(&names::COST), &[label::MODEL])?)?,
        };
        let counters = |name, labels: &[&str]| registered(&registry, IntCounterVec::new(opts(name), labels)?);
        Ok(Self {
            duration: histogram(&registry, &names::DURATION, duration_buckets())?,
            first_token: histogram(&registry, &names::FIRST_TOKEN, doublings(0.01, 15))?,
            overhead: histogram(&registry, &names::OVERHEAD, OVERHEAD_BUCKETS.to_vec())?,
            refusals: counters(&names::REFUSALS, &[label::REASON])?,
            attempts: counters(&names::ATTEMPTS, &[label::UPSTREAM, label::OUTCOME])?,
            leases: counters(&names::QUOTA_LEASE, &[label::OUTCOME])?,
            streams: registered(&registry, IntGauge::with_opts(opts(&names::STREAMS))?)?,
            ledger_queue: registered(&registry, IntGauge::with_opts(opts(&names::LEDGER_QUEUE))?)?,
            ledger_dropped: registered(&registry, IntCounter::with_opts(opts(&names::LEDGER_DROPPED))?)?,
            certificate_expiry: registered(
                &registry,
                GaugeVec::new(opts(&names::CERTIFICATE_EXPIRY), &[label::NAME])?,
            )?,
            series: SeriesCache::default(),
            vectors,
            registry,
        })
    }

    /// Counts one finished request.
    pub fn request(&self, seen: &RequestObservation<'_>) {
        self.duration.observe(seen.duration.as_secs_f64());
        if let Some(first_token) = seen.first_token {
            self.first_token.observe(first_token.as_secs_f64());
        }
        if let Some(overhead) = seen.overhead {
            self.overhead.observe(overhead.as_secs_f64());
        }
        self.series.with(seen, &self.vectors, |series| {
            series.requests.inc();
            if let Some(model) = &series.model_counters {
                model.add(seen.usage, seen.cost);
            }
        });
    }

    /// Counts a refusal; `reason` is the error code the client saw.
    pub fn refusal(&self, reason: &'static str) {
        increment(&self.refusals, &[reason]);
    }

    /// Counts one request sent to an upstream.
    pub fn attempt(&self, upstream: &str, outcome: &'static str) {
        increment(&self.attempts, &[upstream, outcome]);
    }

    /// Counts one exchange with the store about a quota lease.
    pub fn lease(&self, outcome: &'static str) {
        increment(&self.leases, &[outcome]);
    }

    /// Counts a stream as under way for as long as the answer lives.
    pub fn stream_opened(&self) -> StreamGauge {
        self.streams.inc();
        StreamGauge(self.streams.clone())
    }

    /// Records that wait to be stored.
    pub fn set_ledger_queue(&self, records: usize) {
        self.ledger_queue.set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// Records that were given up.
    pub fn ledger_dropped(&self, records: u64) {
        self.ledger_dropped.inc_by(records);
    }

    /// All certificates now served, in place of those named before. Where two share a name, the one that expires first
    /// is shown.
    pub fn set_certificates<'a>(&self, served: impl IntoIterator<Item = (&'a str, Timestamp)>) {
        self.certificate_expiry.reset();
        for (name, expires) in served {
            let Ok(gauge) = self.certificate_expiry.get_metric_with_label_values(&[name]) else { continue };
            let seconds = expires.0 as f64 / 1e6;
            if gauge.get() == 0.0 || seconds < gauge.get() {
                gauge.set(seconds);
            }
        }
    }

    /// Everything, in the text exposition format ([`content_type`]).
    pub fn render(&self) -> String {
        let families = self.registry.gather();
        // A family that cannot be written is a fault of ours; a comment keeps the answer valid and says so.
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

/// The `Content-Type` of [`Metrics::render`].
pub fn content_type() -> String {
    TextEncoder::new().format_type().to_owned()
}

impl Drop for StreamGauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ModelCounters {
    pub(super) fn resolve(vectors: &Vectors, model: &str) -> Result<Self, prometheus::Error> {
        let tokens = |kind| vectors.tokens.get_metric_with_label_values(&[kind, model]);
        Ok(Self {
            input: tokens(kind::INPUT)?,
            cached_input: tokens(kind::CACHED_INPUT)?,
            cache_write: tokens(kind::CACHE_WRITE)?,
            output: tokens(kind::OUTPUT)?,
            reasoning: tokens(kind::REASONING)?,
            cost: vectors.cost.get_metric_with_label_values(&[model])?,
        })
    }

    fn add(&self, usage: Option<&Usage>, cost: NanoUsd) {
        if let Some(usage) = usage {
            self.input.inc_by(usage.input);
            self.cached_input.inc_by(usage.cached_input);
            self.cache_write.inc_by(usage.cache_write);
            self.output.inc_by(usage.output);
            self.reasoning.inc_by(usage.reasoning);
        }
        if cost.0 > 0 {
            self.cost.inc_by(cost.0 as f64 / 1e9);
        }
    }
}

/// A plain route answers within a millisecond, a stream may last 30 minutes and then some.
fn duration_buckets() -> Vec<f64> {
    let mut buckets = vec![0.001, 0.0025, 0.005];
    buckets.extend(doublings(0.01, 19));
    buckets
}

const OVERHEAD_BUCKETS: [f64; 14] =
    [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 1.0];

/// `count` buckets, each twice the one before: the GenAI conventions' 0.01·2ⁿ.
fn doublings(first: f64, count: i32) -> Vec<f64> {
    (0..count).map(|n| first * 2f64.powi(n)).collect()
}

fn opts(name: &Name) -> Opts {
    Opts::new(name.name, name.help)
}

fn histogram(registry: &Registry, name: &Name, buckets: Vec<f64>) -> Result<Histogram, prometheus::Error> {
    registered(registry, Histogram::with_opts(HistogramOpts::new(name.name, name.help).buckets(buckets))?)
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn increment(counters: &IntCounterVec, labels: &[&str]) {
    // Fails only where the number of labels is wrong, which the tests below would show.
    if let Ok(counter) = counters.get_metric_with_label_values(labels) {
        counter.inc();
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
