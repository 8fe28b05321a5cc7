//! The body that goes upstream: slices of the one that came, with the fields we own changed and every other byte as it was.
//!
//! The request is not rebuilt: each change is a replacement or an insertion at an offset the scan found, so a megabyte
//! of prompt is neither copied nor parsed into anything.

mod splice;

use bytes::Bytes;

use super::endpoint::{Dialect, Endpoint};
use super::json::write_escaped;
use super::request::{Asked, Fields, Limit, Number, Request, StreamOptions, System};
use super::stage::Choice;
use crate::config::{Model, Placement, Prompt};
use crate::units::Stage;
use splice::Splices;

/// What the answer keeps beside a thinking budget that reaches the stage's cap, in tokens. Anthropic wants `max_tokens`
/// above `thinking.budget_tokens`, and an answer of one token would be of no use.
const ANSWER_ROOM: u64 = 1024;

/// A body ready to send.
#[derive(Debug, Clone)]
pub struct Rewritten {
    /// In order; together the whole body.
    pub segments: Vec<Bytes>,
    /// Bytes in all.
    pub len: usize,
    /// Usage was asked for in the client's place, so its chunk must be taken out of the stream again.
    pub usage_injected: bool,
}

/// The body for `model`, which is the choice's model or its fallback.
pub fn rewrite(request: &Request, choice: &Choice, model: &Model) -> Rewritten {
    let fields = request.fields();
    let prompt_length = choice.system.as_ref().map_or(0, |prompt| prompt.escaped().len());
    let mut splices = Splices::with_room(prompt_length);
    match fields.model {
        Some(span) => splices.replace(span, |out| quoted(out, &model.upstream_model)),
        None => splices.member("model", |out| quoted(out, &model.upstream_model)),
    }
    if let Some(prompt) = &choice.system {
        match request.endpoint().dialect() {
            Dialect::Chat => chat_prompt(&mut splices, fields, choice.placement, prompt),
            Dialect::Responses => field_prompt(&mut splices, fields, choice.placement, "instructions", prompt),
            Dialect::Messages => field_prompt(&mut splices, fields, choice.placement, "system", prompt),
            Dialect::Completions | Dialect::Embeddings => {}
        }
    }
    // A count of tokens has no answer to cap, and Anthropic refuses `max_tokens` there.
    if request.endpoint() != Endpoint::CountTokens
        && let Some(cap) = cap(choice, model, fields)
    {
        cap_output(&mut splices, request.endpoint().dialect(), fields, cap);
    }
    if let (Some((least, most)), Some(Number { span, value })) = (choice.temperature, fields.temperature) {
        let clamped = value.max(least).min(most);
        if clamped != value {
            splices.replace(span, |out| out.extend_from_slice(clamped.to_string().as_bytes()));
        }
    }
    let usage_injected = include_usage(&mut splices, request.endpoint().dialect(), fields);
    let segments = splices.apply(request.body(), fields.inside, fields.empty);
    let len = segments.iter().map(Bytes::len).sum();
    Rewritten { segments, len, usage_injected }
}

/// A system message before all others, or more text for the first one there is.
fn chat_prompt(splices: &mut Splices, fields: &Fields, placement: Placement, prompt: &Prompt) {
    match (placement, fields.system) {
        (Placement::Append, System::Text(span)) => splices.insert(span.end - 1, |out| {
            separate(out, span.len() > 2);
            out.extend_from_slice(prompt.escaped());
        }),
        (Placement::Append, System::Parts { span, empty }) => splices.insert(span.end - 1, |out| {
            comma(out, !empty);
            text_block(out, prompt);
        }),
        (Placement::Append, System::Null(span)) => splices.replace(span, |out| quoted_prompt(out, prompt)),
        (Placement::Prepend, _) | (Placement::Append, System::Absent) => {
            splices.insert(fields.messages_inside, |out| {
                out.extend_from_slice(br#"{"role":"system","content":"#);
                quoted_prompt(out, prompt);
                out.extend_from_slice(b"},");
            });
        }
    }
}

/// `instructions` and `system` are one field each: the prompt goes before or behind what is there.
fn field_prompt(splices: &mut Splices, fields: &Fields, placement: Placement, name: &str, prompt: &Prompt) {
    match (fields.system, placement) {
        (System::Absent, _) => splices.member(name, |out| quoted_prompt(out, prompt)),
        (System::Null(span), _) => splices.replace(span, |out| quoted_prompt(out, prompt)),
        (System::Text(span), Placement::Prepend) => splices.insert(span.start + 1, |out| {
            out.extend_from_slice(prompt.escaped());
            separate(out, span.len() > 2);
        }),
        (System::Text(span), Placement::Append) => splices.insert(span.end - 1, |out| {
            separate(out, span.len() > 2);
            out.extend_from_slice(prompt.escaped());
        }),
        (System::Parts { span, empty }, Placement::Prepend) => splices.insert(span.start + 1, |out| {
            text_block(out, prompt);
            comma(out, !empty);
        }),
        (System::Parts { span, empty }, Placement::Append) => splices.insert(span.end - 1, |out| {
            comma(out, !empty);
            text_block(out, prompt);
        }),
    }
}

/// The cap for this request: the stage's, no more than the model can give. A stage's rises to hold a thinking budget,
/// up to what the model is known to give and never beyond: the budget is the client's word. The direct cap never
/// rises; a budget that it does not hold was refused when the model was chosen.
fn cap(choice: &Choice, model: &Model, fields: &Fields) -> Option<u64> {
    let cap = choice.max_tokens?;
    let Some(most) = model.max_output_tokens else { return Some(cap) };
    let cap = cap.min(most);
    match fields.thinking_budget {
        Some(budget) if choice.stage != Stage::Direct => {
            Some(budget.saturating_add(cap.min(ANSWER_ROOM)).clamp(cap, most))
        }
        _ => Some(cap),
    }
}

/// Lowers every cap that is above `cap`, puts one in where the dialect's own is absent, and asks for one answer only:
/// `n` answers of `cap` tokens each, or `best_of` drafts of it, would be a cap in name.
fn cap_output(splices: &mut Splices, dialect: Dialect, fields: &Fields, cap: u64) {
    let mut lower = |limit: Option<Limit>| match limit {
        Some(Limit { span, asked: Asked::Unlimited }) => splices.number(span, cap),
        Some(Limit { span, asked: Asked::Tokens(tokens) }) if tokens > cap => splices.number(span, cap),
        _ => {}
    };
    lower(fields.max_tokens);
    lower(fields.max_completion_tokens);
    lower(fields.max_output_tokens);
    let (name, own) = match dialect {
        Dialect::Chat if is_given(fields.max_completion_tokens) => {
            ("max_completion_tokens", fields.max_completion_tokens)
        }
        Dialect::Chat | Dialect::Completions | Dialect::Messages => ("max_tokens", fields.max_tokens),
        Dialect::Responses => ("max_output_tokens", fields.max_output_tokens),
        Dialect::Embeddings => return,
    };
    match own {
        None => splices.member(name, |out| out.extend_from_slice(cap.to_string().as_bytes())),
        Some(Limit { span, asked: Asked::Nothing }) => splices.number(span, cap),
        Some(_) => {}
    }
    for Number { span, value } in [fields.n, fields.best_of].into_iter().flatten() {
        if value > 1.0 {
            splices.number(span, 1);
        }
    }
}

fn is_given(limit: Option<Limit>) -> bool {
    limit.is_some_and(|limit| limit.asked != Asked::Nothing)
}

/// Asks for usage in a stream where the client did not; whether it had to.
fn include_usage(splices: &mut Splices, dialect: Dialect, fields: &Fields) -> bool {
    // The other dialects always end a stream with usage, and refuse the option.
    if !fields.stream || !matches!(dialect, Dialect::Chat | Dialect::Completions) {
        return false;
    }
    let whole = |out: &mut Vec<u8>| out.extend_from_slice(br#"{"include_usage":true}"#);
    match fields.stream_options {
        StreamOptions::Asked => return false,
        StreamOptions::Absent => splices.member("stream_options", whole),
        StreamOptions::Null(span) => splices.replace(span, whole),
        StreamOptions::Declined(span) => splices.replace(span, |out| out.extend_from_slice(b"true")),
        StreamOptions::Without { inside, empty } => splices.insert(inside, |out| {
            out.extend_from_slice(br#""include_usage":true"#);
            comma(out, !empty);
        }),
    }
    true
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

fn quoted_prompt(out: &mut Vec<u8>, prompt: &Prompt) {
    out.push(b'"');
    out.extend_from_slice(prompt.escaped());
    out.push(b'"');
}

fn text_block(out: &mut Vec<u8>, prompt: &Prompt) {
    out.extend_from_slice(br#"{"type":"text","text":"#);
    quoted_prompt(out, prompt);
    out.push(b'}');
}

/// An empty line between two prompts, inside a JSON string.
fn separate(out: &mut Vec<u8>, between: bool) {
    if between {
        out.extend_from_slice(br"\n\n");
    }
}

fn comma(out: &mut Vec<u8>, between: bool) {
    if between {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests;
