//! Prices from a file in the format of LiteLLM's `model_prices_and_context_window.json`, in dollars per token.

use std::collections::HashMap;

use serde::Deserialize;

use super::super::problem::Checked;
use super::super::source::Source;
use super::read::At;

/// What a prices file says of one model. Everything else in it is passed over.
#[derive(Debug, Default, Clone, Deserialize)]
pub(super) struct Listed {
    input_cost_per_token: Option<f64>,
    cache_read_input_token_cost: Option<f64>,
    cache_creation_input_token_cost: Option<f64>,
    output_cost_per_token: Option<f64>,
    output_cost_per_reasoning_token: Option<f64>,
    pub max_input_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
    pub supports_vision: Option<bool>,
}

/// A price of which parts may be unknown, in billionths of a dollar per million tokens.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct PartialPrice {
    pub input: Option<u64>,
    pub cached_input: Option<u64>,
    pub cache_write: Option<u64>,
    pub output: Option<u64>,
    pub reasoning: Option<u64>,
}

/// The models of a prices file by name. Entries are read when they are asked for: the file has thousands, and one that
/// is not used may hold anything (its `sample_spec` holds prose).
pub(super) struct PricesFile(HashMap<String, serde_json::Value>);

impl PricesFile {
    pub(super) fn read(at: &At, source: &Source) -> Checked<Self> {
        let text = at.file(source)?;
        serde_json::from_str(&text)
            .map(Self)
            .map_err(|error| at.problem(format!("{} is no JSON object: {error}", at.quoted())))
    }

    /// None: the file does not name the model. The error says what is wrong with its entry.
    pub(super) fn of(&self, model: &str) -> Result<Option<Listed>, String> {
        self.0.get(model).map(Listed::deserialize).transpose().map_err(|error| error.to_string())
    }
}

impl Listed {
    pub(super) fn price(&self) -> PartialPrice {
        PartialPrice {
            input: self.input_cost_per_token.and_then(nanos_per_million),
            cached_input: self.cache_read_input_token_cost.and_then(nanos_per_million),
            cache_write: self.cache_creation_input_token_cost.and_then(nanos_per_million),
            output: self.output_cost_per_token.and_then(nanos_per_million),
            reasoning: self.output_cost_per_reasoning_token.and_then(nanos_per_million),
        }
    }
}

/// Dollars per token to billionths of a dollar per million tokens. None for what is no price.
fn nanos_per_million(dollars: f64) -> Option<u64> {
    const MOST: f64 = 1e15;
    let nanos = (dollars * 1e15).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and within 0..1e15")]
    (0.0..MOST).contains(&nanos).then_some(nanos as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_per_token_become_billionths_per_million() {
        assert_eq!(nanos_per_million(3e-6), Some(3_000_000_000));
        assert_eq!(nanos_per_million(2.8e-8), Some(28_000_000));
        assert_eq!(nanos_per_million(0.0), Some(0));
        assert_eq!(nanos_per_million(-1.0), None);
        assert_eq!(nanos_per_million(f64::NAN), None);
        assert_eq!(nanos_per_million(f64::INFINITY), None);
    }
}
