//! `/v1/embeddings`: each text's words, hashed into a unit vector. Equal texts have equal vectors, texts that share
//! words have near ones.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::Answer;
use super::prompt::count;

const DIMENSIONS: u64 = 64;
const MOST_DIMENSIONS: u64 = 4_096;

pub(super) fn answer(request: &Value) -> Answer {
    let texts = texts(&request["input"]);
    let dimensions = request["dimensions"].as_u64().unwrap_or(DIMENSIONS).clamp(1, MOST_DIMENSIONS);
    let as_base64 = request["encoding_format"] == "base64";
    let embed = |(index, text): (usize, &String)| {
        let vector = vector(text, dimensions);
        json!({"object": "embedding", "index": index, "embedding": encoded(&vector, as_base64)})
    };
    let tokens: u64 = texts.iter().map(|text| count(text)).sum();
    Answer::Json(json!({
        "object": "list",
        "data": texts.iter().enumerate().map(embed).collect::<Vec<_>>(),
        "model": request["model"].as_str().unwrap_or("echo"),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens}
    }))
}

/// A text, a list of texts, a list of token numbers, or a list of such lists.
fn texts(input: &Value) -> Vec<String> {
    let shown = |value: &Value| value.as_str().map_or_else(|| numbers(value), str::to_owned);
    match input {
        Value::Array(items) if !items.iter().all(Value::is_number) => items.iter().map(shown).collect(),
        other => vec![shown(other)],
    }
}

fn numbers(value: &Value) -> String {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
}

fn vector(text: &str, dimensions: u64) -> Vec<f32> {
    let mut vector: Vec<f32> = (0..dimensions).map(|_| 0.0).collect();
    for word in text.split_whitespace() {
        let mut hasher = DefaultHasher::new();
        word.to_lowercase().hash(&mut hasher);
        let hash = hasher.finish();
        let place = usize::try_from((hash >> 1) % dimensions).unwrap_or(0);
        if let Some(value) = vector.get_mut(place) {
            *value += if hash & 1 == 0 { 1.0 } else { -1.0 };
        }
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
    vector
}

/// Numbers, or what the official SDKs ask for: little-endian 32-bit floats in base64.
fn encoded(vector: &[f32], as_base64: bool) -> Value {
    if as_base64 {
        let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
        json!(BASE64.encode(bytes))
    } else {
        json!(vector)
    }
}
