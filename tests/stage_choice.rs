//! The stage that the shipped configuration gives to requests as agents and SDKs send them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use bytes::Bytes;
use cfx::config::{Overrides, Snapshot, Source, load};
use cfx::llm::{Choice, Endpoint, KeyScope, Request, choose};
use serde_json::Value;

/// Each has a client, a name, the stage that is meant, an endpoint and a body; some a header, and how the stage comes about.
fn labelled() -> Vec<Value> {
    serde_json::from_str(include_str!("fixtures/stages/requests.json")).unwrap()
}

fn shipped() -> Snapshot {
    load(&Source::Embedded, &Overrides::default(), &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn requests_of_agents_and_sdks_get_the_stage_that_was_meant() {
    let snapshot = shipped();
    let requests = labelled();
    let mut wrong = Vec::new();
    for labelled in &requests {
        let text = |field: &str| labelled[field].as_str().unwrap_or_default();
        let endpoint = Endpoint::from_path(text("endpoint")).unwrap();
        let body = serde_json::to_vec(&labelled["body"]).unwrap();
        let request = Request::parse(endpoint, Bytes::from(body)).unwrap();
        let choice = choose(&snapshot.models, &request, labelled["header"].as_str(), KeyScope::default()).unwrap();
        let source = labelled["source"].as_str().unwrap_or(choice.source.as_str());
        if (choice.stage.as_str(), choice.source.as_str()) != (text("stage"), source) {
            let Choice { stage, source, .. } = choice;
            wrong.push(format!("{}, {}: {stage:?} by {source:?}", text("client"), text("name")));
        }
    }
    assert!(requests.len() >= 40, "only {} requests", requests.len());
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), requests.len(), wrong.join("\n"));
}

#[test]
fn every_kind_of_client_is_among_them() {
    let requests = labelled();
    for client in ["Roo Code", "Cline", "Continue", "Aider", "Claude Code", "Codex", "OpenAI SDK"] {
        assert!(requests.iter().any(|request| request["client"] == client), "{client}");
    }
}
