//! What a client can get wrong, one line each: the status, the code, a message that names the fault, the one ledger row
//! that a refusal of a valid key gets, and an edge as well as before.

use serde_json::json;

use crate::harness::{Answer, CHAT, Client, Harness, Request, chat_body, streaming};

const EMBEDDINGS: &str = "/v1/embeddings";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";

struct Case {
    name: &'static str,
    request: Request,
    status: u16,
    code: &'static str,
    /// Words the message must contain.
    says: &'static str,
}

fn case(name: &'static str, request: Request, status: u16, code: &'static str, says: &'static str) -> Case {
    Case { name, request, status, code, says }
}

fn body(name: &'static str, body: impl Into<Vec<u8>>, code: &'static str, says: &'static str) -> Case {
    case(name, Request::post(CHAT, body), 400, code, says)
}

fn with(field: &str, value: serde_json::Value) -> Request {
    let mut body = chat_body();
    body[field] = value;
    Request::post(CHAT, body.to_string())
}

fn cases() -> Vec<Case> {
    let chat = || Request::post(CHAT, chat_body().to_string());
    let user = r#"{"role":"user","content":"hi"}"#;
    let nested = |depth: usize| {
        format!(r#"{{"model":"plan","messages":[{user}],"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
    };
    vec![
        body("not JSON", "{nope", "invalid_json", "line 1 column 2: expected a key"),
        body("nothing at all", "", "invalid_json", "line 1 column 1: "),
        body("half a document", r#"{"model":"plan","messages":["#, "invalid_json", "column 29: "),
        body(
            "two documents",
            format!(r#"{{"model":"plan","messages":[{user}]}}{{}}"#),
            "invalid_json",
            "column 61: unexpected",
        ),
        body("a list", "[1,2]", "invalid_json", "object"),
        body("a string", r#""plan""#, "invalid_json", "object"),
        body(
            "not UTF-8",
            b"{\"model\":\"plan\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}".to_vec(),
            "invalid_json",
            "UTF-8",
        ),
        body("a model that is a number", format!(r#"{{"model":7,"messages":[{user}]}}"#), "invalid_field", "model"),
        body("no messages", r#"{"model":"plan"}"#, "missing_field", "messages"),
        body("messages that are a string", r#"{"model":"plan","messages":"hi"}"#, "invalid_field", "messages"),
        body("messages that are null", r#"{"model":"plan","messages":null}"#, "invalid_field", "messages"),
        body(
            "model twice",
            format!(r#"{{"model":"plan","model":"code","messages":[{user}]}}"#),
            "invalid_field",
            "model",
        ),
        body(
            "model twice, once escaped",
            format!(r#"{{"model":"plan","mod\u0065l":"code","messages":[{user}]}}"#),
            "invalid_field",
            "model",
        ),
        body(
            "messages twice",
            format!(r#"{{"model":"plan","messages":[{user}],"messages":[]}}"#),
            "invalid_field",
            "messages",
        ),
        body("nesting of 10,000", nested(10_000), "invalid_json", "256"),
        body("nesting of 300", nested(300), "invalid_json", "256"),
        case("a stream that is a string", with("stream", json!("yes")), 400, "invalid_field", "stream"),
        case("fallbacks", with("fallbacks", json!(["other"])), 400, "invalid_field", "fallbacks"),
        case(
            "fallbacks in metadata",
            with("metadata", json!({"fallbacks": ["other"]})),
            400,
            "invalid_field",
            "fallbacks",
        ),
        case("api_base", with("api_base", json!("http://127.0.0.1:1")), 400, "invalid_field", "api_base"),
        case("base_url", with("base_url", json!("http://127.0.0.1:1")), 400, "invalid_field", "base_url"),
        case("api_key", with("api_key", json!("sk-mine")), 400, "invalid_field", "api_key"),
        case("mock_response", with("mock_response", json!("free")), 400, "invalid_field", "mock_response"),
        case("model_list", with("model_list", json!([])), 400, "invalid_field", "model_list"),
        case("user_config", with("user_config", json!({})), 400, "invalid_field", "user_config"),
        case("litellm_anything", with("litellm_trace_id", json!("x")), 400, "invalid_field", "litellm_trace_id"),
        body(
            "fallbacks, escaped",
            format!(r#"{{"model":"plan","messages":[{user}],"fallb\u0061cks":["other"]}}"#),
            "invalid_field",
            "fallbacks",
        ),
        case("an unknown stage", chat().header("X-CFX-Stage", "deploy"), 400, "invalid_stage", "X-CFX-Stage"),
        case(
            "a form",
            chat().instead("Content-Type", "application/x-www-form-urlencoded"),
            415,
            "unsupported_media_type",
            "application/json",
        ),
        case(
            "a multipart form",
            chat().instead("Content-Type", "multipart/form-data; boundary=x"),
            415,
            "unsupported_media_type",
            "application/json",
        ),
        case(
            "JSON called form",
            chat().instead("Content-Type", "application/json-form"),
            415,
            "unsupported_media_type",
            "application/json",
        ),
        case("text", chat().instead("Content-Type", "text/plain"), 415, "unsupported_media_type", "application/json"),
        case("gzip", chat().header("Content-Encoding", "gzip"), 415, "unsupported_media_type", "encoding"),
        case("11 MB", Request::post(CHAT, vec![b'a'; 11 << 20]), 413, "body_too_large", "limit of 10485760 bytes"),
        case("another path under /v1", Request::post("/v1/files", "{}"), 404, "not_found", "under /v1"),
        case("LiteLLM's key generation", Request::post("/v1/key/generate", "{}"), 404, "not_found", "under /v1"),
        case("dots in the path", Request::post("/v1/../key/generate", "{}"), 400, "invalid_path", "segment of dots"),
        case("GET on a POST path", Request::get(CHAT), 405, "method_not_allowed", "/v1/chat/completions takes POST"),
        case("GET on Anthropic's path", Request::get(MESSAGES), 405, "method_not_allowed", "POST"),
        case("DELETE on a model", Request::new("DELETE", "/v1/models/smart"), 405, "method_not_allowed", "takes GET"),
        case(
            "embeddings without input",
            Request::post(EMBEDDINGS, r#"{"model":"embed-small"}"#),
            400,
            "missing_field",
            "input",
        ),
        case("responses without input", Request::post(RESPONSES, r#"{"model":"plan"}"#), 400, "missing_field", "input"),
        case(
            "somebody's earlier response",
            Request::post(RESPONSES, r#"{"model":"plan","input":"hi","previous_response_id":"resp_of_another"}"#),
            400,
            "invalid_field",
            "previous_response_id",
        ),
        case(
            "a response in the background",
            Request::post(RESPONSES, r#"{"model":"plan","input":"hi","background":true}"#),
            400,
            "invalid_field",
            "background",
        ),
        case(
            "messages without messages",
            Request::post(MESSAGES, r#"{"model":"plan","max_tokens":5}"#),
            400,
            "missing_field",
            "messages",
        ),
    ]
}

#[test]
fn every_mistake_is_named_and_leaves_one_row() {
    let edge = Harness::start();
    let mut refused = Vec::new();
    for (number, case) in cases().into_iter().enumerate() {
        // A user each: of one user's refusals only the first ten of a minute become rows of their own.
        let key = edge.new_key(&format!("case{number}@example.org"), &[]);
        let answer = edge.ask(&case.request.clone().key(&key));
        assert_refusal(&answer, &case);
        refused.push((case, answer));
    }
    assert_eq!(edge.upstream.count(), 0, "none of it reached the upstream");
    edge.assert_healthy();
    let rows = edge.rows(refused.iter().filter(|(case, _)| leaves_a_row(case)).count() + 1);
    for (case, answer) in &refused {
        let id = answer.header("x-request-id").expect("an id");
        let rows: Vec<_> = rows.iter().filter(|row| row.text("request_id") == id).collect();
        assert_eq!(rows.len(), usize::from(leaves_a_row(case)), "{}: rows", case.name);
        for row in rows {
            assert_eq!(row.number("http_status"), i64::from(case.status), "{}", case.name);
            assert_eq!((row.text("status"), row.text("error_message")), ("error", case.code), "{}", case.name);
            assert_eq!(row.number("attempts"), 0, "{}", case.name);
        }
    }
}

/// A request whose key was never looked at has no user to be written down for.
fn leaves_a_row(case: &Case) -> bool {
    !matches!(case.status, 401 | 404 | 405) && case.code != "invalid_path"
}

fn assert_refusal(answer: &Answer, case: &Case) {
    let name = case.name;
    assert_eq!(answer.status, case.status, "{name}: {answer}");
    assert!(answer.complete, "{name}: the refusal arrives whole");
    assert_eq!(answer.code(), case.code, "{name}: {answer}");
    let message = answer.message();
    assert!(!case.says.is_empty() && message.contains(case.says), "{name}: {message:?} does not say {:?}", case.says);
    let id = answer.header("x-request-id").unwrap_or_else(|| panic!("{name}: no id"));
    let json = answer.json();
    assert_eq!(json["request_id"], id, "{name}");
    assert!(json["error"]["type"].is_string(), "{name}: {json}");
    let anthropic = case.request.bytes().windows(13).take(20).any(|word| word == b" /v1/messages");
    if anthropic {
        assert_eq!(json["type"], "error", "{name}: Anthropic's shape: {json}");
    } else {
        let all_four = ["message", "type", "param", "code"].iter().all(|field| json["error"].get(field).is_some());
        assert!(all_four, "{name}: OpenAI's shape: {json}");
    }
}

#[test]
fn a_wrong_method_is_told_the_right_one_and_counted_under_its_route() {
    let mut edge = Harness::start();
    for (request, allowed) in [
        (Request::get(CHAT), "POST"),
        (Request::new("PUT", MESSAGES), "POST"),
        (Request::new("DELETE", "/v1/models/smart"), "GET, HEAD"),
        (Request::post("/health", "{}"), "GET, HEAD"),
    ] {
        let answer = edge.ask(&request.key(&edge.key));
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{answer}");
    }
    edge.process.stop();
    let log = edge.process.log();
    let refused = |route: &str| log.matches(&format!(r#""status":405,"route":"{route}""#)).count();
    assert_eq!((refused("/v1/"), refused("health")), (3, 1), "{log}");
}

#[test]
fn a_query_never_travels_on() {
    let edge = Harness::start();
    assert_eq!(edge.post(&format!("{CHAT}?model=upstream-quick&api_base=x"), &chat_body()).status, 200);
    let seen = edge.upstream.last();
    assert_eq!(seen.path(), CHAT);
    assert_eq!(seen.json()["model"], "upstream-smart");
}

#[test]
fn a_trailing_slash_in_the_base_url_is_forgiven() {
    let edge = Harness::start();
    assert_eq!(edge.post("/v1//chat/completions", &chat_body()).status, 200);
    assert_eq!(edge.upstream.last().path(), CHAT);
    assert_eq!(edge.ask(&Request::get("/v1//models").key(&edge.key)).status, 200);
}

#[test]
fn two_stages_that_differ_name_none() {
    let edge = Harness::start();
    let request = edge.request(CHAT, &chat_body()).header("X-CFX-Stage", "plan").header("X-CFX-Stage", "code");
    let answer = edge.client().ask(&request);
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_stage"), "{answer}");
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let edge = Harness::start();
    let request = edge.request(CHAT, &streaming(chat_body())).header("Expect", "100-continue");
    assert_eq!(edge.ask(&request).status, 200);
    let mut refused = Client::plain(edge.http);
    let head =
        Request::post(CHAT, chat_body().to_string()).key("cfx_live_nonsense").header("Expect", "100-continue").bytes();
    let end = head.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    refused.send(&head[..end]);
    assert_eq!(refused.answer().status, 401, "before a byte of the body");
}
