//! What leaves the process about requests, beside the metrics.

use crate::telemetry::fields::Fields;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Telemetry {
    /// What stands in a line of the access log.
    pub access_log: Fields,
    /// None: no traces are kept or sent.
    pub traces: Option<Traces>,
}

/// Where spans go, by OTLP over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// The whole URL, as a rule `http://collector:4318/v1/traces`.
    pub endpoint: String,
    /// The share of requests that are traced, of those that bring no trace of their own: 0 to 1.
    pub sample: f64,
}
