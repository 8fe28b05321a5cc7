//! `/v1/completions`, the older dialect of plain texts.

use serde_json::{Value, json};

use super::frames::Frame;
use super::prompt::Prompt;
use super::reply::{Content, Reply};
use super::{Answer, chat};

pub(super) fn answer(request: &Value) -> Answer {
    let reply = Reply::to(request, &Prompt::of_completions(request));
    let finish = json!(if reply.cut { "length" } else { "stop" });
    if request["stream"] == true {
        let include_usage = request["stream_options"]["include_usage"] == true;
        return Answer::Stream(stream(&reply, &finish, include_usage));
    }
    let mut whole = completion(&reply, json!([choice(&reply.text(), &finish)]));
    whole["usage"] = chat::usage(&reply);
    Answer::Json(whole)
}

fn stream(reply: &Reply, finish: &Value, include_usage: bool) -> Vec<Frame> {
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = completion(reply, choices);
        if include_usage {
            chunk["usage"] = usage;
        }
        Frame::data(&chunk)
    };
    let words = match &reply.content {
        Content::Words(words) => words.as_slice(),
        Content::Call { .. } => &[],
    };
    let word = |word: &String| chunk(json!([choice(word, &Value::Null)]), Value::Null).paced();
    let mut frames: Vec<Frame> = words.iter().map(word).collect();
    frames.push(chunk(json!([choice("", finish)]), Value::Null));
    if include_usage {
        frames.push(chunk(json!([]), chat::usage(reply)));
    }
    frames.push(Frame::done());
    frames
}

fn completion(reply: &Reply, choices: Value) -> Value {
    json!({
        "id": format!("cmpl-{}", reply.id),
        "object": "text_completion",
        "created": reply.created,
        "model": reply.model,
        "system_fingerprint": null,
        "choices": choices
    })
}

fn choice(text: &str, finish: &Value) -> Value {
    json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish})
}
