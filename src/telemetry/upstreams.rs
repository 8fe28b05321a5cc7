//! How upstreams stand: breakers, health checks, second attempts that were not made. Read off when somebody asks.

use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::telemetry::names::{self, Name, label};

/// What `state` says of each way a breaker can stand, in the order of [`BreakerReading::turns`].
const STATES: [&str; 3] = ["closed", "half_open", "open"];
/// What `state` says of a target that was found ill, and well.
const HEALTH: [&str; 2] = ["ill", "well"];

/// One breaker.
#[derive(Debug, Clone, Copy)]
pub struct BreakerReading<'a> {
    pub upstream: &'a str,
    /// Empty for a model's.
    pub target: &'a str,
    /// Empty for a target's.
    pub model: &'a str,
    /// 0 closed, 1 half-open, 2 open.
    pub stand: u8,
    /// How often it turned closed, half-open and open.
    pub turns: [u64; 3],
    /// How many failures it was told of.
    pub failures: u64,
}

/// One target with health checks.
#[derive(Debug, Clone, Copy)]
pub struct HealthReading<'a> {
    pub upstream: &'a str,
    pub target: &'a str,
    pub well: bool,
    /// How often it was found ill, and well again.
    pub turns: [u64; 2],
}

pub(super) struct UpstreamSeries {
    breakers: IntGaugeVec,
    breaker_turns: IntCounterVec,
    breaker_failures: IntCounterVec,
    health: IntGaugeVec,
    health_turns: IntCounterVec,
    retries_refused: IntCounterVec,
}

impl UpstreamSeries {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        use label::{MODEL, STATE, TARGET, UPSTREAM};
        let gauges = |name, labels: &[&str]| registered(registry, IntGaugeVec::new(opts(name), labels)?);
        let counters = |name, labels: &[&str]| registered(registry, IntCounterVec::new(opts(name), labels)?);
        Ok(Self {
            breakers: gauges(&names::BREAKER_STATE, &[UPSTREAM, TARGET, MODEL])?,
            breaker_turns: counters(&names::BREAKER_TURNS, &[UPSTREAM, TARGET, MODEL, STATE])?,
            breaker_failures: counters(&names::BREAKER_FAILURES, &[UPSTREAM, TARGET, MODEL])?,
            health: gauges(&names::TARGET_HEALTHY, &[UPSTREAM, TARGET])?,
            health_turns: counters(&names::HEALTH_TURNS, &[UPSTREAM, TARGET, STATE])?,
            retries_refused: counters(&names::RETRIES_REFUSED, &[UPSTREAM])?,
        })
    }

    pub fn forget(&self) {
        [&self.breakers, &self.health].into_iter().for_each(IntGaugeVec::reset);
        let counters = [&self.breaker_turns, &self.breaker_failures, &self.health_turns, &self.retries_refused];
        counters.into_iter().for_each(IntCounterVec::reset);
    }

    pub fn set_breaker(&self, seen: &BreakerReading<'_>) {
        let BreakerReading { upstream, target, model, .. } = *seen;
        if let Ok(gauge) = self.breakers.get_metric_with_label_values(&[upstream, target, model]) {
            gauge.set(seen.stand.into());
        }
        for (state, total) in STATES.into_iter().zip(seen.turns) {
            raise(&self.breaker_turns, &[upstream, target, model, state], total);
        }
        raise(&self.breaker_failures, &[upstream, target, model], seen.failures);
    }

    pub fn set_health(&self, seen: &HealthReading<'_>) {
        if let Ok(gauge) = self.health.get_metric_with_label_values(&[seen.upstream, seen.target]) {
            gauge.set(seen.well.into());
        }
        for (state, total) in HEALTH.into_iter().zip(seen.turns) {
            raise(&self.health_turns, &[seen.upstream, seen.target, state], total);
        }
    }

    pub fn set_retries_refused(&self, upstream: &str, total: u64) {
        raise(&self.retries_refused, &[upstream], total);
    }
}

fn opts(name: &Name) -> Opts {
    Opts::new(name.name, name.help)
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// Brings a counter up to a total that is counted elsewhere.
fn raise(counters: &IntCounterVec, labels: &[&str], total: u64) {
    if let Ok(counter) = counters.get_metric_with_label_values(labels) {
        counter.inc_by(total.saturating_sub(counter.get()));
    }
}
