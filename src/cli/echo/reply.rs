//! What the model says to a prompt, before any dialect has put it into its shape.

use serde_json::{Map, Value, json};

use super::prompt::{Prompt, Tool, count};
use crate::clock::{Clock, SystemClock};

/// The first words of every text, so that nobody takes it for a model's.
pub(super) const NOTICE: &str = "[echo model: no provider was called]";
/// The model's own bound on a reply: half a minute at its pace.
const MOST_WORDS: u64 = 1_000;
/// A user message that begins so asks for a tool call, `call tool NAME` for a certain one.
const CALL: &str = "call tool";

/// One reply with the facts every dialect sends beside it.
#[derive(Debug)]
pub(super) struct Reply {
    /// 32 hexadecimal digits; each dialect puts its own prefix before them.
    pub id: String,
    /// Seconds since the Unix epoch.
    pub created: i64,
    /// The model the request named.
    pub model: String,
    pub content: Content,
    /// Whether the reply ended at its bound.
    pub cut: bool,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

#[derive(Debug)]
pub(super) enum Content {
    /// Words, each with the white space after it: their concatenation is the text.
    Words(Vec<String>),
    Call {
        name: String,
        /// A JSON object that fits the tool's schema as far as its required properties go.
        arguments: Value,
    },
}

impl Reply {
    pub fn to(request: &Value, prompt: &Prompt) -> Self {
        let (content, cut) = match wanted_tool(prompt) {
            Some(tool) => (Content::Call { name: tool.name.clone(), arguments: arguments(tool, &prompt.last) }, false),
            None => spoken(prompt),
        };
        let output_tokens = match &content {
            Content::Words(words) => words.len() as u64,
            Content::Call { arguments, .. } => 1 + count(&arguments.to_string()),
        };
        Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            created: SystemClock.now().0 / 1_000_000,
            model: request["model"].as_str().unwrap_or("echo").to_owned(),
            content,
            cut,
            input_tokens: prompt.words,
            output_tokens,
        }
    }

    /// The whole text; empty for a tool call.
    pub fn text(&self) -> String {
        match &self.content {
            Content::Words(words) => words.concat(),
            Content::Call { .. } => String::new(),
        }
    }
}

fn spoken(prompt: &Prompt) -> (Content, bool) {
    let text = format!("{NOTICE} {}", prompt.last);
    let mut words = words(text.trim_end());
    let most = usize::try_from(prompt.most.unwrap_or(MOST_WORDS).min(MOST_WORDS)).unwrap_or(usize::MAX);
    let cut = words.len() > most;
    words.truncate(most);
    (Content::Words(words), cut)
}

/// Splits after each run of white space.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for piece in text.split_inclusive(char::is_whitespace) {
        match words.last_mut() {
            Some(word) if piece.trim().is_empty() => word.push_str(piece),
            _ => words.push(piece.to_owned()),
        }
    }
    words
}

fn wanted_tool(prompt: &Prompt) -> Option<&Tool> {
    let rest = prompt.last.trim_start().strip_prefix(CALL).filter(|_| prompt.from_user)?;
    let name = rest.split_whitespace().next();
    let named = prompt.tools.iter().find(|tool| Some(tool.name.as_str()) == name);
    named.or_else(|| prompt.tools.first())
}

/// The required properties, texts filled with what the user said.
fn arguments(tool: &Tool, said: &str) -> Value {
    let required = tool.parameters["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let filled: Map<String, Value> = required
        .iter()
        .filter_map(Value::as_str)
        .map(|name| (name.to_owned(), fitting(&tool.parameters["properties"][name], said)))
        .collect();
    Value::Object(filled)
}

fn fitting(schema: &Value, said: &str) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_every_space() {
        let text = "one  two\n\n three";
        assert_eq!(words(text), ["one  ", "two\n\n ", "three"]);
        assert_eq!(words(text).concat(), text);
        assert!(words("").is_empty());
    }

    #[test]
    fn a_call_fits_its_schema() {
        let parameters = json!({
            "properties": {
                "path": {"type": "string"}, "line": {"type": "integer"}, "all": {"type": "boolean"},
                "mode": {"enum": ["r", "w"]}, "unneeded": {"type": "string"}
            },
            "required": ["path", "line", "all", "mode"]
        });
        let read = Tool { name: "read".into(), parameters };
        let other = Tool { name: "other".into(), parameters: Value::Null };
        let prompt = |last: &str, from_user| Prompt { last: last.into(), from_user, ..Prompt::default() };
        let with = |mut prompt: Prompt| {
            prompt.tools = vec![
                Tool { name: other.name.clone(), parameters: Value::Null },
                Tool { name: read.name.clone(), parameters: read.parameters.clone() },
            ];
            wanted_tool(&prompt).map(|tool| (tool.name.clone(), arguments(tool, &prompt.last)))
        };
        let said = "call tool read";
        assert_eq!(
            with(prompt(said, true)),
            Some(("read".into(), json!({"path": said, "line": 1, "all": true, "mode": "r"})))
        );
        assert_eq!(with(prompt("call tool", true)), Some(("other".into(), json!({}))));
        assert_eq!(with(prompt(said, false)), None, "a tool's result asks for nothing");
        assert!(wanted_tool(&prompt(said, true)).is_none(), "no tools were given");
    }
}
