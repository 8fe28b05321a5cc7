//! What a request asks for, read leniently from any dialect: the model answers whatever it is sent.

use serde_json::Value;

/// The parts of a request the reply depends on.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    /// Words of everything the model was given.
    pub words: u64,
    /// The text of the last message.
    pub last: String,
    /// Whether the last message is a person's, not a tool's result.
    pub from_user: bool,
    pub tools: Vec<Tool>,
    /// The request's own bound on the reply, in tokens.
    pub most: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Tool {
    pub name: String,
    /// A JSON Schema.
    pub parameters: Value,
}

impl Prompt {
    /// `messages`, `tools[].function`, `max_completion_tokens` or `max_tokens`.
    pub fn of_chat(request: &Value) -> Self {
        let mut prompt = Self::of_list(&request["messages"]);
        prompt.tools = tools(request, |tool| (&tool["function"]["name"], &tool["function"]["parameters"]));
        prompt.most = request["max_completion_tokens"].as_u64().or(request["max_tokens"].as_u64());
        prompt
    }

    /// `prompt`: one text or a list, of which the first is answered.
    pub fn of_completions(request: &Value) -> Self {
        let asked = &request["prompt"];
        let last = asked.as_str().or(asked[0].as_str()).unwrap_or_default().to_owned();
        let most = request["max_tokens"].as_u64();
        Self { words: count(&last), last, from_user: true, most, ..Self::default() }
    }

    /// `instructions`, `input` as text or items, `tools[]`, `max_output_tokens`.
    pub fn of_responses(request: &Value) -> Self {
        let mut prompt = Self::of_list(&request["input"]);
        prompt.words += count(&text_of(&request["instructions"]));
        prompt.tools = tools(request, |tool| (&tool["name"], &tool["parameters"]));
        prompt.most = request["max_output_tokens"].as_u64();
        prompt
    }

    /// `system`, `messages`, `tools[].input_schema`, `max_tokens`.
    pub fn of_messages(request: &Value) -> Self {
        let mut prompt = Self::of_list(&request["messages"]);
        prompt.words += count(&text_of(&request["system"]));
        prompt.tools = tools(request, |tool| (&tool["name"], &tool["input_schema"]));
        prompt.most = request["max_tokens"].as_u64();
        prompt
    }

    fn of_list(list: &Value) -> Self {
        if let Some(text) = list.as_str() {
            return Self { words: count(text), last: text.to_owned(), from_user: true, ..Self::default() };
        }
        let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
        let spoken = items.iter().rfind(|item| is_from_user(item) || is_result(item));
        Self {
            words: items.iter().map(|item| count(&said(item))).sum(),
            last: spoken.map(said).unwrap_or_default(),
            from_user: spoken.is_some_and(|item| !is_result(item)),
            ..Self::default()
        }
    }
}

/// Tokens, as this model counts them.
pub(super) fn count(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

fn is_from_user(item: &Value) -> bool {
    item["role"] == "user"
}

/// A tool's result: `role: tool` in chat, an item of its own in responses, a part of a user message in messages.
fn is_result(item: &Value) -> bool {
    let parts = item["content"].as_array();
    item["role"] == "tool"
        || item["type"] == "function_call_output"
        || parts.is_some_and(|parts| parts.iter().any(|part| part["type"] == "tool_result"))
}

fn said(item: &Value) -> String {
    let output = &item["output"];
    if output.is_null() { text_of(&item["content"]) } else { text_of(output) }
}

/// Text, or the texts of a list of parts; a part may hold a list again (`tool_result`).
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().map(|part| match &part["text"] {
                Value::String(text) => text.clone(),
                _ => text_of(&part["content"]),
            });
            texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

fn tools(request: &Value, parts: impl Fn(&Value) -> (&Value, &Value)) -> Vec<Tool> {
    let given = request["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let read = given.iter().filter_map(|tool| {
        let (name, parameters) = parts(tool);
        Some(Tool { name: name.as_str()?.to_owned(), parameters: parameters.clone() })
    });
    read.collect()
}
