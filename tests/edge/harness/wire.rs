//! What LiteLLM 1.106 says, word for word where it matters: copied from its answers.

use serde_json::{Value, json};

use super::scripted::{Gate, Recorded, Reply};

/// Header lines that must stop at cfx: LiteLLM's own, its provider's, and one that would poison a shared connection's cache.
pub const LITELLM_HEADERS: &str = "date: Sat, 21 Nov 2026 03:00:28 GMT\r\n\
    x-litellm-call-id: 347031fa-e66d-4ff5-904c-ac32742f940f\r\n\
    x-litellm-model-id: ebac1cbe31b49037a9e2d4df02cde4f4a80a72d01137a8eaebe2e9e06e92b77c\r\n\
    x-litellm-model-api-base: http://10.0.0.7:8000\r\n\
    x-litellm-version: 1.106.2\r\n\
    x-litellm-response-cost-original: 0.0\r\n\
    x-litellm-key-spend: 0.0\r\n\
    x-litellm-model-group: mock-plan\r\n\
    llm_provider-server: uvicorn\r\n\
    llm_provider-x-request-id: req_of_the_provider\r\n\
    x-request-id: chosen-by-litellm\r\n\
    x-ratelimit-remaining-requests: 4999\r\n\
    set-cookie: session=litellm\r\n\
    server: uvicorn\r\n\
    vary: Origin\r\n";

/// The words of every usual answer, and its tokens: one a word out, `PROMPT_TOKENS` in.
pub const WORDS: [&str; 4] = ["The ", "scripted ", "upstream ", "answers."];
pub const PROMPT_TOKENS: u64 = 21;
pub const ANSWER_TOKENS: u64 = 4;

pub enum Usual {
    Json(u16, String),
    Events(Vec<String>),
}

pub fn usual_answer(request: &Recorded) -> Usual {
    let body = request.json();
    let stream = body["stream"] == true;
    let model = body["model"].as_str().unwrap_or_default();
    match request.path() {
        "/v1/chat/completions" if stream => Usual::Events(chat_events(model, &WORDS, asks_for_usage(&body))),
        "/v1/completions" if stream => Usual::Events(completion_events(model, &WORDS, asks_for_usage(&body))),
        "/v1/responses" if stream => Usual::Events(responses_events(model, &WORDS)),
        "/v1/messages" if stream => Usual::Events(messages_events(model, &WORDS)),
        path => {
            let answer = json_answer(path, model, &body);
            let status = if answer.is_null() { 404 } else { 200 };
            Usual::Json(status, answer.to_string())
        }
    }
}

fn json_answer(path: &str, model: &str, body: &Value) -> Value {
    let text = WORDS.concat();
    match path {
        "/v1/chat/completions" => json!({
            "id": "chatcmpl-1", "created": 1, "model": model, "object": "chat.completion",
            "choices": [{"finish_reason": if body["tools"].is_array() { "tool_calls" } else { "stop" }, "index": 0,
                         "message": answer_message(body, &text)}],
            "usage": chat_usage(),
        }),
        "/v1/completions" => json!({
            "id": "chatcmpl-1", "object": "text_completion", "created": 1, "model": model,
            "choices": [{"finish_reason": "stop", "index": 0, "text": text, "logprobs": null}], "usage": chat_usage(),
        }),
        "/v1/embeddings" => json!({
            "model": model, "data": [{"embedding": [0.25, -0.5], "index": 0, "object": "embedding"}], "object": "list",
            "usage": {"completion_tokens": 0, "prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS},
        }),
        "/v1/responses" => whole_response(model, &text),
        "/v1/messages" => json!({
            "content": [{"text": text, "type": "text"}], "id": "msg_1", "model": model, "role": "assistant",
            "stop_reason": "end_turn", "stop_sequence": null, "type": "message",
            "usage": {"input_tokens": PROMPT_TOKENS, "output_tokens": ANSWER_TOKENS},
        }),
        "/v1/messages/count_tokens" => json!({"input_tokens": PROMPT_TOKENS, "litellm_count_source": "local_estimate"}),
        _ => Value::Null,
    }
}

fn answer_message(body: &Value, text: &str) -> Value {
    if body["tools"].is_array() {
        json!({"role": "assistant", "content": null, "tool_calls": [tool_call()]})
    } else {
        json!({"content": text, "role": "assistant"})
    }
}

fn tool_call() -> Value {
    json!({"id": "call_1", "type": "function", "index": 0, "function": {"name": "read_file", "arguments": "{\"path\":\"src/main.rs\"}"}})
}

fn asks_for_usage(body: &Value) -> bool {
    body["stream_options"]["include_usage"] == true
}

pub fn chat_usage() -> Value {
    json!({"completion_tokens": ANSWER_TOKENS, "prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS})
}

/// One chunk of a chat stream, as an event.
pub fn chat_event(model: &str, delta: Value, finish: Option<&str>) -> String {
    let mut choice = json!({"index": 0, "delta": delta});
    if let Some(finish) = finish {
        choice["finish_reason"] = json!(finish);
    }
    data(
        &json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}),
    )
}

/// LiteLLM's usage chunk has a choice with an empty delta, where OpenAI's has no choice.
pub fn chat_usage_event(model: &str) -> String {
    data(&json!({"id": "chatcmpl-1", "created": 1, "model": model, "object": "chat.completion.chunk",
                 "choices": [{"index": 0, "delta": {}}], "usage": chat_usage()}))
}

pub fn chat_events(model: &str, words: &[&str], usage: bool) -> Vec<String> {
    let mut events = vec![chat_event(model, json!({"role": "assistant", "content": ""}), None)];
    events.extend(words.iter().map(|word| chat_event(model, json!({"content": word}), None)));
    events.push(chat_event(model, json!({}), Some("stop")));
    events.extend(usage.then(|| chat_usage_event(model)));
    events.push(DONE.to_string());
    events
}

pub const DONE: &str = "data: [DONE]";

/// The same stream with one tool call in place of words.
pub fn tool_call_events(model: &str, usage: bool) -> Vec<String> {
    let mut events = vec![
        chat_event(model, json!({"role": "assistant", "content": ""}), None),
        chat_event(model, json!({"tool_calls": [tool_call()]}), None),
        chat_event(model, json!({}), Some("tool_calls")),
    ];
    events.extend(usage.then(|| chat_usage_event(model)));
    events.push(DONE.to_string());
    events
}

pub fn completion_events(model: &str, words: &[&str], usage: bool) -> Vec<String> {
    let chunk = |choice: Value| json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": model, "choices": [choice]});
    let mut events: Vec<String> =
        words.iter().map(|word| data(&chunk(json!({"index": 0, "text": word, "finish_reason": null})))).collect();
    events.push(data(&chunk(json!({"index": 0, "text": "", "finish_reason": "stop"}))));
    if usage {
        let mut last = chunk(json!({"index": 0, "text": ""}));
        last["usage"] = chat_usage();
        events.push(data(&last));
    }
    events.push(DONE.to_string());
    events
}

fn whole_response(model: &str, text: &str) -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "model": model, "status": "completed", "error": null,
        "output": [{"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": text, "annotations": []}]}],
        "usage": {"input_tokens": PROMPT_TOKENS, "input_tokens_details": {"cached_tokens": 0},
                  "output_tokens": ANSWER_TOKENS, "output_tokens_details": {"reasoning_tokens": 0},
                  "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS},
    })
}

/// LiteLLM writes no `event:` lines here, and no `[DONE]`.
pub fn responses_events(model: &str, words: &[&str]) -> Vec<String> {
    let begun = json!({"id": "resp_1", "object": "response", "created_at": 1, "model": model, "status": "in_progress", "output": []});
    let at = |mut event: Value| {
        event["item_id"] = json!("msg_1");
        event["output_index"] = json!(0);
        event["content_index"] = json!(0);
        event
    };
    let mut events = vec![json!({"type": "response.created", "response": begun})];
    events.extend(words.iter().map(|word| at(json!({"type": "response.output_text.delta", "delta": word}))));
    events.push(at(json!({"type": "response.output_text.done", "text": words.concat()})));
    events.push(json!({"type": "response.completed", "response": whole_response(model, &words.concat())}));
    events
        .iter()
        .enumerate()
        .map(|(number, event)| {
            let mut event = event.clone();
            event["sequence_number"] = json!(number);
            data(&event)
        })
        .collect()
}

pub fn messages_events(model: &str, words: &[&str]) -> Vec<String> {
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": null,
                         "stop_sequence": null, "usage": {"input_tokens": PROMPT_TOKENS, "output_tokens": 1}});
    let mut events = vec![
        named("message_start", json!({"message": message})),
        named("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}})),
    ];
    let delta =
        |word: &&str| named("content_block_delta", json!({"index": 0, "delta": {"type": "text_delta", "text": word}}));
    events.extend(words.iter().map(delta));
    events.push(named("content_block_stop", json!({"index": 0})));
    events.push(named(
        "message_delta",
        json!({"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": ANSWER_TOKENS}}),
    ));
    events.push(named("message_stop", json!({})));
    events
}

fn named(name: &str, mut event: Value) -> String {
    event["type"] = json!(name);
    format!("event: {name}\n{}", data(&event))
}

fn data(event: &Value) -> String {
    format!("data: {event}")
}

/// A stream of an event whose second half waits for the gate, behind `before`, and of the last word.
pub fn halves(before: &[String], event: &str, gate: Gate) -> Reply {
    let (before, event) = (before.to_vec(), event.to_owned());
    Reply::script(move |exchange| {
        let (first, second) = event.split_at(event.len() / 2);
        exchange.begin_events();
        before.iter().for_each(|event| exchange.event(event));
        exchange.chunk(first.as_bytes());
        gate.pass();
        exchange.chunk(format!("{second}\n\n{DONE}\n\n").as_bytes());
        exchange.end();
    })
}
