//! The way of spans to a collector, where the configuration names one.

use tokio::runtime::Runtime;

use super::problem::StartProblem;
use crate::config;
use crate::telemetry::traces::{self, Traces};

pub(super) fn start(telemetry: &config::Telemetry, runtime: &Runtime) -> Result<Option<Traces>, StartProblem> {
    let Some(settings) = &telemetry.traces else { return Ok(None) };
    let (traces, sending) = traces::open(&settings.endpoint).map_err(StartProblem::Traces)?;
    runtime.spawn(sending.run());
    Ok(Some(traces))
}
