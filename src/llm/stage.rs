//! Which stage a request is for, and so which model answers it under which policy.
//!
//! In order: the `X-CFX-Stage` header; a `model` that names a stage; while direct mode is on, a `model` that names an
//! alias; the rules of `models.yaml`; the default. While direct mode is off a `model` that names no stage is ignored.
//! A rule only proposes: one whose stage this key may not use is passed over. A stage that was named, or the default,
//! is refused instead.

mod infer;
mod problem;

use std::sync::Arc;

pub use problem::StageProblem;

use super::endpoint::{Dialect, Endpoint};
use super::request::Request;
use crate::config::{Model, Models, Placement, Prompt, TimeoutOverrides};
use crate::units::{Stage, StageSource};

/// What a key may use; None is everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyScope<'a> {
    pub stages: Option<&'a [Stage]>,
    /// Aliases.
    pub models: Option<&'a [String]>,
}

/// The stage of one request and all that follows from it, independent of the snapshot it was taken from.
#[derive(Debug, Clone)]
pub struct Choice {
    pub stage: Stage,
    pub source: StageSource,
    pub model: Arc<Model>,
    /// Asked once where `model` cannot be reached, is cut off before its answer's head, or answers 502, 503 or 504.
    /// None too where this key may not use it.
    pub fallback: Option<Arc<Model>>,
    /// Of the stage. None: the request's own stands alone.
    pub system: Option<Prompt>,
    pub placement: Placement,
    /// The most output tokens of one answer.
    pub max_tokens: Option<u64>,
    /// Bounds for a `temperature` that is given.
    pub temperature: Option<(f64, f64)>,
    pub timeouts: TimeoutOverrides,
}

/// Chooses for one request. `header` is the value of `X-CFX-Stage`.
pub fn choose(
    models: &Models,
    request: &Request,
    header: Option<&str>,
    scope: KeyScope<'_>,
) -> Result<Choice, StageProblem> {
    let named = header.map(named_by_header).transpose()?;
    match request.endpoint().dialect() {
        Dialect::Embeddings => {
            let model = models.embeddings.as_ref().ok_or(StageProblem::Off("embeddings"))?;
            stageless(model, None, scope)
        }
        Dialect::Completions => {
            let model = models.completions.as_ref().ok_or(StageProblem::Off("completions"))?;
            // An answer without a stage's prompt: what a key limited to stages must not get by this door either.
            scope.check_stage(Stage::Direct)?;
            stageless(model, models.direct.max_tokens, scope)
        }
        Dialect::Chat | Dialect::Responses | Dialect::Messages => match named {
            Some(Stage::Direct) => direct_by_header(models, request, scope),
            Some(stage) => staged(models, stage, StageSource::Header, scope),
            None => unnamed(models, request, scope),
        },
    }
}

/// The stage that a model name stands for: `plan`, `cfx-plan` and so on, in any case.
pub fn stage_named_by(model: &str) -> Option<Stage> {
    let means = |name: &str| name.eq_ignore_ascii_case(model);
    Stage::ALL.into_iter().find(|stage| stage.as_model().is_some_and(|listed| means(listed) || means(stage.as_str())))
}

/// The alias `name`, where direct mode lets it be named: on, in `allow` or `allow` empty, not in `deny`.
pub(super) fn direct_model<'a>(models: &'a Models, name: &str) -> Option<&'a Arc<Model>> {
    let direct = &models.direct;
    let is_name = |listed: &String| listed == name;
    let allowed = direct.allow.is_empty() || direct.allow.iter().any(is_name);
    if !direct.enabled || !allowed || direct.deny.iter().any(is_name) {
        return None;
    }
    models.aliases.get(name)
}

fn named_by_header(value: &str) -> Result<Stage, StageProblem> {
    let value = value.trim();
    Stage::ALL
        .into_iter()
        .find(|stage| stage.as_str().eq_ignore_ascii_case(value))
        .ok_or_else(|| StageProblem::unknown_stage(value))
}

fn unnamed(models: &Models, request: &Request, scope: KeyScope<'_>) -> Result<Choice, StageProblem> {
    if let Some(name) = request.model() {
        if let Some(stage) = stage_named_by(name) {
            return staged(models, stage, StageSource::Model, scope);
        }
        if models.direct.enabled && models.aliases.contains_key(name) {
            return direct(models, request, name, StageSource::Model, scope);
        }
    }
    match infer::infer(&models.infer, request, scope) {
        Some(stage) => staged(models, stage, StageSource::Inferred, scope),
        None => staged(models, models.default_stage, StageSource::Default, scope),
    }
}

fn staged(models: &Models, stage: Stage, source: StageSource, scope: KeyScope<'_>) -> Result<Choice, StageProblem> {
    scope.check_stage(stage)?;
    // Only `direct` has no policy, and neither a rule nor the default can name it.
    let policy = models.stage(stage).ok_or(StageProblem::DirectOff)?;
    scope.check_model(&policy.model)?;
    Ok(Choice {
        stage,
        source,
        model: policy.model.clone(),
        fallback: policy.fallback.clone().filter(|model| scope.check_model(model).is_ok()),
        system: policy.system.clone(),
        placement: policy.placement,
        max_tokens: policy.max_tokens,
        temperature: policy.temperature,
        timeouts: policy.timeouts,
    })
}

fn direct_by_header(models: &Models, request: &Request, scope: KeyScope<'_>) -> Result<Choice, StageProblem> {
    if !models.direct.enabled {
        return Err(StageProblem::DirectOff);
    }
    let name = request.model().ok_or(StageProblem::ModelMissing)?;
    direct(models, request, name, StageSource::Header, scope)
}

fn direct(
    models: &Models,
    request: &Request,
    name: &str,
    source: StageSource,
    scope: KeyScope<'_>,
) -> Result<Choice, StageProblem> {
    let model = direct_model(models, name).ok_or_else(|| StageProblem::model_not_allowed(name))?;
    scope.check_stage(Stage::Direct)?;
    check_thinking(models, request, model)?;
    Ok(Choice { source, ..stageless(model, models.direct.max_tokens, scope)? })
}

/// Thinking is output too: a budget that leaves no answer below the cap would be refused by the provider, or be the way
/// around the cap. It is refused and not lowered, so that nobody pays for less thinking than was asked for.
fn check_thinking(models: &Models, request: &Request, model: &Model) -> Result<(), StageProblem> {
    let Some(cap) = models.direct.max_tokens else { return Ok(()) };
    let cap = model.max_output_tokens.map_or(cap, |most| cap.min(most));
    let fits = request.thinking_budget().is_none_or(|budget| budget < cap);
    // A count of tokens thinks nothing.
    if fits || request.endpoint() == Endpoint::CountTokens {
        Ok(())
    } else {
        Err(StageProblem::ThinkingTooLong { cap })
    }
}

/// No stage prompt, no temperature bounds, no fallback; logged as `direct`.
fn stageless(model: &Arc<Model>, max_tokens: Option<u64>, scope: KeyScope<'_>) -> Result<Choice, StageProblem> {
    scope.check_model(model)?;
    Ok(Choice {
        stage: Stage::Direct,
        source: StageSource::Default,
        model: model.clone(),
        fallback: None,
        system: None,
        placement: Placement::default(),
        max_tokens,
        temperature: None,
        timeouts: TimeoutOverrides::default(),
    })
}

impl KeyScope<'_> {
    pub(super) fn allows_stage(&self, stage: Stage) -> bool {
        self.stages.is_none_or(|allowed| allowed.contains(&stage))
    }

    pub(super) fn allows_model(&self, model: &Model) -> bool {
        self.models.is_none_or(|allowed| allowed.iter().any(|alias| **alias == *model.alias))
    }

    fn check_stage(&self, stage: Stage) -> Result<(), StageProblem> {
        if self.allows_stage(stage) { Ok(()) } else { Err(StageProblem::StageNotPermitted(stage)) }
    }

    fn check_model(&self, model: &Model) -> Result<(), StageProblem> {
        if self.allows_model(model) { Ok(()) } else { Err(StageProblem::ModelNotPermitted(model.alias.clone())) }
    }
}

#[cfg(test)]
mod tests;
