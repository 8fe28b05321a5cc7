//! `models.yaml` as a whole: the aliases, and what names them.

use std::sync::Arc;

use super::super::problem::{Checked, Report};
use super::super::raw::Node;
use super::super::snapshot::{Direct, Model, Models, Price};
use super::super::source::Source;
use super::names::Names;
use super::prices::{Listed, PartialPrice, PricesFile};
use super::quantity::{self, MOST_TOKENS};
use super::read::{At, Fields, Named, all};
use super::stages;
use crate::units::Stage;

/// The aliases.
pub(super) type Aliases = Names<Model>;

pub(in crate::config) fn models(root: &Node, report: &Report, source: &Source) -> Checked<Models> {
    let root = At::root(root, report);
    let known = ["default_stage", "stages", "embeddings", "completions", "infer", "direct", "models", "prices_file"];
    let file = root.fields(&known)?;
    let aliases = aliases(&file, source);
    let default_stage = file.or("default_stage", Stage::Plan, |at| stages::stage(&at));
    let policies = stages::policies(&file, &aliases, source);
    let embeddings = file.get("embeddings").map_or(Ok(None), |at| passed_through(&at, &aliases));
    let completions = file.get("completions").map_or(Ok(None), |at| passed_through(&at, &aliases));
    let infer = file.or("infer", Vec::new(), |at| all(at.items()?.map(|item| stages::infer_rule(&item))));
    let direct = direct(&file, &aliases);
    let [plan, code, review] = policies?;
    Ok(Models {
        default_stage: default_stage?,
        plan,
        code,
        review,
        embeddings: embeddings?,
        completions: completions?,
        infer: infer?,
        direct: direct?,
        aliases: aliases.sound()?,
    })
}

fn aliases(file: &Fields, source: &Source) -> Aliases {
    let prices = file.optional("prices_file", |at| PricesFile::read(&at, source));
    let remedy = "write for example models: { gpt-mini: { upstream_model: gpt-5.4-mini } }";
    Names::read(file.required("models", remedy).and_then(|at| at.entries()), |named| model(named, &prices))
}

fn model(named: &Named, prices: &Checked<Option<PricesFile>>) -> Checked<Model> {
    let alias = refuse_stage_name(named);
    let fields = named.value.fields(&["upstream_model", "price", "context_window", "max_output_tokens", "vision"])?;
    let upstream_model = fields.or("upstream_model", named.name, |at| at.text());
    let own_price = fields.or("price", PartialPrice::default(), |at| price(&at));
    let tokens = |key| fields.optional(key, |at| at.whole(1..=MOST_TOKENS));
    let (context_window, max_output_tokens) = (tokens("context_window"), tokens("max_output_tokens"));
    let vision = fields.optional("vision", |at| at.flag());
    let listed = upstream_model.and_then(|name| listed(named, name, &fields, prices));
    let (alias, upstream_model, listed) = (alias?, upstream_model?, listed?);
    Ok(Model {
        alias: alias.into(),
        upstream_model: upstream_model.into(),
        price: whole_price(own_price?, listed.price()),
        context_window: context_window?.or(listed.max_input_tokens),
        max_output_tokens: max_output_tokens?.or(listed.max_output_tokens),
        vision: vision?.or(listed.supports_vision).unwrap_or(false),
    })
}

/// `model` in a request may name a stage, so an alias of that name could never be meant.
fn refuse_stage_name<'a>(named: &Named<'a>) -> Checked<&'a str> {
    let lower = named.name.to_lowercase();
    let stage_name = lower.strip_prefix("cfx-").unwrap_or(&lower);
    if Stage::ALL.iter().any(|stage| stage.as_str() == stage_name) {
        return Err(named.problem(format!("{:?} is the name of a stage", named.name), "choose another alias"));
    }
    let plain = named.name.chars().all(|c| c.is_ascii_graphic());
    if named.name.is_empty() || !plain {
        return Err(named.problem("an alias is letters, digits and signs without spaces", "choose another alias"));
    }
    Ok(named.name)
}

/// What the prices file says of a model. Silence is a problem where the model has no price of its own: its cost would
/// be recorded as nothing.
fn listed(named: &Named, model: &str, fields: &Fields, prices: &Checked<Option<PricesFile>>) -> Checked<Listed> {
    let Some(prices) = prices.as_ref().map_err(|reported| *reported)? else { return Ok(Listed::default()) };
    match prices.of(model) {
        Ok(Some(listed)) => Ok(listed),
        Ok(None) if fields.get("price").is_some() => Ok(Listed::default()),
        Ok(None) => Err(named.problem(format!("prices_file has no {model:?}"), "give a price here")),
        Err(error) => Err(named.problem(format!("the entry of prices_file is no price: {error}"), "give a price here")),
    }
}

fn price(at: &At) -> Checked<PartialPrice> {
    let fields = at.fields(&["input", "cached_input", "cache_write", "output", "reasoning"])?;
    let read = |key| fields.optional(key, |at| at.parsed("dollars per million tokens", quantity::nano_dollars));
    let [input, cached_input, cache_write, output, reasoning] =
        ["input", "cached_input", "cache_write", "output", "reasoning"].map(read);
    Ok(PartialPrice {
        input: input?,
        cached_input: cached_input?,
        cache_write: cache_write?,
        output: output?,
        reasoning: reasoning?,
    })
}

/// The model's own parts over the listed ones; what neither gives falls back to the plain part of its kind.
fn whole_price(own: PartialPrice, listed: PartialPrice) -> Price {
    let input = own.input.or(listed.input).unwrap_or(0);
    let output = own.output.or(listed.output).unwrap_or(0);
    Price {
        input,
        cached_input: own.cached_input.or(listed.cached_input).unwrap_or(input),
        cache_write: own.cache_write.or(listed.cache_write).unwrap_or(input),
        output,
        reasoning: own.reasoning.or(listed.reasoning).unwrap_or(output),
    }
}

/// `{ model: alias }`, or `off`.
fn passed_through(at: &At, aliases: &Aliases) -> Checked<Option<Arc<Model>>> {
    match at.peek() {
        Some("off") => Ok(None),
        Some(_) => Err(at.problem(format!("expected {{ model: … }} or off, found {}", at.quoted()))),
        None => {
            let fields = at.fields(&["model"])?;
            aliases.resolve(&fields.required("model", "name one of models, or write off")?, "model").map(Some)
        }
    }
}

fn direct(file: &Fields, aliases: &Aliases) -> Checked<Direct> {
    let Some(at) = file.get("direct") else {
        return Ok(Direct { enabled: false, allow: Vec::new(), deny: Vec::new(), max_tokens: None });
    };
    let fields = at.fields(&["enabled", "allow", "deny", "max_tokens"])?;
    let name = |at: At| aliases.resolve(&at, "model").map(|model| model.alias.to_string());
    let names = |key| fields.or(key, Vec::new(), |at| all(at.items()?.map(name)));
    let enabled = fields.or("enabled", false, |at| at.flag());
    let (allow, deny) = (names("allow"), names("deny"));
    let max_tokens = fields.optional("max_tokens", |at| at.whole(1..=MOST_TOKENS));
    Ok(Direct { enabled: enabled?, allow: allow?, deny: deny?, max_tokens: max_tokens? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_without_a_price_costs_what_the_plain_part_costs() {
        let own = PartialPrice { input: Some(3), output: Some(15), ..PartialPrice::default() };
        let listed = PartialPrice { input: Some(9), cached_input: Some(1), ..PartialPrice::default() };
        let expected = Price { input: 3, cached_input: 1, cache_write: 3, output: 15, reasoning: 15 };
        assert_eq!(whole_price(own, listed), expected);
    }
}
