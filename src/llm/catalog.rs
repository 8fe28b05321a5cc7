//! The models a key may name, as `GET /v1/models`, `/v1/models/{id}` and `/v1/model/info` show them.
//!
//! Upstream names and addresses never appear: an alias is all a client needs.

use serde::Serialize;

use super::stage::{KeyScope, direct_model, stage_named_by};
use crate::config::{Model, Models};
use crate::units::Stage;

/// One name a client may send as `model`.
struct Entry<'a> {
    id: &'a str,
    model: &'a Model,
    /// The most output tokens of one answer, by the stage, by direct mode or by the model.
    max_output_tokens: Option<u64>,
    mode: &'static str,
}

/// OpenAI's list: `{"object":"list","data":[…]}`.
pub fn model_list(models: &Models, scope: KeyScope<'_>) -> String {
    let data: Vec<_> = entries(models, scope).iter().map(ListedModel::of).collect();
    json(&List { object: "list", data })
}

/// OpenAI's single model; a stage goes by all its names. None where this key may not use it.
pub fn model(models: &Models, scope: KeyScope<'_>, id: &str) -> Option<String> {
    let listed = stage_named_by(id).and_then(Stage::as_model).unwrap_or(id);
    entries(models, scope).iter().find(|entry| entry.id == listed).map(|entry| json(&ListedModel::of(entry)))
}

/// LiteLLM's `model/info`, which Roo Code's and Cline's LiteLLM providers read: windows, caps, vision, prices.
pub fn model_info(models: &Models, scope: KeyScope<'_>) -> String {
    let data: Vec<_> = entries(models, scope).iter().map(DescribedModel::of).collect();
    json(&Described { data })
}

fn entries<'a>(models: &'a Models, scope: KeyScope<'_>) -> Vec<Entry<'a>> {
    // First in every list.
    let stages = Stage::ALL.into_iter().filter_map(|stage| {
        let (id, policy) = (stage.as_model()?, models.stage(stage)?);
        let usable = scope.allows_stage(stage) && scope.allows_model(&policy.model);
        usable.then(|| Entry {
            id,
            model: &policy.model,
            max_output_tokens: least(policy.max_tokens, policy.model.max_output_tokens),
            mode: "chat",
        })
    });
    let direct = models.aliases.keys().filter_map(|alias| {
        let model = direct_model(models, alias)?;
        let usable = scope.allows_stage(Stage::Direct) && scope.allows_model(model);
        usable.then(|| Entry {
            id: alias,
            model,
            max_output_tokens: least(models.direct.max_tokens, model.max_output_tokens),
            mode: mode(models, model),
        })
    });
    stages.chain(direct).collect()
}

/// LiteLLM's word for what a model does, from what the configuration uses it for.
fn mode(models: &Models, model: &Model) -> &'static str {
    let is = |other: &Option<std::sync::Arc<Model>>| other.as_ref().is_some_and(|other| other.alias == model.alias);
    let in_a_stage =
        [&models.plan, &models.code, &models.review].into_iter().any(|policy| policy.model.alias == model.alias);
    if in_a_stage {
        "chat"
    } else if is(&models.embeddings) {
        "embedding"
    } else if is(&models.completions) {
        "completion"
    } else {
        "chat"
    }
}

fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<ListedModel<'a>>,
}

#[derive(Serialize)]
struct ListedModel<'a> {
    id: &'a str,
    object: &'static str,
    /// Required by OpenAI's clients; an alias has no day of birth.
    created: u64,
    owned_by: &'static str,
}

#[derive(Serialize)]
struct Described<'a> {
    data: Vec<DescribedModel<'a>>,
}

#[derive(Serialize)]
struct DescribedModel<'a> {
    model_name: &'a str,
    litellm_params: Params<'a>,
    model_info: Info,
}

#[derive(Serialize)]
struct Params<'a> {
    /// LiteLLM shows the provider's model here; clients only want it to be there.
    model: &'a str,
}

#[derive(Serialize)]
struct Info {
    max_tokens: Option<u64>,
    max_input_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    supports_vision: bool,
    supports_function_calling: bool,
    supports_prompt_caching: bool,
    /// US dollars per token, this and the next four.
    input_cost_per_token: f64,
    cache_read_input_token_cost: f64,
    cache_creation_input_token_cost: f64,
    output_cost_per_token: f64,
    output_cost_per_reasoning_token: f64,
    mode: &'static str,
}

impl<'a> ListedModel<'a> {
    fn of(entry: &Entry<'a>) -> Self {
        Self { id: entry.id, object: "model", created: 0, owned_by: "cfx" }
    }
}

impl<'a> DescribedModel<'a> {
    fn of(entry: &Entry<'a>) -> Self {
        let price = &entry.model.price;
        Self {
            model_name: entry.id,
            litellm_params: Params { model: entry.id },
            model_info: Info {
                max_tokens: entry.max_output_tokens,
                max_input_tokens: entry.model.context_window,
                max_output_tokens: entry.max_output_tokens,
                supports_vision: entry.model.vision,
                supports_function_calling: entry.mode == "chat",
                // A price of its own for cached input is how the file says that there is a cache.
                supports_prompt_caching: price.cached_input < price.input,
                input_cost_per_token: per_token(price.input),
                cache_read_input_token_cost: per_token(price.cached_input),
                cache_creation_input_token_cost: per_token(price.cache_write),
                output_cost_per_token: per_token(price.output),
                output_cost_per_reasoning_token: per_token(price.reasoning),
                mode: entry.mode,
            },
        }
    }
}

/// Dollars per token, from billionths of a dollar per million tokens.
#[expect(clippy::cast_precision_loss, reason = "prices have far fewer than 53 significant bits")]
fn per_token(price: u64) -> f64 {
    price as f64 / 1e15
}

/// These types have string keys and finite numbers only, so there is nothing that could fail.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
