//! How an edge stands, for its operators.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How an edge stands, for its operators.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct EdgeState {
    pub version: String,
    #[schema(format = DateTime)]
    pub started_at: String,
    /// What it does without at this moment.
    pub degraded: Option<String>,
    pub upstreams: Vec<UpstreamState>,
    pub certificates: Vec<CertificateState>,
    pub configuration: ConfigurationState,
    /// Rows not yet in the store.
    pub ledger_queued: u64,
    pub ledger_dropped: u64,
    pub ledger_quarantined: u64,
    pub streams_in_flight: u64,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct UpstreamState {
    pub name: String,
    /// No route leads to it, as the configuration stands.
    #[serde(default)]
    pub unrouted: bool,
    pub targets: Vec<TargetState>,
    /// Breakers of models behind it that are not closed.
    pub models: Vec<ModelState>,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct TargetState {
    pub address: String,
    /// By its health checks; true where there are none.
    pub healthy: bool,
    /// `closed`, `open` or `half_open`.
    pub breaker: String,
    pub in_flight: u64,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ModelState {
    pub model: String,
    pub breaker: String,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct CertificateState {
    pub names: Vec<String>,
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// `file`, `acme` or `self-signed`.
    pub source: String,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ConfigurationState {
    #[schema(format = DateTime)]
    pub since: String,
    pub hash: String,
    /// Why the files were not taken when they were last read; empty where they were. `conf/cfx.yaml:14:7 routes[2]: …`
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
    /// What the files say and only a restart brings about.
    pub restart: Vec<String>,
}

/// What a reload came to.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Reloaded {
    pub ok: bool,
    pub problems: Vec<String>,
    pub changed: Vec<String>,
}
