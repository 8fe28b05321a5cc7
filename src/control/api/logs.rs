//! The requests themselves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One request.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct LogEntry {
    pub request_id: Uuid,
    #[schema(format = DateTime)]
    pub created_at: String,
    pub key_id: Uuid,
    pub session_id: Option<String>,
    pub stage: Option<String>,
    pub stage_source: Option<String>,
    pub model: Option<String>,
    pub stream: bool,
    pub body_bytes: u64,
    /// `success`, `error`, `rate_limited` or `cancelled`.
    pub status: String,
    pub http_status: u16,
    pub input_tokens: Option<u64>,
    pub cached_input_tokens: Option<u64>,
    pub cache_write_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub total_tokens: Option<u64>,
    /// Whether the tokens are our estimate and not the provider's word.
    pub estimated: bool,
    pub cost_usd: f64,
    pub latency_ms: u64,
    pub first_token_ms: Option<u64>,
    pub attempts: u8,
    pub error: Option<String>,
}

/// Of a live tail: some requests that ended in this time are not sent.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Gap {
    #[schema(format = DateTime)]
    pub from: String,
    #[schema(format = DateTime)]
    pub until: String,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct LogPage {
    /// Newest first.
    pub entries: Vec<LogEntry>,
    /// To be given as `before` for the next page. None: this was the last.
    pub next: Option<String>,
}
