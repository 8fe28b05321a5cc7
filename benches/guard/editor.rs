//! A chat body as a coding agent sends it, read and rewritten for the stage's model.

use std::sync::Arc;

use bytes::Bytes;
use cfx::config::{Model, Placement, Price, Prompt, TimeoutOverrides};
use cfx::llm::{Choice, Endpoint, Request, Rewritten, rewrite};
use cfx::units::{Stage, StageSource};

const HEAD: &str = r#"{"model":"gpt-4o","temperature":0.2,"max_tokens":16384,"stream":true,"tools":[{"type":"function","function":{"name":"apply_diff","description":"Applies a unified diff.","parameters":{"type":"object","properties":{"path":{"type":"string"},"diff":{"type":"string"}},"required":["path","diff"]}}}],"messages":[{"role":"system","content":"You are a coding agent. Work in small steps."},"#;
/// A turn of the conversation, of text with line ends, quotes and letters beyond ASCII.
const TURN: &str = r#"{"role":"user","content":"In `src/leases.rs` the büchse of \"given back\" places is read twice:\n\n```rust\nlet left = state.free();\nif left == 0 {\n    return Err(Exhausted { limit });\n}\n```\n\nPlease fix it, and say why."},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"apply_diff","arguments":"{\"path\":\"src/leases.rs\",\"diff\":\"@@ -1,3 +1,3 @@\\n-let left = state.free();\\n+let left = free;\\n\"}"}}]},{"role":"tool","tool_call_id":"call_1","content":"applied"},"#;
const TAIL: &str = r#"{"role":"user","content":"Now the tests."}]}"#;

const PROMPT: &str = "You write code. Answer with \"unified diffs\" only.\nUse the tools that are offered.";

/// What rewrites one body, as often as it is asked to.
pub struct Editor {
    body: Bytes,
    choice: Choice,
}

impl Editor {
    /// For a body of as many turns as come nearest to `size` bytes from below.
    pub fn of(size: usize) -> Self {
        let turns = (size - HEAD.len() - TAIL.len()) / TURN.len();
        let body = [HEAD, &TURN.repeat(turns), TAIL].concat();
        let editor = Self { body: body.into(), choice: choice() };
        assert!(editor.rewrite().usage_injected, "not all is changed that there is to change");
        editor
    }

    pub fn rewrite(&self) -> Rewritten {
        let request = Request::parse(Endpoint::ChatCompletions, self.body.clone()).unwrap();
        rewrite(&request, &self.choice, &self.choice.model)
    }
}

/// A stage that changes all there is to change: model, prompt, cap, temperature.
fn choice() -> Choice {
    let model = Model {
        alias: "deepseek".into(),
        upstream_model: "deepseek-chat".into(),
        price: Price::default(),
        context_window: Some(128_000),
        max_output_tokens: Some(8_192),
        vision: false,
    };
    Choice {
        stage: Stage::Code,
        source: StageSource::Header,
        model: Arc::new(model),
        fallback: None,
        system: Some(Prompt::new(PROMPT)),
        placement: Placement::Append,
        max_tokens: Some(4_096),
        temperature: Some((0.0, 0.1)),
        timeouts: TimeoutOverrides::default(),
    }
}
