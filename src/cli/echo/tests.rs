use axum::body::Bytes;
use axum::http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::*;

/// Posts over a real socket: the status, the content type and the whole body.
async fn post_to(path: &str, body: &str) -> (u16, String, String) {
    let model = start_at_pace(Duration::ZERO).await.unwrap();
    let address = model.url.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(path).header("host", address).body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

async fn answered(path: &str, request: Value) -> Value {
    let (status, kind, body) = post_to(path, &request.to_string()).await;
    assert_eq!((status, kind.as_str()), (200, "application/json"), "{body}");
    serde_json::from_str(&body).unwrap()
}

/// The events of a stream: name (empty where it has none) and data as it stands.
async fn streamed_events(path: &str, mut request: Value) -> Vec<(String, String)> {
    request["stream"] = json!(true);
    let (status, kind, body) = post_to(path, &request.to_string()).await;
    assert_eq!((status, kind.as_str()), (200, "text/event-stream; charset=utf-8"), "{body}");
    let event = |event: &str| {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        (field("event: "), field("data: "))
    };
    body.split_terminator("\n\n").map(event).collect()
}

fn parsed(events: &[(String, String)]) -> Vec<Value> {
    events.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect()
}

/// Events whose name is their type, as responses and messages have them.
async fn named_events(path: &str, request: Value) -> Vec<Value> {
    let events = streamed_events(path, request).await;
    let values = parsed(&events);
    for ((name, _), value) in events.iter().zip(&values) {
        assert_eq!(value["type"], name.as_str());
    }
    values
}

fn types(events: &[Value]) -> Vec<&str> {
    let mut types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    types.dedup();
    types
}

const CHAT: &str = "/v1/chat/completions";
const SAID: &str = "[echo model: no provider was called] hello  there";

fn chat() -> Value {
    json!({"model": "m", "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "an earlier one"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "hello  there"}]}
    ]})
}

fn with_tool(mut request: Value, tool: Value) -> Value {
    request["tools"] = json!([tool]);
    request
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
}

#[tokio::test]
async fn chat_repeats_the_last_user_message() {
    let answer = answered(CHAT, chat()).await;
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "m");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(answer["choices"][0]["message"]["content"], SAID);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["prompt_tokens"], 8);
    assert_eq!(answer["usage"]["completion_tokens"], 8);
    assert_eq!(answer["usage"]["total_tokens"], 16);
}

#[tokio::test]
async fn chat_streams_word_by_word() {
    let mut events = streamed_events(CHAT, chat()).await;
    assert_eq!(events.pop().unwrap().1, "[DONE]");
    let chunks = parsed(&events);
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == chunks[0]["id"]));
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()), "nobody asked for usage");
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, SAID);
    assert_eq!(chunks.len(), 8 + 2);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn chat_streams_usage_exactly_when_asked() {
    let mut request = chat();
    request["stream_options"] = json!({"include_usage": true});
    let mut events = streamed_events(CHAT, request).await;
    events.pop();
    let mut chunks = parsed(&events);
    let last = chunks.pop().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(16)));
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
}

#[tokio::test]
async fn a_bound_on_tokens_is_kept() {
    let mut request = chat();
    request["max_completion_tokens"] = json!(7);
    let answer = answered(CHAT, request).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["choices"][0]["message"]["content"], "[echo model: no provider was called] hello  ");
    assert_eq!(answer["usage"]["completion_tokens"], 7);
}

#[tokio::test]
async fn chat_calls_a_tool_and_then_reads_its_result() {
    let tool = json!({"type": "function", "function": {"name": "weather", "parameters": schema()}});
    let asked = json!({"role": "user", "content": "call tool weather"});
    let request = with_tool(json!({"model": "m", "messages": [asked]}), tool.clone());
    let answer = answered(CHAT, request.clone()).await;
    let choice = &answer["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null));
    let function = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(function["name"], "weather");
    let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"city": "call tool weather"}));

    let mut events = streamed_events(CHAT, request).await;
    events.pop();
    let chunks = parsed(&events);
    let calls: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]).collect();
    assert_eq!(calls[0]["function"]["name"], "weather");
    assert_eq!(calls[1]["function"]["arguments"], function["arguments"]);
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");

    let result = json!({"role": "tool", "tool_call_id": "x", "content": "sunny"});
    let answer = answered(CHAT, with_tool(json!({"messages": [asked, result]}), tool)).await;
    assert_eq!(answer["choices"][0]["message"]["content"], format!("{} sunny", reply::NOTICE));
}

#[tokio::test]
async fn completions_repeat_the_prompt() {
    let request = json!({"model": "m", "prompt": ["hello  there"], "stream_options": {"include_usage": true}});
    let answer = answered("/v1/completions", request.clone()).await;
    assert_eq!((&answer["object"], &answer["choices"][0]["text"]), (&json!("text_completion"), &json!(SAID)));
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]), (&json!(2), &json!(8)));
    let mut events = streamed_events("/v1/completions", request).await;
    assert_eq!(events.pop().unwrap().1, "[DONE]");
    let chunks = parsed(&events);
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, SAID);
    assert_eq!(chunks.last().unwrap()["usage"], answer["usage"]);
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn embeddings_are_unit_vectors_in_either_encoding() {
    let request = json!({"model": "e", "input": ["a b", "a b", "c"], "dimensions": 8});
    let answer = answered("/v1/embeddings", request.clone()).await;
    let vectors: Vec<Vec<f32>> =
        (0..3).map(|n| serde_json::from_value(answer["data"][n]["embedding"].clone()).unwrap()).collect();
    assert_eq!((vectors[0].len(), &vectors[0]), (8, &vectors[1]));
    let length = |vector: &[f32]| vector.iter().map(|value| value * value).sum::<f32>();
    assert!((length(&vectors[2]) - 1.0).abs() < 1e-5);
    assert_eq!(answer["usage"], json!({"prompt_tokens": 5, "total_tokens": 5}));

    let mut request = request;
    request["encoding_format"] = json!("base64");
    let answer = answered("/v1/embeddings", request).await;
    let bytes = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        answer["data"][2]["embedding"].as_str().unwrap(),
    )
    .unwrap();
    let decoded: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(decoded, vectors[2]);
}

#[tokio::test]
async fn responses_answer_and_stream_their_events_in_order() {
    let input = json!([{"role": "user", "content": [{"type": "input_text", "text": "hello  there"}]}]);
    let request = json!({"model": "m", "instructions": "be brief", "input": input});
    let answer = answered("/v1/responses", request.clone()).await;
    assert_eq!((&answer["object"], &answer["status"]), (&json!("response"), &json!("completed")));
    assert_eq!(answer["output"][0]["content"][0]["text"], SAID);
    assert_eq!((&answer["usage"]["input_tokens"], &answer["usage"]["output_tokens"]), (&json!(4), &json!(8)));

    let events = named_events("/v1/responses", request).await;
    assert_eq!(
        types(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert!(numbers.into_iter().eq(0..events.len() as u64));
    let text: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(text, SAID);
    let last = &events.last().unwrap()["response"];
    assert_eq!((&last["usage"], &last["status"]), (&answer["usage"], &json!("completed")));
    assert_eq!(last["id"], events[0]["response"]["id"]);
}

#[tokio::test]
async fn responses_call_a_tool_and_say_when_they_are_cut() {
    let tool = json!({"type": "function", "name": "weather", "parameters": schema()});
    let request = with_tool(json!({"model": "m", "input": "call tool weather"}), tool);
    let events = named_events("/v1/responses", request).await;
    let done = events.iter().find(|event| event["type"] == "response.function_call_arguments.done").unwrap();
    assert_eq!(done["arguments"], r#"{"city":"call tool weather"}"#);
    let item = &events.last().unwrap()["response"]["output"][0];
    assert_eq!(
        (&item["type"], &item["name"], &item["arguments"]),
        (&json!("function_call"), &json!("weather"), &done["arguments"])
    );

    let events = named_events("/v1/responses", json!({"input": "hello", "max_output_tokens": 2})).await;
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["incomplete_details"]["reason"], "max_output_tokens");
}

#[tokio::test]
async fn messages_answer_and_stream_their_events_in_order() {
    let request = json!({"model": "m", "max_tokens": 100, "system": [{"type": "text", "text": "be brief"}],
        "messages": [{"role": "user", "content": "hello  there"}]});
    let answer = answered("/v1/messages", request.clone()).await;
    assert_eq!((&answer["type"], &answer["stop_reason"]), (&json!("message"), &json!("end_turn")));
    assert_eq!(answer["content"], json!([{"type": "text", "text": SAID}]));
    assert_eq!((&answer["usage"]["input_tokens"], &answer["usage"]["output_tokens"]), (&json!(4), &json!(8)));

    let events = named_events("/v1/messages", request.clone()).await;
    assert_eq!(
        types(&events),
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    let text: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(text, SAID);
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 4);
    assert_eq!(events[events.len() - 2]["usage"]["output_tokens"], 8);

    assert_eq!(answered("/v1/messages/count_tokens", request).await, json!({"input_tokens": 4}));
}

#[tokio::test]
async fn messages_call_a_tool_and_then_read_its_result() {
    let tool = json!({"name": "weather", "input_schema": schema()});
    let asked = json!({"role": "user", "content": "call tool weather"});
    let request = with_tool(json!({"model": "m", "max_tokens": 9, "messages": [asked]}), tool.clone());
    let answer = answered("/v1/messages", request.clone()).await;
    assert_eq!(answer["stop_reason"], "tool_use");
    assert_eq!(answer["content"][0]["input"], json!({"city": "call tool weather"}));
    let events = named_events("/v1/messages", request).await;
    let json: String = events.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
    assert_eq!(json, r#"{"city":"call tool weather"}"#);

    let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "sunny"}]});
    let answer = answered("/v1/messages", with_tool(json!({"messages": [asked, result]}), tool)).await;
    assert_eq!(answer["content"][0]["text"], format!("{} sunny", reply::NOTICE));
}

#[tokio::test]
async fn what_it_cannot_read_it_refuses_in_the_same_shape_as_openai() {
    for (path, body, status, code) in
        [(CHAT, "{", 400, "invalid_json"), (CHAT, "[]", 400, "invalid_json"), ("/v1/nothing", "{}", 404, "not_found")]
    {
        let (answered, _, text) = post_to(path, body).await;
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((answered, &error["error"]["code"]), (status, &json!(code)));
    }
}

#[tokio::test]
async fn odd_values_it_does_not_read_are_no_obstacle() {
    let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let body = format!(r#"{{"temperature":1e400,"x":{nested},"messages":[{{"role":"user","content":"hello"}}]}}"#);
    let (status, _, text) = post_to(CHAT, &body).await;
    assert!(status == 200 && text.contains("called] hello"), "{text}");
}

#[tokio::test]
async fn a_large_request_is_answered() {
    let mut request = chat();
    request["messages"][0]["content"] = json!("word ".repeat(1_000_000));
    assert_eq!(answered(CHAT, request).await["usage"]["prompt_tokens"], 1_000_006);
}
