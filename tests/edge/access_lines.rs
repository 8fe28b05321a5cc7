//! What the access log says of a request, and what it never says.

use serde_json::Value;

use crate::harness::{CHAT, Harness, chat_body};

/// The line of the one request whose path begins like this.
fn line_of(edge: &Harness, path: &str) -> Value {
    let line = edge.process.wait_for_line(&format!("\"path\":\"{path}")).expect("an access line");
    serde_json::from_str(&line).expect("JSON")
}

#[test]
fn keys_and_what_stands_in_queries_are_masked() {
    let fields = "telemetry: { access_log: { fields: [path, query, user_agent, status] } }";
    let edge = Harness::builder().edge(fields).start();
    let path = format!("/v1/{}/chat?token=a-secret&page=2", edge.key);
    let request = edge.request(&path, &chat_body()).header("User-Agent", &format!("agent/1.0 ({})", edge.key));
    assert_eq!(edge.ask(&request).status, 404);
    let line = line_of(&edge, "/v1/cfx_live_***/chat");
    assert_eq!(line["query"], "token=***&page=***");
    assert_eq!(line["user_agent"], "agent/1.0 (cfx_live_***)");
    let said = edge.process.log();
    assert!(!said.contains("a-secret") && !said.contains(&edge.key), "{said}");
}

#[test]
fn only_the_fields_that_are_asked_for_are_written() {
    let edge = Harness::builder().edge("telemetry: { access_log: { fields: [path, status, model] } }").start();
    assert_eq!(edge.post(&format!("{CHAT}?token=a-secret"), &chat_body()).status, 200);
    let line = line_of(&edge, CHAT);
    let members: Vec<&String> = line.as_object().expect("an object").keys().collect();
    assert_eq!(members, ["at", "model", "path", "request_id", "status"]);
    assert_eq!((&line["status"], &line["model"]), (&200.into(), &"smart".into()));
}
