//! What was used, and what may be asked for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Today, and what it may come to.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Today {
    #[schema(format = Date)]
    pub day: String,
    pub requests: u64,
    pub limit: u32,
    pub remaining: u64,
    /// Next 00:00 UTC.
    #[schema(format = DateTime)]
    pub resets_at: String,
    pub answered: u64,
    pub failed: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_usd: f64,
    /// Since the first of the month, today included.
    pub month_cost_usd: f64,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct DayOfUse {
    #[schema(format = Date)]
    pub day: String,
    pub requests: u64,
    pub answered: u64,
    pub failed: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_usd: f64,
}

/// What one stage, or one model, had.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ShareOfUse {
    /// None: refused before it was known.
    pub name: Option<String>,
    pub requests: u64,
    pub answered: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_usd: f64,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct StageOfUse {
    pub name: String,
    pub model: String,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Model {
    pub alias: String,
    /// US dollars per million tokens. None: no price is known.
    pub input_price: Option<f64>,
    pub output_price: Option<f64>,
}

/// What this user may ask for.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Offer {
    pub stages: Vec<StageOfUse>,
    pub models: Vec<Model>,
    pub direct: bool,
}
