//! `/v1/responses`: a response with one output item, a message or a function call, and the events that build it.

use serde_json::{Value, json};

use super::Answer;
use super::frames::Frame;
use super::prompt::Prompt;
use super::reply::{Content, Reply};

pub(super) fn answer(request: &Value) -> Answer {
    let reply = Reply::to(request, &Prompt::of_responses(request));
    if request["stream"] == true {
        Answer::Stream(stream(request, &reply))
    } else {
        Answer::Json(response(request, &reply, State::Ended))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Begun,
    Ended,
}

fn response(request: &Value, reply: &Reply, state: State) -> Value {
    let ended = state == State::Ended;
    let given = |name: &str, otherwise: Value| request.get(name).cloned().unwrap_or(otherwise);
    json!({
        "id": format!("resp_{}", reply.id),
        "object": "response",
        "created_at": reply.created,
        "status": if ended { status(reply) } else { "in_progress" },
        "background": false,
        "error": null,
        "incomplete_details": if ended && reply.cut { json!({"reason": "max_output_tokens"}) } else { Value::Null },
        "instructions": given("instructions", Value::Null),
        "max_output_tokens": given("max_output_tokens", Value::Null),
        "model": reply.model,
        "output": if ended { json!([item(reply, state)]) } else { json!([]) },
        "parallel_tool_calls": given("parallel_tool_calls", json!(true)),
        "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null},
        "store": given("store", json!(true)),
        "temperature": given("temperature", json!(1.0)),
        "text": given("text", json!({"format": {"type": "text"}})),
        "tool_choice": given("tool_choice", json!("auto")),
        "tools": given("tools", json!([])),
        "top_p": given("top_p", json!(1.0)),
        "truncation": "disabled",
        "usage": if ended { usage(reply) } else { Value::Null },
        "user": null,
        "metadata": given("metadata", json!({}))
    })
}

fn usage(reply: &Reply) -> Value {
    json!({
        "input_tokens": reply.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": reply.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reply.input_tokens + reply.output_tokens
    })
}

fn stream(request: &Value, reply: &Reply) -> Vec<Frame> {
    let mut events = Events::default();
    events.push(json!({"type": "response.created", "response": response(request, reply, State::Begun)}));
    events.push(json!({"type": "response.in_progress", "response": response(request, reply, State::Begun)}));
    events.push(json!({"type": "response.output_item.added", "output_index": 0, "item": item(reply, State::Begun)}));
    match &reply.content {
        Content::Words(words) => push_text(&mut events, reply, words),
        Content::Call { arguments, .. } => push_arguments(&mut events, reply, &arguments.to_string()),
    }
    events.push(json!({"type": "response.output_item.done", "output_index": 0, "item": item(reply, State::Ended)}));
    let end = if reply.cut { "response.incomplete" } else { "response.completed" };
    events.push(json!({"type": end, "response": response(request, reply, State::Ended)}));
    events.0
}

fn push_text(events: &mut Events, reply: &Reply, words: &[String]) {
    let about = |kind: &str, mut event: Value| {
        event["type"] = json!(kind);
        event["item_id"] = json!(item_id(reply));
        event["output_index"] = json!(0);
        event["content_index"] = json!(0);
        event
    };
    events.push(about("response.content_part.added", json!({"part": part("")})));
    for word in words {
        events.push_paced(about("response.output_text.delta", json!({"delta": word, "logprobs": []})));
    }
    let text = reply.text();
    events.push(about("response.output_text.done", json!({"text": text, "logprobs": []})));
    events.push(about("response.content_part.done", json!({"part": part(&text)})));
}

fn push_arguments(events: &mut Events, reply: &Reply, arguments: &str) {
    let id = item_id(reply);
    let delta = "response.function_call_arguments.delta";
    events.push_paced(json!({"type": delta, "item_id": id, "output_index": 0, "delta": arguments}));
    let done = "response.function_call_arguments.done";
    events.push(json!({"type": done, "item_id": id, "output_index": 0, "arguments": arguments}));
}

/// The one output item, empty where it has only begun.
fn item(reply: &Reply, state: State) -> Value {
    let ended = state == State::Ended;
    let status = if ended { status(reply) } else { "in_progress" };
    let id = item_id(reply);
    match &reply.content {
        Content::Words(_) => {
            let content = if ended { json!([part(&reply.text())]) } else { json!([]) };
            json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
        }
        Content::Call { name, arguments } => {
            let arguments = if ended { arguments.to_string() } else { String::new() };
            let call_id = format!("call_{}", reply.id);
            json!({
                "id": id, "type": "function_call", "status": status,
                "call_id": call_id, "name": name, "arguments": arguments
            })
        }
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn item_id(reply: &Reply) -> String {
    let prefix = if matches!(reply.content, Content::Words(_)) { "msg" } else { "fc" };
    format!("{prefix}_{}", reply.id)
}

fn status(reply: &Reply) -> &'static str {
    if reply.cut { "incomplete" } else { "completed" }
}

/// Events in order, each with its number.
#[derive(Default)]
struct Events(Vec<Frame>);

impl Events {
    fn push(&mut self, mut event: Value) {
        event["sequence_number"] = json!(self.0.len());
        self.0.push(Frame::named(&event));
    }

    fn push_paced(&mut self, event: Value) {
        self.push(event);
        if let Some(frame) = self.0.last_mut() {
            frame.paced = true;
        }
    }
}
