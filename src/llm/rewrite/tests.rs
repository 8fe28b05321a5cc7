use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::llm::fixtures::{PROMPT, choice, models, request};
use crate::llm::json::tests::json_value;

/// The rewritten body under a stage of the fixture, as text and as a value.
fn rewritten(endpoint: Endpoint, header: &str, body: &str) -> (String, Value) {
    let models = models();
    let request = request(endpoint, body);
    let choice = choice(&models, &request, Some(header)).unwrap();
    let sent = rewrite(&request, &choice, &choice.model);
    let text = String::from_utf8(sent.segments.concat()).unwrap();
    assert_eq!(sent.len, text.len());
    // serde_json's values end at f64's.
    let value = serde_json::from_str(&text.replace("1e400", "1e40")).unwrap_or_else(|error| panic!("{error}: {text}"));
    (text, value)
}

fn chat(header: &str, members: &str) -> Value {
    rewritten(
        Endpoint::ChatCompletions,
        header,
        &format!(r#"{{"messages":[{{"role":"user","content":"hi"}}]{members}}}"#),
    )
    .1
}

#[test]
fn only_our_fields_change_and_every_other_byte_stays() {
    let body = "{ \"model\" : \"gpt-4o\",\"messages\":[ {\"role\":\"user\",\"content\":\"h\\u00e9\\/\"}],\n \"x\":1e400, \"x\":[ ] }";
    let (text, _) = rewritten(Endpoint::ChatCompletions, "plan", body);
    assert_eq!(
        text,
        "{ \"model\" : \"anthropic/sonnet \\\"4\\\"\",\"messages\":[{\"role\":\"system\",\"content\":\"You \\\"plan\\\".\\nNo code.\"}, \
         {\"role\":\"user\",\"content\":\"h\\u00e9\\/\"}],\n \"x\":1e400, \"x\":[ ] }"
    );
    assert_eq!(chat("plan", "")["model"], "anthropic/sonnet \"4\"");
}

#[test]
fn the_chat_prompt_is_a_message_of_its_own_or_goes_behind_the_first() {
    let first = |header: &str, messages: &str| {
        let body = format!("{{\"messages\":{messages}}}");
        rewritten(Endpoint::ChatCompletions, header, &body).1["messages"].clone()
    };
    let own = json!({ "role": "system", "content": PROMPT });
    let theirs = r#"[{"role":"system","content":"Roo"},{"role":"system","content":"b"},{"role":"user","content":"x"}]"#;
    assert_eq!(first("plan", theirs)[0], own);
    assert_eq!(first("plan", theirs)[1]["content"], "Roo");
    // `review` appends in the fixture.
    assert_eq!(first("review", theirs)[0]["content"], format!("Roo\n\n{PROMPT}"));
    assert_eq!(first("review", theirs)[1]["content"], "b");
    assert_eq!(first("review", r#"[{"role":"user","content":"x"}]"#)[0], own);
    let parts = r#"[{"role":"developer","content":[{"type":"text","text":"Roo"}]}]"#;
    assert_eq!(first("review", parts)[0]["content"][1], json!({ "type": "text", "text": PROMPT }));
    assert_eq!(first("review", r#"[{"content":[],"role":"system"}]"#)[0]["content"][0]["text"], PROMPT);
    assert_eq!(first("review", r#"[{"content":"","role":"system"}]"#)[0]["content"], PROMPT);
    assert_eq!(first("review", r#"[{"content":null,"role":"system"}]"#)[0]["content"], PROMPT);
    assert_eq!(first("review", r#"[{"role":"system"}]"#)[0], own);
}

#[test]
fn instructions_and_system_are_extended_or_made() {
    let responses = |header: &str, members: &str| {
        let body = format!(r#"{{"input":"hi"{members}}}"#);
        rewritten(Endpoint::Responses, header, &body).1["instructions"].clone()
    };
    assert_eq!(responses("plan", ""), PROMPT);
    assert_eq!(responses("plan", r#","instructions":null"#), PROMPT);
    assert_eq!(responses("plan", r#","instructions":"Codex""#), format!("{PROMPT}\n\nCodex"));
    assert_eq!(responses("review", r#","instructions":"Codex""#), format!("Codex\n\n{PROMPT}"));
    let messages = |header: &str, members: &str| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"max_tokens":9{members}}}"#);
        rewritten(Endpoint::Messages, header, &body).1["system"].clone()
    };
    let block = json!({ "type": "text", "text": PROMPT });
    let theirs = json!({ "type": "text", "text": "Claude", "cache_control": { "type": "ephemeral" } });
    assert_eq!(messages("plan", ""), PROMPT);
    assert_eq!(messages("plan", r#","system":"Claude""#), format!("{PROMPT}\n\nClaude"));
    assert_eq!(messages("plan", r#","system":"""#), PROMPT);
    assert_eq!(messages("plan", &format!(",\"system\":[{theirs}]")), json!([block, theirs]));
    assert_eq!(messages("review", &format!(",\"system\":[{theirs}]")), json!([theirs, block]));
    assert_eq!(messages("review", r#","system":[ ]"#), json!([block]));
}

#[test]
fn caps_are_lowered_put_in_and_never_raised() {
    // The code stage of the fixture: 4,096.
    for (members, max_tokens, max_completion_tokens) in [
        ("", json!(4096), Value::Null),
        (r#","max_tokens":100"#, json!(100), Value::Null),
        (r#","max_tokens":1e400"#, json!(4096), Value::Null),
        (r#","max_tokens":-1"#, json!(4096), Value::Null),
        (r#","max_tokens":null"#, json!(4096), Value::Null),
        (r#","max_completion_tokens":9000"#, Value::Null, json!(4096)),
        (r#","max_completion_tokens":50"#, Value::Null, json!(50)),
        (r#","max_completion_tokens":null"#, json!(4096), Value::Null),
        (r#","max_tokens":9000,"max_completion_tokens":9000"#, json!(4096), json!(4096)),
    ] {
        let sent = chat("code", members);
        assert_eq!(
            (&sent["max_tokens"], &sent["max_completion_tokens"]),
            (&max_tokens, &max_completion_tokens),
            "{members}"
        );
    }
    assert_eq!(chat("code", r#","max_output_tokens":9999"#)["max_output_tokens"], 4096);
    assert!(chat("plan", "").get("max_tokens").is_none(), "no cap, nothing put in");
    let responses = |members: &str| rewritten(Endpoint::Responses, "code", &format!(r#"{{"input":"x"{members}}}"#)).1;
    assert_eq!(responses("")["max_output_tokens"], 4096);
    assert_eq!(responses(r#","max_output_tokens":64"#)["max_output_tokens"], 64);
    assert_eq!(chat("code", r#","n":5"#)["n"], 1);
    assert_eq!(chat("plan", r#","n":5"#)["n"], 5);
}

#[test]
fn caps_stay_above_a_thinking_budget() {
    let sent = |members: &str| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}]{members}}}"#);
        rewritten(Endpoint::Messages, "code", &body).1
    };
    let thinking = |budget: u64| format!(r#","thinking":{{"type":"enabled","budget_tokens":{budget}}}"#);
    assert_eq!(sent(&format!(",\"max_tokens\":64000{}", thinking(2_000)))["max_tokens"], 4_096);
    assert_eq!(sent(&format!(",\"max_tokens\":64000{}", thinking(6_000)))["max_tokens"], 7_024);
    assert_eq!(sent(&format!(",\"max_tokens\":6500{}", thinking(6_000)))["max_tokens"], 6_500);
    // Never above what the model gives, whatever the budget says.
    assert_eq!(sent(&format!(",\"max_tokens\":64000{}", thinking(7_500)))["max_tokens"], 8_192);
    assert_eq!(sent(&format!(",\"max_tokens\":64000{}", thinking(u64::MAX)))["max_tokens"], 8_192);
    let disabled = r#","max_tokens":64000,"thinking":{"budget_tokens":10000,"type":"disabled"}"#;
    assert_eq!(sent(disabled)["max_tokens"], 4_096);
}

#[test]
fn a_thinking_budget_lifts_neither_the_direct_cap_nor_one_of_a_model_without_a_limit() {
    let mut models = models();
    models.direct.enabled = true;
    models.review.max_tokens = Some(4_096);
    let body = |budget: u64| {
        format!(
            r#"{{"model":"coder","messages":[{{"role":"user","content":"x"}}],"max_tokens":64000,
                "thinking":{{"budget_tokens":{budget}}}}}"#
        )
    };
    // 1,000 in direct mode; `mini`, the model of `review`, has no limit of its own.
    for (header, budget, cap) in [(None, 900, 1_000), (Some("review"), 10_000, 4_096)] {
        let request = request(Endpoint::Messages, &body(budget));
        let chosen = choice(&models, &request, header).unwrap();
        let sent: Value = serde_json::from_slice(&rewrite(&request, &chosen, &chosen.model).segments.concat()).unwrap();
        assert_eq!(sent["max_tokens"], cap, "{header:?}");
    }
}

#[test]
fn counting_tokens_gets_the_prompt_but_no_cap() {
    let (_, sent) = rewritten(Endpoint::CountTokens, "code", r#"{"messages":[{"role":"user","content":"hi"}]}"#);
    assert_eq!(sent["system"], PROMPT);
    assert!(sent.get("max_tokens").is_none());
}

#[test]
fn direct_mode_and_completions_have_the_direct_cap_and_no_prompt() {
    let mut models = models();
    models.direct.enabled = true;
    let body = r#"{"model":"mini","messages":[{"role":"user","content":"x"}],"max_tokens":5000,"temperature":2}"#;
    let direct = request(Endpoint::ChatCompletions, body);
    let chosen = choice(&models, &direct, None).unwrap();
    let sent: Value = serde_json::from_slice(&rewrite(&direct, &chosen, &chosen.model).segments.concat()).unwrap();
    assert_eq!(
        sent,
        json!({ "model": "gpt-mini", "messages": [{ "role": "user", "content": "x" }], "max_tokens": 1000, "temperature": 2 })
    );
    let completion = request(Endpoint::Completions, r#"{"prompt":"x","best_of":4,"n":2}"#);
    let chosen = choice(&models, &completion, None).unwrap();
    let sent: Value = serde_json::from_slice(&rewrite(&completion, &chosen, &chosen.model).segments.concat()).unwrap();
    assert_eq!(sent, json!({ "model": "deepseek-chat", "max_tokens": 1000, "prompt": "x", "best_of": 1, "n": 1 }));
    let embeddings = request(Endpoint::Embeddings, r#"{"input":["x"]}"#);
    let chosen = choice(&models, &embeddings, None).unwrap();
    let sent = rewrite(&embeddings, &chosen, &chosen.model);
    assert_eq!(sent.segments.concat(), br#"{"model":"text-embedding","input":["x"]}"#);
}

#[test]
fn temperature_is_clamped_where_given() {
    for (given, sent) in [("0.9", json!(0.5)), ("0.2", json!(0.2)), ("-1", json!(0)), ("1e400", json!(0.5))] {
        assert_eq!(chat("code", &format!(",\"temperature\":{given}"))["temperature"], sent, "{given}");
    }
    assert!(chat("code", "").get("temperature").is_none());
    assert_eq!(chat("code", ",\"temperature\":null")["temperature"], Value::Null);
}

#[test]
fn usage_is_asked_for_where_the_client_did_not() {
    let run = |endpoint, members: &str| {
        let models = models();
        let request = request(endpoint, &format!(r#"{{"messages":[{{"role":"user"}}],"input":"x"{members}}}"#));
        let choice = choice(&models, &request, Some("plan")).unwrap();
        let sent = rewrite(&request, &choice, &choice.model);
        let value: Value = serde_json::from_slice(&sent.segments.concat()).unwrap();
        (sent.usage_injected, value["stream_options"].clone())
    };
    let asked = json!({ "include_usage": true });
    let chat = Endpoint::ChatCompletions;
    assert_eq!(run(chat, r#","stream":true"#), (true, asked.clone()));
    assert_eq!(run(chat, r#","stream":true,"stream_options":null"#), (true, asked.clone()));
    assert_eq!(run(chat, r#","stream":true,"stream_options":{}"#), (true, asked.clone()));
    assert_eq!(run(chat, r#","stream":true,"stream_options":{"include_usage":false}"#), (true, asked.clone()));
    assert_eq!(run(chat, r#","stream":true,"stream_options":{"include_usage":true}"#), (false, asked));
    assert_eq!(
        run(chat, r#","stream":true,"stream_options":{ "x":1}"#),
        (true, json!({ "include_usage": true, "x": 1 }))
    );
    assert_eq!(run(chat, r#","stream":false"#), (false, Value::Null));
    assert_eq!(run(Endpoint::Responses, r#","stream":true"#), (false, Value::Null));
    assert_eq!(run(Endpoint::Messages, r#","stream":true"#), (false, Value::Null));
}

#[test]
fn the_fallback_gets_its_own_name_and_limits() {
    let models = models();
    let request = request(Endpoint::ChatCompletions, r#"{"messages":[{"role":"user","content":"x"}]}"#);
    let chosen = choice(&models, &request, Some("plan")).unwrap();
    let fallback = chosen.fallback.clone().unwrap();
    let sent: Value = serde_json::from_slice(&rewrite(&request, &chosen, &fallback).segments.concat()).unwrap();
    assert_eq!(sent["model"], "gpt-mini");
}

/// 5 MB, nested 200 deep, unicode, numbers beyond f64, foreign keys given twice: the same but for what is ours.
#[test]
fn a_large_and_strange_request_is_sliced_not_copied() {
    let deep = format!("{}\"🦀 \\ud83e\\udd80\"{}", "[{\"k\":".repeat(100), "}]".repeat(100));
    let prompt = "fn main() { println!(\\\"héllo\\\"); }\\n".repeat(140_000);
    let head = format!(r#"{{"deep":{deep},"big":1e400,"x":1,"x":-0.0E-999,"#);
    let messages = format!(r#""messages":[{{"role":"system","content":"s"}},{{"role":"user","content":"{prompt}"}}]"#);
    let tail = r#","user":"u","user":"v" }"#;
    let body = format!("{head}\"model\":\"a\",{messages},\"stream\":true{tail}");
    assert!(body.len() > 5_000_000);
    let models = models();
    let request = request(Endpoint::ChatCompletions, &body);
    let chosen = choice(&models, &request, Some("plan")).unwrap();
    let sent = rewrite(&request, &chosen, &chosen.model);
    let prompt_message = r#""messages":[{"role":"system","content":"You \"plan\".\nNo code."},"#;
    let expected = format!(
        "{{\"stream_options\":{{\"include_usage\":true}},{}\"model\":\"anthropic/sonnet \\\"4\\\"\",{}{}{tail}",
        &head[1..],
        messages.replacen(r#""messages":["#, prompt_message, 1),
        ",\"stream\":true",
    );
    assert!(sent.segments.concat() == expected.as_bytes());
    assert_eq!(sent.len, expected.len());
    let range = request.body().as_ptr_range();
    let shared: usize = sent.segments.iter().filter(|part| range.contains(&part.as_ptr())).map(Bytes::len).sum();
    assert!(shared > 5_000_000, "the prompt was copied");
}

proptest! {
    /// Foreign members of any shape, in any place, survive to the byte; ours are what the stage says.
    #[test]
    fn foreign_members_survive_any_request(
        before in prop::collection::vec(("[f-h]{1,4}", json_value()), 0..4),
        after in prop::collection::vec(("[f-h]{1,4}", json_value()), 0..4),
        content in "\\PC{0,40}",
        stream: bool,
        max_tokens in prop::option::of(0_u64..20_000),
        pretty: bool,
    ) {
        let member = |(name, value): &(String, Value)| {
            let value = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
            format!("\"{name}\":{}", value.unwrap())
        };
        let before: Vec<_> = before.iter().map(member).collect();
        let after: Vec<_> = after.iter().map(member).collect();
        let foreign = |members: &[String]| members.iter().map(|member| format!("{member}, ")).collect::<String>();
        let content = serde_json::to_string(&content).unwrap();
        let cap = |tokens: Option<u64>| tokens.map_or_else(String::new, |tokens| format!(",\"max_tokens\":{tokens}"));
        let body = format!(
            "{{{}\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":{content}}}],{}\"model\":\"m\"{}}}",
            foreign(&before), foreign(&after), cap(max_tokens)
        );
        let (text, _) = rewritten(Endpoint::ChatCompletions, "code", &body);
        let usage = if stream { "\"stream_options\":{\"include_usage\":true}," } else { "" };
        let put_in = if max_tokens.is_none() { "\"max_tokens\":4096," } else { "" };
        let expected = format!(
            "{{{put_in}{usage}{}\"stream\":{stream},\"messages\":[{{\"role\":\"system\",\"content\":{}}},\
             {{\"role\":\"user\",\"content\":{content}}}],{}\"model\":\"deepseek-chat\"{}}}",
            foreign(&before), serde_json::to_string(PROMPT).unwrap(), foreign(&after),
            cap(max_tokens.map(|tokens| tokens.min(4_096)))
        );
        prop_assert_eq!(text, expected);
    }
}
