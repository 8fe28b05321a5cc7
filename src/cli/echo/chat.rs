//! `/v1/chat/completions`, as OpenAI's API reference has it.

use serde_json::{Value, json};

use super::Answer;
use super::frames::Frame;
use super::prompt::Prompt;
use super::reply::{Content, Reply};

pub(super) fn answer(request: &Value) -> Answer {
    let reply = Reply::to(request, &Prompt::of_chat(request));
    if request["stream"] == true {
        Answer::Stream(stream(&reply, request["stream_options"]["include_usage"] == true))
    } else {
        Answer::Json(whole(&reply))
    }
}

/// The usage of chat and completions.
pub(super) fn usage(reply: &Reply) -> Value {
    json!({
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0
        }
    })
}

fn whole(reply: &Reply) -> Value {
    let mut message = json!({"role": "assistant", "content": reply.text(), "refusal": null, "annotations": []});
    if let Content::Call { name, arguments } = &reply.content {
        message["content"] = Value::Null;
        let function = json!({"name": name, "arguments": arguments.to_string()});
        message["tool_calls"] = json!([{"id": call_id(reply), "type": "function", "function": function}]);
    }
    json!({
        "id": format!("chatcmpl-{}", reply.id),
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason(reply)}],
        "usage": usage(reply),
        "service_tier": "default",
        "system_fingerprint": null
    })
}

fn stream(reply: &Reply, include_usage: bool) -> Vec<Frame> {
    let chunk = |choices: Value| {
        let mut chunk = json!({
            "id": format!("chatcmpl-{}", reply.id),
            "object": "chat.completion.chunk",
            "created": reply.created,
            "model": reply.model,
            "service_tier": "default",
            "system_fingerprint": null,
            "choices": choices
        });
        if include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    };
    let delta = |delta: Value, finish: Value| {
        Frame::data(&chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}])))
    };
    let mut frames = Vec::new();
    match &reply.content {
        Content::Words(words) => {
            frames.push(delta(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null));
            frames.extend(words.iter().map(|word| delta(json!({"content": word}), Value::Null).paced()));
        }
        Content::Call { name, arguments } => {
            let function = json!({"name": name, "arguments": ""});
            let call = json!([{"index": 0, "id": call_id(reply), "type": "function", "function": function}]);
            frames.push(delta(json!({"role": "assistant", "content": null, "tool_calls": call}), Value::Null));
            let arguments = json!([{"index": 0, "function": {"arguments": arguments.to_string()}}]);
            frames.push(delta(json!({"tool_calls": arguments}), Value::Null).paced());
        }
    }
    frames.push(delta(json!({}), finish_reason(reply)));
    if include_usage {
        let mut last = chunk(json!([]));
        last["usage"] = usage(reply);
        frames.push(Frame::data(&last));
    }
    frames.push(Frame::done());
    frames
}

fn finish_reason(reply: &Reply) -> Value {
    match &reply.content {
        Content::Call { .. } => json!("tool_calls"),
        Content::Words(_) if reply.cut => json!("length"),
        Content::Words(_) => json!("stop"),
    }
}

fn call_id(reply: &Reply) -> String {
    format!("call_{}", reply.id)
}
