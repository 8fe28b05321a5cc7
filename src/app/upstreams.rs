//! What the metrics show of the upstreams.

use std::time::Instant;

use crate::telemetry::metrics::{BreakerReading, HealthReading, Metrics};
use crate::upstream::Balancer;

/// Brings the metrics up to how the upstreams stand now.
pub fn show(balancer: &Balancer, metrics: &Metrics) {
    let now = Instant::now();
    for group in balancer.groups() {
        for reading in group.readings(now) {
            metrics.set_breaker(&BreakerReading {
                upstream: &reading.subject.upstream,
                target: &reading.subject.target,
                model: &reading.subject.model,
                stand: reading.stand as u8,
                turns: reading.turns,
                failures: reading.failures,
            });
        }
        for member in group.members().iter().filter(|_| group.health().is_some()) {
            metrics.set_health(&HealthReading {
                upstream: group.name(),
                target: &member.target.to_string(),
                well: member.is_well(),
                turns: member.health_turns(),
            });
        }
        metrics.set_retries_refused(group.name(), group.budget.refused());
    }
}
