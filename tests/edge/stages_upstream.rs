//! What a stage does, seen where it counts: at the upstream. The prompts come from the harness's `models.yaml`.

use serde_json::{Value, json};

use crate::harness::{Answer, CHAT, Harness, Reply, Request, body_for, chat_body, streaming, wire};

const PLAN: &str = "PLAN: say what you would do, write no code.";
const CODE: &str = "CODE: answer with unified diffs only.";
const REVIEW: &str = "REVIEW: name the risks, write no code.";
const DIALECTS: [&str; 3] = [CHAT, "/v1/responses", "/v1/messages"];

fn stage_of(answer: &Answer) -> (String, String, String) {
    let value = |name: &str| answer.header(name).unwrap_or_default().to_string();
    (value("x-cfx-stage"), value("x-cfx-stage-source"), value("x-cfx-model-used"))
}

fn expect(stage: &str, source: &str, model: &str) -> (String, String, String) {
    (stage.to_string(), source.to_string(), model.to_string())
}

#[test]
fn a_stage_is_chosen_by_header_then_model_then_what_is_asked() {
    let edge = Harness::start();
    let say = |text: &str| json!({"model": "whatever", "messages": [{"role": "user", "content": text}]});
    let named = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "please review this"}]});
    let with_stage = |stage: &str, body: &Value| edge.ask(&edge.request(CHAT, body).header("X-CFX-Stage", stage));

    assert_eq!(stage_of(&with_stage("code", &named("review"))), expect("code", "header", "quick"));
    assert_eq!(stage_of(&with_stage("CODE", &named("review"))), expect("code", "header", "quick"));
    assert_eq!(stage_of(&edge.post(CHAT, &named("code"))), expect("code", "model", "quick"));
    assert_eq!(stage_of(&edge.post(CHAT, &named("cfx-code"))), expect("code", "model", "quick"));
    assert_eq!(stage_of(&edge.post(CHAT, &say("please review this"))), expect("review", "inferred", "smart"));
    assert_eq!(
        stage_of(&edge.post(CHAT, &say("look:\n--- a/x.rs\n+++ b/x.rs\n@@ -1 +1 @@\n-a\n+b\n"))),
        expect("review", "inferred", "smart")
    );
    assert_eq!(stage_of(&edge.post(CHAT, &say("how would you do it?"))), expect("plan", "default", "smart"));
}

#[test]
fn the_exact_prompt_is_seen_upstream_in_every_dialect() {
    for (path, stream) in DIALECTS.iter().flat_map(|path| [(*path, false), (*path, true)]) {
        let edge = Harness::start();
        let body = if stream { streaming(body_for(path)) } else { body_for(path) };
        assert_eq!(edge.post(path, &body).status, 200, "{path}");
        let seen = edge.upstream.last().json();
        let system = match path {
            "/v1/responses" => seen["instructions"].clone(),
            "/v1/messages" => seen["system"].clone(),
            _ => {
                assert_eq!(seen["messages"][0]["role"], "system");
                seen["messages"][0]["content"].clone()
            }
        };
        assert_eq!(text_of(&system), PLAN, "{path}: {seen}");
        assert_eq!(seen["model"], "upstream-smart", "{path}");
        let asked = body.get("messages").or_else(|| body.get("input")).cloned();
        let kept = seen.get("messages").or_else(|| seen.get("input")).cloned().map(|mut list| {
            if path == CHAT
                && let Some(list) = list.as_array_mut()
            {
                list.remove(0);
            }
            list
        });
        assert_eq!(kept, asked, "{path}: what the user said is untouched");
    }
}

#[test]
fn completions_carry_no_stage_prompt() {
    let edge = Harness::start();
    let path = "/v1/completions";
    let answer = edge.post(path, &body_for(path));
    assert_eq!(answer.header("x-cfx-stage"), Some("direct"));
    let seen = edge.upstream.last().json();
    assert_eq!((seen["model"].as_str(), seen["prompt"].as_str()), (Some("upstream-complete"), Some("fn main() {")));
    assert!(seen.get("messages").is_none());
}

#[test]
fn a_client_prompt_stays_behind_ours_or_before_it() {
    let edge = Harness::start();
    let body = |stage: &str| {
        json!({"model": stage, "messages": [
        {"role": "system", "content": "You are Roo."}, {"role": "user", "content": "Go on."}]})
    };
    edge.post(CHAT, &body("plan"));
    let seen = edge.upstream.last().json();
    assert_eq!(seen["messages"][0]["content"], PLAN, "prepended: a message of its own, before all others");
    assert_eq!(seen["messages"][1]["content"], "You are Roo.");

    edge.post(CHAT, &body("review"));
    let seen = edge.upstream.last().json();
    let first = text_of(&seen["messages"][0]["content"]);
    assert!(first.starts_with("You are Roo.") && first.ends_with(REVIEW), "appended to the first: {first}");
    assert_eq!(seen["messages"].as_array().map(Vec::len), Some(2));
}

#[test]
fn system_texts_of_the_other_dialects_are_kept_too() {
    let edge = Harness::start();
    edge.post("/v1/responses", &json!({"model": "plan", "instructions": "You are Codex.", "input": "Go on."}));
    let seen = text_of(&edge.upstream.last().json()["instructions"]);
    assert!(seen.contains(PLAN) && seen.contains("You are Codex."), "{seen}");

    let blocks = json!([{"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}}]);
    let body = json!({"model": "plan", "max_tokens": 9, "system": blocks, "messages": [{"role": "user", "content": "Go on."}]});
    edge.post("/v1/messages", &body);
    let seen = edge.upstream.last().json();
    let text = text_of(&seen["system"]);
    assert!(text.contains(PLAN) && text.contains("You are Claude Code."), "{seen}");
    let blocks = seen["system"].as_array().expect("blocks stay blocks");
    assert!(blocks.iter().any(|block| block["cache_control"]["type"] == "ephemeral"), "the cache mark is kept: {seen}");
}

#[test]
fn a_stages_cap_bounds_every_name_it_goes_by() {
    let edge = Harness::start();
    let sent = |fields: Value| {
        let mut body = json!({"model": "code", "messages": [{"role": "user", "content": "Write it."}]});
        body.as_object_mut().expect("an object").extend(fields.as_object().cloned().unwrap_or_default());
        assert_eq!(edge.post(CHAT, &body).status, 200, "{body}");
        edge.upstream.last().json()
    };
    assert_eq!(text_of(&sent(json!({}))["messages"][0]["content"]), CODE);
    assert_eq!(sent(json!({"max_tokens": 100}))["max_tokens"], 100, "below the cap it is the client's");
    assert_eq!(sent(json!({"max_tokens": 100_000}))["max_tokens"], 8192);
    assert_eq!(sent(json!({"max_completion_tokens": 100_000}))["max_completion_tokens"], 8192);
    let absent = sent(json!({}));
    let put_in = absent.get("max_tokens").or_else(|| absent.get("max_completion_tokens"));
    assert_eq!(put_in, Some(&json!(8192)), "put in where absent: {absent}");
    edge.post("/v1/responses", &json!({"model": "code", "input": "Write it.", "max_output_tokens": 100_000}));
    assert_eq!(edge.upstream.last().json()["max_output_tokens"], 8192);
}

#[test]
fn tool_calls_come_back_through_a_stage() {
    let edge = Harness::start();
    let tools = json!([{"type": "function", "function": {"name": "read_file", "strict": true, "parameters": {"type": "object"}}}]);
    let mut body = chat_body();
    body["tools"] = tools.clone();
    body["parallel_tool_calls"] = json!(true);

    let answer = edge.post(CHAT, &body).json();
    assert_eq!(answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "read_file");
    let seen = edge.upstream.last().json();
    assert_eq!((&seen["tools"], &seen["parallel_tool_calls"]), (&tools, &json!(true)));

    edge.upstream.then(Reply::events(wire::tool_call_events("m", false)));
    let (events, whole) = edge.client().stream(&edge.request(CHAT, &streaming(body))).rest();
    assert!(whole && events.iter().any(|event| event.contains("\"tool_calls\"")), "{events:?}");
}

#[test]
fn an_unknown_model_is_the_stages_business_not_an_error() {
    let edge = Harness::start();
    for model in ["gpt-4o", "smart", "upstream-quick", ""] {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "how?"}]});
        assert_eq!(edge.post(CHAT, &body).status, 200, "{model:?}");
        assert_eq!(edge.upstream.last().json()["model"], "upstream-smart", "{model:?}");
    }
    let without = edge.post_bytes(CHAT, r#"{"messages":[{"role":"user","content":"how?"}]}"#);
    assert_eq!(without.status, 200, "{without}");
    assert_eq!(edge.upstream.last().json()["model"], "upstream-smart");
}

#[test]
fn a_session_id_is_kept_in_the_log_and_stays_here() {
    let edge = Harness::start();
    let answer = edge.ask(&edge.request(CHAT, &chat_body()).header("X-CFX-Session-Id", "task-42"));
    assert_eq!(answer.status, 200);
    assert_eq!(edge.row().text("session_id"), "task-42");
    assert!(!edge.upstream.last().head.to_lowercase().contains("x-cfx"), "{}", edge.upstream.last().head);
    let long = "x".repeat(10_000);
    let answer =
        edge.ask(&Request::post(CHAT, chat_body().to_string()).key(&edge.key).header("X-CFX-Session-Id", &long));
    assert_eq!(answer.status, 200, "a long one is no reason to refuse");
    assert!(edge.rows(2)[1].text("session_id").len() <= 256, "nor to fill the store");
}

/// A system text that may be a string or a list of text blocks.
fn text_of(system: &Value) -> String {
    match system {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n\n")
        }
        other => other.to_string(),
    }
}
