//! What the upstream does with one request: the bytes it sends, how it leaves, and which of its words may reach a client.

use std::time::Duration;

use serde_json::json;

use crate::harness::scripted::Exchange;
use crate::harness::wire;

/// What the client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Json,
    Sse,
}

/// One fault, to be played for either kind.
pub struct Fault {
    pub name: String,
    pub play: Box<dyn Fn(Kind) -> Play + Send + Sync>,
    /// The stage that is asked, which has the timeouts.
    pub stage: &'static str,
    pub host: &'static str,
    /// Whether the upstream answers when it has read no more than the request's head.
    pub unread: bool,
    /// Bytes of prompt, where the request has to be longer than any socket's buffers.
    pub prompt: usize,
}

pub struct Play {
    steps: Vec<Step>,
    /// The body as it may reach the client, before any word of cfx's own.
    pub passed: Vec<u8>,
    /// What may stand behind that, any number of times.
    pub again: Vec<u8>,
}

enum Step {
    Send(Vec<u8>),
    Close,
    Reset,
    /// Nothing more until cfx has closed the connection.
    Silence,
    /// The same again and again, until cfx has closed the connection.
    Chatter(Vec<u8>),
}

/// The last chunk.
pub const END: &[u8] = b"0\r\n\r\n";

/// Words of an upstream that no client may see.
pub const INNER: &str = "inner words of 10.0.0.7";

pub fn fault(name: &str, play: impl Fn(Kind) -> Play + Send + Sync + 'static) -> Fault {
    Fault { name: name.to_string(), play: Box::new(play), stage: "plan", host: "cfx.test", unread: false, prompt: 0 }
}

impl Fault {
    /// Asks the stage that waits 500 ms for a first byte, and 1 s in all.
    pub fn waiting_for_the_head(self) -> Self {
        Self { stage: "code", ..self }
    }

    /// Asks the stage that waits 1 s between chunks, and 2 s in all.
    pub fn waiting_for_the_rest(self) -> Self {
        Self { stage: "review", ..self }
    }

    /// With six megabytes of prompt.
    pub fn long(self) -> Self {
        Self { prompt: 6 << 20, ..self }
    }

    /// The same, and nothing of it but its head is read before the answer.
    pub fn unread(self) -> Self {
        Self { unread: true, ..self.long() }
    }

    /// At an upstream where nobody listens.
    pub fn down(self) -> Self {
        Self { host: super::DOWN, ..self }
    }
}

impl Play {
    pub fn new() -> Self {
        Self { steps: Vec::new(), passed: Vec::new(), again: Vec::new() }
    }

    pub fn send(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.steps.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    /// A part of the body that may reach the client, as it stands on the wire.
    pub fn body(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.passed.extend(bytes.as_ref());
        self.send(bytes)
    }

    /// The same in chunks.
    pub fn chunks<T: AsRef<[u8]>>(mut self, pieces: impl IntoIterator<Item = T>) -> Self {
        let mut bytes = Vec::new();
        for piece in pieces {
            bytes.extend(chunk(piece.as_ref()));
            self.passed.extend(piece.as_ref());
        }
        self.send(bytes)
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    pub fn close(self) -> Self {
        self.step(Step::Close)
    }

    pub fn reset(self) -> Self {
        self.step(Step::Reset)
    }

    pub fn silence(self) -> Self {
        self.step(Step::Silence)
    }

    /// This in chunks, again and again.
    pub fn chatter(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.again = bytes.as_ref().to_vec();
        self.step(Step::Chatter(chunk(bytes.as_ref())))
    }

    pub fn perform(self, exchange: &mut Exchange) {
        for step in self.steps {
            match step {
                Step::Send(bytes) => exchange.send(&bytes),
                Step::Close => exchange.hang_up(),
                Step::Reset => exchange.reset(),
                Step::Silence => exchange.wait_for_close(),
                Step::Chatter(bytes) => {
                    while !exchange.closed_within(Duration::from_millis(5)) {
                        exchange.send(&bytes);
                    }
                    exchange.hang_up();
                }
            }
        }
    }
}

/// A status line and these lines, with those that LiteLLM adds to all of its answers.
pub fn head(status: &str, lines: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{}{lines}\r\n", wire::LITELLM_HEADERS)
}

pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

impl Kind {
    pub fn content_type(self) -> &'static str {
        match self {
            Kind::Json => "content-type: application/json\r\n",
            Kind::Sse => "content-type: text/event-stream; charset=utf-8\r\n",
        }
    }

    /// A whole answer of these words, with its usage.
    pub fn answer(self, text: &str) -> Vec<u8> {
        self.answer_using(text, &wire::chat_usage().to_string())
    }

    /// The same with another `usage`, as it stands.
    pub fn answer_using(self, text: &str, usage: &str) -> Vec<u8> {
        match self {
            Kind::Json => {
                let choice =
                    json!([{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]);
                let begin = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m""#;
                format!(r#"{begin},"choices":{choice},"usage":{usage}}}"#).into_bytes()
            }
            Kind::Sse => {
                let mut events = wire::chat_events("m", &[text], true);
                let counted = wire::chat_usage().to_string();
                events.iter_mut().for_each(|event| *event = event.replace(&counted, usage) + "\n\n");
                events.concat().into_bytes()
            }
        }
    }

    /// The answer of most faults: long enough to be cut anywhere.
    pub fn usual(self) -> Vec<u8> {
        self.answer("A scripted answer: çok güzel, naïve, 日本語, 🦀, all the way.")
    }

    /// The head of a 200 in chunks.
    pub fn chunked_head(self) -> String {
        self.head_with("transfer-encoding: chunked\r\n")
    }

    /// The head of a 200 with these lines more.
    pub fn head_with(self, lines: &str) -> String {
        head("200 OK", &format!("{}{lines}", self.content_type()))
    }

    /// As this kind is framed most of the time: JSON by its length, a stream in chunks.
    pub fn framed(self, answer: &[u8]) -> Play {
        self.framed_with("", answer)
    }

    /// The same with these lines in the head.
    pub fn framed_with(self, lines: &str, answer: &[u8]) -> Play {
        match self {
            Kind::Json => {
                Play::new().send(self.head_with(&format!("content-length: {}\r\n{lines}", answer.len()))).body(answer)
            }
            Kind::Sse => {
                let head = self.head_with(&format!("transfer-encoding: chunked\r\n{lines}"));
                Play::new().send(head).chunks(events(answer)).send(END)
            }
        }
    }
}

/// A stream, event by event.
pub fn events(stream: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(stream).into_owned();
    text.split_inclusive("\n\n").map(|event| event.as_bytes().to_vec()).collect()
}

/// JSON with a length under this status.
pub fn json_answer(status: &str, lines: &str, body: &str) -> Play {
    let lines = format!("content-type: application/json\r\ncontent-length: {}\r\n{lines}", body.len());
    Play::new().send(head(status, &lines)).body(body)
}
