//! `/v1/messages` and its `count_tokens`, as Anthropic's API reference has them.

use serde_json::{Value, json};

use super::Answer;
use super::frames::Frame;
use super::prompt::Prompt;
use super::reply::{Content, Reply};

pub(super) fn answer(request: &Value) -> Answer {
    let reply = Reply::to(request, &Prompt::of_messages(request));
    if request["stream"] == true {
        Answer::Stream(stream(&reply))
    } else {
        let usage = usage(&reply, reply.output_tokens);
        Answer::Json(message(&reply, json!([block(&reply)]), stop_reason(&reply), usage))
    }
}

pub(super) fn count_tokens(request: &Value) -> Answer {
    Answer::Json(json!({"input_tokens": Prompt::of_messages(request).words}))
}

fn message(reply: &Reply, content: Value, stop_reason: Value, usage: Value) -> Value {
    json!({
        "id": format!("msg_{}", reply.id),
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": usage
    })
}

fn usage(reply: &Reply, output_tokens: u64) -> Value {
    json!({
        "input_tokens": reply.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output_tokens,
        "service_tier": "standard"
    })
}

fn stream(reply: &Reply) -> Vec<Frame> {
    // The first usage is a start, counted up by the one in `message_delta`.
    let begun = message(reply, json!([]), Value::Null, usage(reply, 1));
    let mut frames = vec![Frame::named(&json!({"type": "message_start", "message": begun}))];
    let (empty, deltas) = match &reply.content {
        Content::Words(words) => {
            let delta = |word: &String| json!({"type": "text_delta", "text": word});
            (json!({"type": "text", "text": ""}), words.iter().map(delta).collect())
        }
        Content::Call { name, arguments } => {
            let delta = json!({"type": "input_json_delta", "partial_json": arguments.to_string()});
            (json!({"type": "tool_use", "id": call_id(reply), "name": name, "input": {}}), vec![delta])
        }
    };
    frames.push(Frame::named(&json!({"type": "content_block_start", "index": 0, "content_block": empty})));
    frames.push(Frame::named(&json!({"type": "ping"})));
    frames.extend(
        deltas.into_iter().map(|delta: Value| {
            Frame::named(&json!({"type": "content_block_delta", "index": 0, "delta": delta})).paced()
        }),
    );
    frames.push(Frame::named(&json!({"type": "content_block_stop", "index": 0})));
    let end = json!({"stop_reason": stop_reason(reply), "stop_sequence": null});
    let output = json!({"output_tokens": reply.output_tokens});
    frames.push(Frame::named(&json!({"type": "message_delta", "delta": end, "usage": output})));
    frames.push(Frame::named(&json!({"type": "message_stop"})));
    frames
}

fn block(reply: &Reply) -> Value {
    match &reply.content {
        Content::Words(_) => json!({"type": "text", "text": reply.text()}),
        Content::Call { name, arguments } => {
            json!({"type": "tool_use", "id": call_id(reply), "name": name, "input": arguments})
        }
    }
}

fn stop_reason(reply: &Reply) -> Value {
    match &reply.content {
        Content::Call { .. } => json!("tool_use"),
        Content::Words(_) if reply.cut => json!("max_tokens"),
        Content::Words(_) => json!("end_turn"),
    }
}

fn call_id(reply: &Reply) -> String {
    format!("toolu_{}", reply.id)
}
