//! The numbers of this edge, for Prometheus. Owns its own registry; knows nothing of requests but what it is told.
//!
//! Every label takes its values from the configuration or from an enum of ours, never from what a client sent, so
//! that nobody outside can grow the number of series.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::telemetry::histogram::DurationHistogram;
use crate::telemetry::names::{self, Name, label};
use crate::telemetry::series::RequestSeries;
use crate::telemetry::upstreams::UpstreamSeries;
pub use crate::telemetry::upstreams::{BreakerReading, HealthReading};
use crate::units::{NanoUsd, Stage, Timestamp, Usage};

/// The `Content-Type` of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All metrics of a process. Shared by reference; every method may be called from any thread.
pub struct Metrics {
    registry: Registry,
    series: RequestSeries,
    duration: DurationHistogram<22>,
    first_token: DurationHistogram<15>,
    overhead: DurationHistogram<14>,
    refusals: IntCounterVec,
    guarded: IntCounterVec,
    attempts: IntCounterVec,
    leases: IntCounterVec,
    streams: IntGauge,
    in_flight: IntGauge,
    body_memory: IntGauge,
    answer_memory: IntGauge,
    shed: IntCounterVec,
    ledger_queue: IntGauge,
    ledger_dropped: IntCounter,
    ledger_quarantined: IntCounter,
    ledger_lag: Gauge,
    spool_bytes: IntGauge,
    spool_cuts: IntCounter,
    access_log_dropped: IntCounter,
    spans_dropped: IntCounter,
    streams_unshared: IntCounter,
    store_listening: IntGauge,
    quota_listening: IntGauge,
    certificate_expiry: GaugeVec,
    reload_success: IntGauge,
    reload_success_at: Gauge,
    reloads: IntCounterVec,
    certificate_unreadable: IntCounter,
    acme_orders: IntCounterVec,
    acme_failures: IntGaugeVec,
    tls_handshakes: IntCounterVec,
    upstreams: UpstreamSeries,
}

/// What became of an attempt to read the configuration anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    Applied,
    Unchanged,
    Refused,
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

impl Metrics {
    /// Fails only if two metrics in `names` share a name or one of the names is malformed.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let build = registered(&registry, IntGaugeVec::new(opts(&names::BUILD_INFO), &[label::VERSION])?)?;
        build.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1);
        let counters = |name, labels: &[&str]| registered(&registry, IntCounterVec::new(opts(name), labels)?);
        Ok(Self {
            series: registered(&registry, RequestSeries::new()?)?,
            duration: registered(&registry, DurationHistogram::new(names::DURATION, DURATIONS)?)?,
            first_token: registered(&registry, DurationHistogram::new(names::FIRST_TOKEN, doublings(10_000_000))?)?,
            overhead: registered(&registry, DurationHistogram::new(names::OVERHEAD, OVERHEADS)?)?,
            refusals: counters(&names::REFUSALS, &[label::REASON])?,
            guarded: counters(&names::GUARD, &[label::REASON])?,
            attempts: counters(&names::ATTEMPTS, &[label::UPSTREAM, label::OUTCOME])?,
            leases: counters(&names::QUOTA_LEASE, &[label::OUTCOME])?,
            streams: registered(&registry, IntGauge::with_opts(opts(&names::STREAMS))?)?,
            in_flight: registered(&registry, IntGauge::with_opts(opts(&names::IN_FLIGHT))?)?,
            body_memory: registered(&registry, IntGauge::with_opts(opts(&names::BODY_MEMORY))?)?,
            answer_memory: registered(&registry, IntGauge::with_opts(opts(&names::ANSWER_MEMORY))?)?,
            shed: counters(&names::SHED, &[label::CAP])?,
            ledger_queue: registered(&registry, IntGauge::with_opts(opts(&names::LEDGER_QUEUE))?)?,
            ledger_dropped: registered(&registry, IntCounter::with_opts(opts(&names::LEDGER_DROPPED))?)?,
            ledger_quarantined: registered(&registry, IntCounter::with_opts(opts(&names::LEDGER_QUARANTINED))?)?,
            ledger_lag: registered(&registry, Gauge::with_opts(opts(&names::LEDGER_LAG))?)?,
            spool_bytes: registered(&registry, IntGauge::with_opts(opts(&names::SPOOL_BYTES))?)?,
            spool_cuts: registered(&registry, IntCounter::with_opts(opts(&names::SPOOL_CUTS))?)?,
            access_log_dropped: registered(&registry, IntCounter::with_opts(opts(&names::ACCESS_LOG_DROPPED))?)?,
            spans_dropped: registered(&registry, IntCounter::with_opts(opts(&names::SPANS_DROPPED))?)?,
            streams_unshared: registered(&registry, IntCounter::with_opts(opts(&names::STREAMS_UNSHARED))?)?,
            store_listening: registered(&registry, IntGauge::with_opts(opts(&names::STORE_LISTENING))?)?,
            quota_listening: registered(&registry, IntGauge::with_opts(opts(&names::QUOTA_LISTENING))?)?,
            certificate_expiry: registered(
                &registry,
                GaugeVec::new(opts(&names::CERTIFICATE_EXPIRY), &[label::NAME])?,
            )?,
            reload_success: registered(&registry, IntGauge::with_opts(opts(&names::RELOAD_SUCCESS))?)?,
            reload_success_at: registered(&registry, Gauge::with_opts(opts(&names::RELOAD_SUCCESS_AT))?)?,
            reloads: counters(&names::RELOADS, &[label::OUTCOME])?,
            certificate_unreadable: registered(
                &registry,
                IntCounter::with_opts(opts(&names::CERTIFICATE_UNREADABLE))?,
            )?,
            acme_orders: counters(&names::ACME_ORDERS, &[label::OUTCOME])?,
            acme_failures: registered(&registry, IntGaugeVec::new(opts(&names::ACME_FAILURES), &[label::NAME])?)?,
            tls_handshakes: counters(&names::TLS_HANDSHAKES, &[label::OUTCOME])?,
            upstreams: UpstreamSeries::new(&registry)?,
            registry,
        })
    }

    /// Counts one finished request.
    pub fn request(&self, seen: &RequestObservation<'_>) {
        self.duration.observe(seen.duration);
        if let Some(first_token) = seen.first_token {
            self.first_token.observe(first_token);
        }
        if let Some(overhead) = seen.overhead {
            self.overhead.observe(overhead);
        }
        self.series.count(seen);
    }

    /// Counts a refusal; `reason` is the error code the client saw.
    pub fn refusal(&self, reason: &'static str) {
        increment(&self.refusals, &[reason]);
    }

    /// Counts what a guard turned away.
    pub fn guarded(&self, reason: &'static str) {
        increment(&self.guarded, &[reason]);
    }

    /// Counts one request sent to an upstream.
    pub fn attempt(&self, upstream: &str, outcome: &'static str) {
        increment(&self.attempts, &[upstream, outcome]);
    }

    /// Brings the lease counters up to `granted`, leases the store gave, and `local`, requests admitted without it.
    pub fn set_leases(&self, granted: u64, local: u64) {
        for (outcome, total) in [("granted", granted), ("local", local)] {
            if let Ok(counter) = self.leases.get_metric_with_label_values(&[outcome]) {
                raise(&counter, total);
            }
        }
    }

    /// Counts a stream as under way for as long as the answer lives.
    pub fn stream_opened(&self) -> StreamGauge {
        self.streams.inc();
        StreamGauge(self.streams.clone())
    }

    /// Admitted requests under way, and bytes of bodies and of unread answers held.
    pub fn set_fullness(&self, in_flight: usize, body_bytes: usize, answer_bytes: usize) {
        self.in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        self.body_memory.set(i64::try_from(body_bytes).unwrap_or(i64::MAX));
        self.answer_memory.set(i64::try_from(answer_bytes).unwrap_or(i64::MAX));
    }

    /// Brings the count of requests turned away by a cap up to `total`.
    pub fn set_shed(&self, cap: &'static str, total: u64) {
        if let Ok(counter) = self.shed.get_metric_with_label_values(&[cap]) {
            raise(&counter, total);
        }
    }

    /// Records that wait to be stored; how many were lost, and how many the store refused, since the start.
    pub fn set_ledger(&self, queued: usize, dropped: u64, quarantined: u64) {
        self.ledger_queue.set(i64::try_from(queued).unwrap_or(i64::MAX));
        raise(&self.ledger_dropped, dropped);
        raise(&self.ledger_quarantined, quarantined);
    }

    /// What the ledger's spool takes of the disk, and how many of its segments were found damaged at the start.
    pub fn set_spool(&self, bytes: u64, cuts: u64) {
        self.spool_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        raise(&self.spool_cuts, cuts);
    }

    /// For how long the oldest record has waited.
    pub fn set_ledger_lag(&self, lag: Duration) {
        self.ledger_lag.set(lag.as_secs_f64());
    }

    /// Brings the count of lost access lines up to `total`.
    pub fn set_access_log_dropped(&self, total: u64) {
        raise(&self.access_log_dropped, total);
    }

    /// Brings the count of lost spans up to `total`.
    pub fn set_spans_dropped(&self, total: u64) {
        raise(&self.spans_dropped, total);
    }

    /// Brings the count of streams admitted without the other edges up to `total`.
    pub fn set_streams_unshared(&self, total: u64) {
        raise(&self.streams_unshared, total);
    }

    /// Whether what other processes change is heard at this moment.
    pub fn set_store_listening(&self, listening: bool) {
        self.store_listening.set(i64::from(listening));
    }

    /// Whether the other edges are heard at this moment.
    pub fn set_quota_listening(&self, listening: bool) {
        self.quota_listening.set(i64::from(listening));
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

    /// The configuration of a start was sound.
    pub fn configured(&self, at: Timestamp) {
        self.reload_success.set(1);
        self.reload_success_at.set(at.0 as f64 / 1e6);
    }

    /// Counts an attempt to read the configuration anew.
    pub fn reloaded(&self, outcome: Reload, at: Timestamp) {
        let (success, label) = match outcome {
            Reload::Applied => (true, "applied"),
            Reload::Unchanged => (true, "unchanged"),
            Reload::Refused => (false, "refused"),
        };
        increment(&self.reloads, &[label]);
        if success {
            self.configured(at);
        } else {
            self.reload_success.set(0);
        }
    }

    /// Forgets every upstream, target and model, for those to be shown anew that there still are.
    pub fn forget_upstreams(&self) {
        self.upstreams.forget();
    }

    /// Counts a certificate that changed on disk and cannot be served.
    pub fn certificate_unreadable(&self) {
        self.certificate_unreadable.inc();
    }

    /// Counts an order of a certificate by what became of it.
    pub fn acme_order(&self, outcome: &'static str) {
        increment(&self.acme_orders, &[outcome]);
    }

    /// Each domain that is ordered for and how many orders in a row have failed for it, in place of those named before.
    pub fn set_acme_failures(&self, failures: &[(&str, u32)]) {
        self.acme_failures.reset();
        for (domain, failures) in failures {
            if let Ok(gauge) = self.acme_failures.get_metric_with_label_values(&[domain]) {
                gauge.set(i64::from(*failures));
            }
        }
    }

    /// Counts a handshake by how it went.
    pub fn tls_handshake(&self, outcome: &'static str) {
        increment(&self.tls_handshakes, &[outcome]);
    }

    /// How a breaker stands.
    pub fn set_breaker(&self, seen: &BreakerReading<'_>) {
        self.upstreams.set_breaker(seen);
    }

    /// How a target stands that is asked for its health.
    pub fn set_health(&self, seen: &HealthReading<'_>) {
        self.upstreams.set_health(seen);
    }

    /// Brings the count of second attempts that an upstream was spared up to `total`.
    pub fn set_retries_refused(&self, upstream: &str, total: u64) {
        self.upstreams.set_retries_refused(upstream, total);
    }

    /// Everything, in the text exposition format ([`CONTENT_TYPE`]).
    pub fn render(&self) -> String {
        let families = self.registry.gather();
        // A family that cannot be written is a fault of ours; a comment keeps the answer valid and says so.
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

impl Drop for StreamGauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Upper bounds in nanoseconds. A plain route answers within a millisecond, a stream may last 30 minutes and then some.
const DURATIONS: [u64; 22] = {
    let mut bounds = [1_000_000, 2_500_000, 5_000_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let longer: [u64; 19] = doublings(10_000_000);
    let mut n = 0;
    while n < longer.len() {
        bounds[n + 3] = longer[n];
        n += 1;
    }
    bounds
};

/// From 10 µs to a second.
const OVERHEADS: [u64; 14] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    1_000_000_000,
];

/// Bounds that are each twice the one before: the GenAI conventions' 0.01·2ⁿ seconds.
const fn doublings<const N: usize>(first: u64) -> [u64; N] {
    let mut bounds = [first; N];
    let mut n = 1;
    while n < N {
        bounds[n] = bounds[n - 1] * 2;
        n += 1;
    }
    bounds
}

fn opts(name: &Name) -> Opts {
    Opts::new(name.name, name.help)
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

/// Brings a counter up to a total that is counted elsewhere.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
