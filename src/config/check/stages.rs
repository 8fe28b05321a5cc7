//! The stages, and the rules that guess one.

use std::sync::Arc;

use super::super::problem::{Checked, Reported};
use super::super::snapshot::{InferRule, Model, Placement, Prompt, StagePolicy};
use super::super::source::Source;
use super::super::timeouts::TimeoutOverrides;
use super::models::Aliases;
use super::pattern;
use super::quantity::MOST_TOKENS;
use super::read::{At, Fields};
use super::upstreams;
use crate::units::Stage;

const STAGES: [(&str, Stage); 3] = [("plan", Stage::Plan), ("code", Stage::Code), ("review", Stage::Review)];
const PLACEMENTS: [(&str, Placement); 2] = [("prepend", Placement::Prepend), ("append", Placement::Append)];
const KEYS: [&str; 8] =
    ["model", "system", "system_file", "placement", "max_tokens", "temperature", "fallback", "timeouts"];
/// What every provider accepts at most.
const HOTTEST: f64 = 2.0;

/// The policies of plan, code and review.
pub(super) fn policies(file: &Fields, aliases: &Aliases, source: &Source) -> Checked<[StagePolicy; 3]> {
    let section =
        file.required("stages", "name a model for each: stages: { plan: { model: … }, code: …, review: … }")?;
    let stages = section.fields(&STAGES.map(|(name, _)| name))?;
    let [plan, code, review] = STAGES.map(|(name, _)| {
        stages.required(name, "write for example { model: gpt-mini }").and_then(|at| policy(&at, aliases, source))
    });
    Ok([plan?, code?, review?])
}

fn policy(at: &At, aliases: &Aliases, source: &Source) -> Checked<StagePolicy> {
    let fields = at.fields(&KEYS)?;
    let model = fields.required("model", "name one of models").and_then(|at| aliases.resolve(&at, "model"));
    let system = system(&fields, source);
    let placement = fields.or("placement", Placement::default(), |at| at.one_of("placement", &PLACEMENTS));
    let max_tokens = max_tokens(&fields, &model);
    let temperature = fields.optional("temperature", |at| temperature(&at));
    let fallback = fields.optional("fallback", |at| fallback(&at, &model, aliases));
    let timeouts = fields.or("timeouts", TimeoutOverrides::default(), |at| upstreams::timeouts(&at));
    Ok(StagePolicy {
        model: model?,
        system: system?,
        placement: placement?,
        max_tokens: max_tokens?,
        temperature: temperature?,
        fallback: fallback?,
        timeouts: timeouts?,
    })
}

/// The prompt, from the one key of the two that is there.
fn system(fields: &Fields, source: &Source) -> Checked<Option<Prompt>> {
    match (fields.get("system"), fields.get("system_file")) {
        (Some(_), Some(at)) => Err(at.problem_with("beside system", "keep one of the two")),
        (Some(at), None) => prompt(at.text()?, || at.problem("is empty")).map(Some),
        (None, Some(at)) => {
            let text = at.file(source)?;
            prompt(&text, || at.problem(format!("{} is empty", at.quoted()))).map(Some)
        }
        (None, None) => Ok(None),
    }
}

/// Without the line end that every editor leaves.
fn prompt(text: &str, empty: impl FnOnce() -> Reported) -> Checked<Prompt> {
    let text = text.trim();
    if text.is_empty() { Err(empty()) } else { Ok(Prompt::new(text)) }
}

/// A cap that the model refuses would fail every request of the stage.
fn max_tokens(fields: &Fields, model: &Checked<Arc<Model>>) -> Checked<Option<u64>> {
    let Some(at) = fields.get("max_tokens") else { return Ok(None) };
    let cap: u64 = at.whole(1..=MOST_TOKENS)?;
    match model.as_ref().map(|model| (model, model.max_output_tokens)) {
        Ok((model, Some(most))) if cap > most => {
            let message = format!("{cap} is more than max_output_tokens of {:?}", model.alias);
            Err(at.problem_with(message, format!("give at most {most}")))
        }
        _ => Ok(Some(cap)),
    }
}

fn temperature(at: &At) -> Checked<(f64, f64)> {
    let fields = at.fields(&["min", "max"])?;
    let min = fields.or("min", 0.0, |at| at.number(0.0..=HOTTEST));
    let max = fields.or("max", HOTTEST, |at| at.number(0.0..=HOTTEST));
    match (min?, max?) {
        (min, max) if min > max => Err(at.problem_with(format!("min {min} is above max {max}"), "swap them")),
        bounds => Ok(bounds),
    }
}

fn fallback(at: &At, model: &Checked<Arc<Model>>, aliases: &Aliases) -> Checked<Arc<Model>> {
    let fallback = aliases.resolve(at, "model")?;
    match model {
        Ok(model) if model.alias == fallback.alias => {
            Err(at
                .problem_with(format!("{} is the stage's model itself", at.quoted()), "name another, or leave it out"))
        }
        _ => Ok(fallback),
    }
}

/// `direct` is no stage to fall into: it is asked for by name.
pub(super) fn stage(at: &At) -> Checked<Stage> {
    at.one_of("stage", &STAGES)
}

pub(super) fn infer_rule(at: &At) -> Checked<InferRule> {
    let fields = at.fields(&["last_user_message", "has_diff", "has_tools", "stage"])?;
    let pattern = fields.optional("last_user_message", |at| pattern::pattern(&at));
    let has_diff = fields.optional("has_diff", |at| at.flag());
    let has_tools = fields.optional("has_tools", |at| at.flag());
    let stage = fields.required("stage", "say which stage the rule chooses").and_then(|at| self::stage(&at));
    let rule = InferRule { last_user_message: pattern?, has_diff: has_diff?, has_tools: has_tools?, stage: stage? };
    if rule.last_user_message.is_none() && rule.has_diff.is_none() && rule.has_tools.is_none() {
        return Err(at.problem_with("matches every request", "give a condition, or set default_stage instead"));
    }
    Ok(rule)
}
