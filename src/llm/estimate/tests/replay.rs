//! Streams as providers send them, cut at random: what is estimated against what the tokenizer counts.
//!
//! The texts and how three tokenizers cut them are in `tests/fixtures/answers`. A third of each kind of text is sent whole
//! first, with its usage; the others are cut.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::llm::{Dialect, Tap};

const ANSWERS: &str = include_str!("../../../../tests/fixtures/answers/answers.jsonl");

/// A provider: its tokenizer, its dialect, and how many tokens it sends in an event, from and to.
struct Provider {
    name: &'static str,
    tokenizer: &'static str,
    dialect: Dialect,
    tokens_an_event: (usize, usize),
}

const PROVIDERS: [Provider; 5] = [
    Provider { name: "a token an event", tokenizer: "o200k", dialect: Dialect::Chat, tokens_an_event: (1, 1) },
    Provider { name: "one or two", tokenizer: "cl100k", dialect: Dialect::Responses, tokens_an_event: (1, 2) },
    Provider { name: "one to four", tokenizer: "cl100k", dialect: Dialect::Chat, tokens_an_event: (1, 4) },
    Provider { name: "what a tick brings", tokenizer: "claude", dialect: Dialect::Messages, tokens_an_event: (2, 12) },
    Provider { name: "paragraphs", tokenizer: "o200k", dialect: Dialect::Chat, tokens_an_event: (20, 60) },
];

/// One text as it is sent: each event, and how many tokens it holds.
struct Stream {
    kind: String,
    events: Vec<(String, u64)>,
}

/// Numbers at random, the same ones every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

fn streams(provider: &Provider, chance: &mut Chance) -> Vec<Stream> {
    let answers = ANSWERS.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    answers
        .map(|answer| {
            let (kind, text) = (answer["kind"].as_str().unwrap(), answer["text"].as_str().unwrap());
            let lengths = answer["tokens"][provider.tokenizer].as_str().unwrap().split(' ');
            let (mut events, mut from, mut at, mut tokens) = (Vec::new(), 0, 0, 0);
            let (least, most) = provider.tokens_an_event;
            let mut wanted = least;
            for length in lengths {
                at += length.parse::<usize>().unwrap();
                tokens += 1;
                // A token that ends inside a character waits for the rest of it.
                if tokens >= wanted && text.is_char_boundary(at) || at == text.len() {
                    events.push((event(provider.dialect, kind, &text[from..at]), tokens as u64));
                    (from, tokens, wanted) = (at, 0, least + chance.below(most - least + 1));
                }
            }
            Stream { kind: kind.to_string(), events }
        })
        .collect()
}

fn event(dialect: Dialect, kind: &str, text: &str) -> String {
    let event = match (dialect, kind) {
        (Dialect::Messages, "reasoning") => {
            json!({"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": text}})
        }
        (Dialect::Messages, "tool calls") => {
            json!({"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": text}})
        }
        (Dialect::Messages, _) => {
            json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}})
        }
        (Dialect::Responses, "reasoning") => json!({"type": "response.reasoning_text.delta", "delta": text}),
        (Dialect::Responses, "tool calls") => json!({"type": "response.function_call_arguments.delta", "delta": text}),
        (Dialect::Responses, _) => json!({"type": "response.output_text.delta", "delta": text}),
        (_, "reasoning") => json!({"choices": [{"index": 0, "delta": {"reasoning_content": text}}]}),
        (_, "tool calls") => {
            json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}}]})
        }
        _ => json!({"choices": [{"index": 0, "delta": {"content": text}}]}),
    };
    format!("data: {event}\n\n")
}

/// What a tap has read of the first `length` bytes of these events, cut into chunks at random.
fn said(provider: &Provider, bytes: &[u8], chance: &mut Chance) -> Tally {
    let mut tap = Tap::new(provider.dialect, false);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (chunk, more) = rest.split_at(1 + chance.below(rest.len().min(600)));
        tap.push(Bytes::copy_from_slice(chunk), &mut Vec::new());
        rest = more;
    }
    tap.report().said
}

/// The relative errors of all that was cut, by kind of text and by length, and what was estimated and due in all.
struct Errors {
    by_kind: BTreeMap<String, Vec<f64>>,
    estimated: f64,
    due: f64,
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn replay(provider: &Provider, seed: u64) -> Errors {
    let mut chance = Chance(seed);
    let calibration = Calibration::default();
    let mut by_kind: BTreeMap<String, Vec<Stream>> = BTreeMap::new();
    for stream in streams(provider, &mut chance) {
        by_kind.entry(stream.kind.clone()).or_default().push(stream);
    }
    let mut whole = Vec::new();
    for streams in by_kind.values_mut() {
        for _ in 0..streams.len() / 3 {
            whole.push(streams.swap_remove(chance.below(streams.len())));
        }
    }
    while !whole.is_empty() {
        let stream = whole.swap_remove(chance.below(whole.len()));
        let bytes: String = stream.events.iter().map(|(event, _)| event.as_str()).collect();
        let usage = tokens(stream.events.iter().map(|(_, tokens)| tokens).sum());
        learn(&calibration, said(provider, bytes.as_bytes(), &mut chance), usage);
    }
    let mut errors = Errors { by_kind: BTreeMap::new(), estimated: 0.0, due: 0.0 };
    for stream in by_kind.into_values().flatten() {
        let bytes: String = stream.events.iter().map(|(event, _)| event.as_str()).collect();
        let cut = 1 + chance.below(bytes.len());
        let (mut due, mut end) = (0, 0);
        for (event, tokens) in &stream.events {
            end += event.len();
            due += if end <= cut { *tokens } else { 0 };
        }
        let estimated = output(&calibration, said(provider, &bytes.as_bytes()[..cut], &mut chance)) as f64;
        let due = due as f64;
        errors.estimated += estimated;
        errors.due += due;
        if due > 0.0 {
            let error = (estimated - due).abs() / due;
            // A token is a tenth of ten.
            let of_all = if due < 100.0 { "all below 100" } else { "all from 100" };
            for kind in [&stream.kind, of_all] {
                errors.by_kind.entry(kind.to_string()).or_default().push(error);
            }
        } else {
            assert!(estimated == 0.0, "nothing passed, {estimated} were estimated");
        }
    }
    errors
}

/// The error that so many of a hundred stay below.
fn percentile(errors: &[f64], percent: usize) -> f64 {
    let mut sorted = errors.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) * percent / 100]
}

#[test]
fn streams_cut_at_random_are_estimated_within_a_tenth() {
    let mut table = String::new();
    let mut failures = Vec::new();
    for provider in &PROVIDERS {
        let mut by_kind: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut worst: f64 = 0.0;
        for seed in 0..8 {
            let errors = replay(provider, seed);
            errors.by_kind.into_iter().for_each(|(kind, errors)| by_kind.entry(kind).or_default().extend(errors));
            worst = worst.max((errors.estimated / errors.due - 1.0).abs());
        }
        for (kind, errors) in &by_kind {
            let [half, most, max] = [50, 90, 100].map(|percent| 100.0 * percentile(errors, percent));
            let _ = writeln!(
                table,
                "{:20} {:7} {kind:13} {:4} streams, error p50 {half:5.1} % p90 {most:5.1} % max {max:5.1} %",
                provider.name,
                provider.tokenizer,
                errors.len()
            );
        }
        let _ =
            writeln!(table, "{:20} all streams of one run together: at most {:.1} % off", provider.name, 100.0 * worst);
        let most_of_the_long = percentile(&by_kind["all from 100"], 90);
        if worst > 0.1 || most_of_the_long > 0.1 || by_kind.values().any(|errors| percentile(errors, 50) > 0.1) {
            failures.push(provider.name);
        }
    }
    println!("{table}");
    assert!(failures.is_empty(), "{failures:?} are further off than a tenth:\n{table}");
}
