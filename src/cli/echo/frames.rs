//! Server-sent events, as text.

use serde_json::Value;

/// One event of a stream.
#[derive(Debug)]
pub(super) struct Frame {
    pub text: String,
    /// Whether it carries a word, before which the model takes its time.
    pub paced: bool,
}

impl Frame {
    /// An event without a name, as chat and completions send them.
    pub fn data(value: &Value) -> Self {
        Self { text: format!("data: {value}\n\n"), paced: false }
    }

    /// An event named by its `type`, as responses and messages send them.
    pub fn named(value: &Value) -> Self {
        let name = value["type"].as_str().unwrap_or_default();
        Self { text: format!("event: {name}\ndata: {value}\n\n"), paced: false }
    }

    /// The end of a stream of chat or completions.
    pub fn done() -> Self {
        Self { text: "data: [DONE]\n\n".to_owned(), paced: false }
    }

    pub fn paced(self) -> Self {
        Self { paced: true, ..self }
    }
}
