//! A small `models.yaml` for this room's tests, and requests to hold against it.

use std::sync::Arc;

use bytes::Bytes;
use regex::Regex;

use super::{Choice, Endpoint, KeyScope, Request, StageProblem, choose};
use crate::config::{Direct, InferRule, Model, Models, Placement, Price, Prompt, StagePolicy, TimeoutOverrides};
use crate::units::Stage;

pub(super) const PROMPT: &str = "You \"plan\".\nNo code.";

pub(super) fn models() -> Models {
    let model = |alias: &str, upstream: &str, most: Option<u64>| {
        Arc::new(Model {
            alias: alias.into(),
            upstream_model: upstream.into(),
            price: Price {
                input: 3_000_000_000,
                cached_input: 300_000_000,
                cache_write: 3_750_000_000,
                output: 15_000_000_000,
                reasoning: 15_000_000_000,
            },
            context_window: Some(200_000),
            max_output_tokens: most,
            vision: alias == "sonnet",
        })
    };
    let policy = |model: &Arc<Model>| StagePolicy {
        model: model.clone(),
        system: Some(Prompt::new(PROMPT)),
        placement: Placement::Prepend,
        max_tokens: None,
        temperature: None,
        fallback: None,
        timeouts: TimeoutOverrides::default(),
    };
    let sonnet = model("sonnet", "anthropic/sonnet \"4\"", Some(64_000));
    let coder = model("coder", "deepseek-chat", Some(8_192));
    let mini = model("mini", "gpt-mini", None);
    let embed = model("embed", "text-embedding", None);
    Models {
        default_stage: Stage::Plan,
        plan: StagePolicy { fallback: Some(mini.clone()), ..policy(&sonnet) },
        code: StagePolicy { max_tokens: Some(4_096), temperature: Some((0.0, 0.5)), ..policy(&coder) },
        review: StagePolicy { placement: Placement::Append, ..policy(&mini) },
        embeddings: Some(embed.clone()),
        completions: Some(coder.clone()),
        infer: vec![
            InferRule {
                last_user_message: Some(Regex::new(r"(?i)\breview\b").unwrap()),
                has_diff: None,
                has_tools: None,
                stage: Stage::Review,
            },
            InferRule { last_user_message: None, has_diff: Some(true), has_tools: Some(false), stage: Stage::Review },
            InferRule { last_user_message: None, has_diff: None, has_tools: Some(true), stage: Stage::Code },
        ],
        direct: Direct { enabled: false, allow: Vec::new(), deny: vec!["embed".to_owned()], max_tokens: Some(1_000) },
        aliases: [sonnet, coder, mini, embed].into_iter().map(|model| (model.alias.to_string(), model)).collect(),
    }
}

pub(super) fn request(endpoint: Endpoint, body: &str) -> Request {
    Request::parse(endpoint, Bytes::copy_from_slice(body.as_bytes()))
        .unwrap_or_else(|problem| panic!("{problem}: {body}"))
}

/// A chat request with one user message.
pub(super) fn chat(model: &str, text: &str) -> Request {
    let body = serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": text }] });
    request(Endpoint::ChatCompletions, &body.to_string())
}

pub(super) fn choice(models: &Models, request: &Request, header: Option<&str>) -> Result<Choice, StageProblem> {
    choose(models, request, header, KeyScope::default())
}
