use super::*;
use crate::llm::endpoint::Endpoint;

fn parse(endpoint: Endpoint, body: &str) -> Result<Request, BodyProblem> {
    Request::parse(endpoint, Bytes::copy_from_slice(body.as_bytes()))
}

/// The message and the field it names.
fn refused(endpoint: Endpoint, body: &str) -> (String, Option<String>) {
    let problem = parse(endpoint, body).expect_err(body);
    (problem.to_string(), problem.param().map(str::to_owned))
}

fn text(endpoint: Endpoint, body: &str) -> String {
    parse(endpoint, body).unwrap().last_user_text().window().as_str().to_owned()
}

const USER: &str = r#"[{"role":"user","content":"hi"}]"#;

#[test]
fn what_is_needed_is_found() {
    let request = parse(
        Endpoint::ChatCompletions,
        r#"{"model":"cfx-code","messages":[{"role":"user","content":"hi \"there\"\n\u00e9"}],"stream":true,
            "tools":[{"type":"function"}],"max_tokens":1e400,"user":"u","user":"twice is not ours"}"#,
    )
    .unwrap();
    assert_eq!(request.model(), Some("cfx-code"));
    assert!(request.is_stream() && request.has_tools());
    assert_eq!(request.last_user_text().window().as_str(), "hi \"there\"\né");
    assert_eq!(request.fields().max_tokens.map(|limit| limit.asked), Some(Asked::Tokens(u64::MAX)));
    let empty =
        parse(Endpoint::ChatCompletions, &format!(r#"{{"messages":{USER},"tools":[],"stream":null}}"#)).unwrap();
    assert!(!empty.has_tools() && !empty.is_stream() && empty.model().is_none());
}

#[test]
fn broken_bodies_say_what_and_where() {
    let chat = Endpoint::ChatCompletions;
    let (message, param) = refused(chat, "{\"model\":\"x\",\n  messages: []}");
    assert_eq!(message, "the body is not valid JSON: line 2 column 3: expected a key");
    assert_eq!(param, None);
    assert_eq!(refused(chat, "[1]").0, "the body must be a JSON object");
    assert_eq!(refused(chat, "[1").0, "the body is not valid JSON: line 1 column 3: unexpected end");
    assert_eq!(refused(chat, "").0, "the body is not valid JSON: line 1 column 1: unexpected end");
    let deep = format!("{{\"messages\":{USER},\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(refused(chat, &deep).0.ends_with("nested more than 256 deep"));
}

#[test]
fn fields_of_the_wrong_kind_are_named() {
    for (member, param, expected) in [
        (r#""model":5"#, "model", "a string"),
        (r#""model":null"#, "model", "a string"),
        (r#""stream":"yes""#, "stream", "true or false"),
        (r#""stream_options":true"#, "stream_options", "an object"),
        (r#""stream_options":{"include_usage":1}"#, "stream_options.include_usage", "true or false"),
        (r#""max_tokens":"100""#, "max_tokens", "a number"),
        (r#""n":"2""#, "n", "a number"),
        (r#""temperature":[]"#, "temperature", "a number"),
        (r#""metadata":"{\"fallbacks\":[]}""#, "metadata", "an object"),
        (r#""background":"true""#, "background", "true or false"),
    ] {
        let (message, named) = refused(Endpoint::ChatCompletions, &format!("{{\"messages\":{USER},{member}}}"));
        assert_eq!(message, format!("`{param}` must be {expected}"));
        assert_eq!(named.as_deref(), Some(param));
    }
    for (messages, param) in [
        ("{}", "messages"),
        ("[]", "messages"),
        ("null", "messages"),
        ("[{\"role\":\"user\",\"content\":\"a\"},\"b\"]", "messages[1]"),
        ("[{\"role\":1}]", "messages[0].role"),
        ("[{\"role\":\"user\",\"content\":{}}]", "messages[0].content"),
    ] {
        let (_, named) = refused(Endpoint::ChatCompletions, &format!("{{\"messages\":{messages}}}"));
        assert_eq!(named.as_deref(), Some(param));
    }
}

#[test]
fn every_dialect_names_what_is_missing() {
    for (endpoint, field) in [
        (Endpoint::ChatCompletions, "messages"),
        (Endpoint::Messages, "messages"),
        (Endpoint::CountTokens, "messages"),
        (Endpoint::Responses, "input"),
        (Endpoint::Embeddings, "input"),
        (Endpoint::Completions, "prompt"),
    ] {
        let (message, param) = refused(endpoint, r#"{"model":"m"}"#);
        assert_eq!(message, format!("`{field}` is missing"));
        assert_eq!(param.as_deref(), Some(field));
    }
    for (endpoint, body) in [
        (Endpoint::Responses, r#"{"input":"hi"}"#),
        (Endpoint::Responses, r#"{"input":[]}"#),
        (Endpoint::Embeddings, r#"{"input":["a","b"]}"#),
        (Endpoint::Completions, r#"{"prompt":[1,2,3]}"#),
        (Endpoint::Messages, r#"{"messages":[{"role":"user","content":"a"}],"system":[{"type":"text","text":"s"}]}"#),
    ] {
        assert!(parse(endpoint, body).is_ok(), "{body}");
    }
}

#[test]
fn an_owned_key_given_twice_is_refused_even_in_disguise() {
    for (body, param) in [
        (format!(r#"{{"model":"a","mod\u0065l":"b","messages":{USER}}}"#), "model"),
        (format!(r#"{{"messages":{USER},"messages":{USER}}}"#), "messages"),
        (format!(r#"{{"messages":{USER},"max_tokens":1,"\u006dax_tokens":2}}"#), "max_tokens"),
        (
            format!(r#"{{"messages":{USER},"stream_options":{{"include_usage":true,"include_usage":false}}}}"#),
            "stream_options.include_usage",
        ),
        (r#"{"messages":[{"role":"user","content":"a","content":"b"}]}"#.to_owned(), "messages[0].content"),
        (r#"{"messages":[{"role":"user","r\u006fle":"system"}]}"#.to_owned(), "messages[0].role"),
    ] {
        let (message, named) = refused(Endpoint::ChatCompletions, &body);
        assert_eq!(message, format!("`{param}` is given twice"));
        assert_eq!(named.as_deref(), Some(param));
    }
}

#[test]
fn litellm_is_not_to_be_steered() {
    for (member, param) in [
        (r#""fallbacks":["gpt-4o"]"#, "fallbacks"),
        (r#""f\u0061llbacks":["gpt-4o"]"#, "fallbacks"),
        (r#""mock_response":"x""#, "mock_response"),
        (r#""litellm_params":{}"#, "litellm_params"),
        (r#""api_base":"http://evil""#, "api_base"),
        (r#""extra_body":{"model":"o"}"#, "extra_body"),
        (r#""metadata":{"user":"x","fallbacks":[]}"#, "metadata.fallbacks"),
        (r#""metadata":{"model_group":"x"}"#, "metadata.model_group"),
        (r#""mock_\u001b[31m":1"#, "mock_?[31m"),
    ] {
        let (message, named) = refused(Endpoint::ChatCompletions, &format!("{{\"messages\":{USER},{member}}}"));
        assert_eq!(message, format!("`{param}` is not accepted here"));
        assert_eq!(named.as_deref(), Some(param));
    }
    let fine = format!(r#"{{"messages":{USER},"metadata":{{"user_id":"u","session":"s"}},"user":"u","store":true}}"#);
    assert!(parse(Endpoint::ChatCompletions, &fine).is_ok());
}

#[test]
fn what_lies_at_the_provider_belongs_to_nobody_yet() {
    for (member, param) in [
        (r#""previous_response_id":"resp_1""#, "previous_response_id"),
        (r#""conversation":"conv_1""#, "conversation"),
        (r#""background":true"#, "background"),
    ] {
        let (_, named) = refused(Endpoint::Responses, &format!("{{\"input\":\"hi\",{member}}}"));
        assert_eq!(named.as_deref(), Some(param));
    }
    let none = r#"{"input":"hi","previous_response_id":null,"background":false,"conversation":null}"#;
    assert!(parse(Endpoint::Responses, none).is_ok());
}

#[test]
fn the_last_user_message_with_text_is_read_in_every_dialect() {
    let chat = Endpoint::ChatCompletions;
    assert_eq!(
        text(chat, r#"{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"}]}"#),
        "one"
    );
    assert_eq!(
        text(
            chat,
            r#"{"messages":[{"content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:"}},
                {"text":"b","type":"text"}],"role":"user"},{"role":"tool","content":"c"}]}"#
        ),
        "a\nb"
    );
    assert_eq!(text(Endpoint::Responses, r#"{"input":"ask\n"}"#), "ask\n");
    assert_eq!(
        text(
            Endpoint::Responses,
            r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"first"}]},
                {"type":"function_call_output","call_id":"1","output":"x"}]}"#
        ),
        "first"
    );
    assert_eq!(
        text(
            Endpoint::Messages,
            r#"{"messages":[{"role":"user","content":"task"},{"role":"assistant","content":[]},
                {"role":"user","content":[{"type":"tool_result","content":"out"}]}]}"#
        ),
        "task"
    );
    assert_eq!(text(chat, r#"{"messages":[{"role":"user","content":null}]}"#), "");
}

#[test]
fn rules_see_both_ends_of_a_long_message_and_the_mode_between_them() {
    let middle = "x".repeat(100_000);
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"first \u00e9 {middle}"}},
            {{"type":"text","text":"{middle}\n# Current Mode\n<slug>code</slug>\n{middle} last"}}]}}]}}"#
    );
    let window = text(Endpoint::ChatCompletions, &body);
    assert!(window.starts_with("first é x") && window.ends_with("x last"));
    assert!(window.contains("\n# Current Mode\n<slug>code</slug>\nx"));
    assert!(window.len() <= 2_400, "{}", window.len());
}

#[test]
fn rules_in_ascii_read_any_language_and_others_read_it_as_it_stands() {
    let body = r#"{"messages":[{"role":"user","content":"don\u2019t fix naïve 💻code ünder"}]}"#;
    let request = parse(Endpoint::ChatCompletions, body).unwrap();
    let window = request.last_user_text().window();
    for (rule, matches) in [
        (r"(?i)\bDON'T\b", true),
        (r"\bcode\b", true),
        (r"\bnaxve\b", true),
        (r"\bve\b", false),
        ("naïve", true),
        (r"\p{L}nder", true),
        ("💻", true),
    ] {
        assert_eq!(window.matches(&regex::Regex::new(rule).unwrap()), matches, "{rule}");
    }
}

#[test]
fn diffs_are_recognised_where_they_stand() {
    let has_diff = |content: &str| {
        let content = serde_json::to_string(content).unwrap();
        let body = format!(r#"{{"messages":[{{"role":"user","content":{content}}}]}}"#);
        parse(Endpoint::ChatCompletions, &body).unwrap().last_user_text().has_diff()
    };
    for diff in [
        "look:\n```diff\n-a\n+b\n```",
        "--- a/x.rs\n+++ b/x.rs\n@@ -1,2 +1,2 @@\n-a\n+b",
        "diff --git a/x b/x\nindex 1..2",
        "--- x.rs\n+++ x.rs\n@@ -1 +1 @@",
    ] {
        assert!(has_diff(diff), "{diff}");
    }
    for plain in ["what is a diff?", "@@ - @@", "- one\n- two\n+++ three", "```rust\nfn main() {}\n```"] {
        assert!(!has_diff(plain), "{plain}");
    }
}

#[test]
fn attachments_do_not_count_as_text() {
    let image = format!("data:image/png;base64,{}", "A".repeat(50_000));
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"what is this"}},
            {{"type":"image_url","image_url":{{"url":"{image}"}}}}]}}]}}"#
    );
    let request = parse(Endpoint::ChatCompletions, &body).unwrap();
    assert!(request.text_bytes() < 300 && request.body().len() > 50_000);
}
