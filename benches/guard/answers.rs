//! Answers of a model on their way to the client: a stream of events, and one JSON document in pieces.

use std::hint::black_box;

use bytes::Bytes;
use cfx::llm::{AnswerTap, Dialect, Tap};
use cfx::units::Usage;

const CHUNKS: usize = 200;
/// Of an embedding.
const NUMBERS: u64 = 1_536;
/// Of a document's pieces, as a socket gives them.
const PIECE: usize = 1_400;
const USAGE: &str = r#""usage":{"prompt_tokens":1200,"completion_tokens":200,"total_tokens":1400,"prompt_tokens_details":{"cached_tokens":1024}}"#;
const WORDS: [&str; 5] = [" the", " lease", ",\\n", " \\\"given", " zurück"];

/// A streamed answer that asks for usage in the client's place.
pub struct Stream {
    pieces: Vec<Bytes>,
    passed: Vec<Bytes>,
}

/// An answer in one document.
pub struct Document {
    dialect: Dialect,
    body: Bytes,
    /// What it says was used.
    usage: Usage,
}

impl Stream {
    pub fn begin() -> Self {
        let event = |rest: &str| {
            let head = r#""id":"chatcmpl-8f3a2b","object":"chat.completion.chunk","created":1769860800,"model":"deepseek-chat""#;
            Bytes::from(format!("data: {{{head},{rest}}}\n\n"))
        };
        let said = |word: &str| {
            event(&format!(r#""choices":[{{"index":0,"delta":{{"content":"{word}"}},"finish_reason":null}}]"#))
        };
        let mut pieces: Vec<Bytes> = WORDS.iter().cycle().take(CHUNKS).map(|word| said(word)).collect();
        pieces.push(event(r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}]"#));
        pieces.push(event(&format!(r#""choices":[],{USAGE}"#)));
        pieces.push(Bytes::from_static(b"data: [DONE]\n\n"));
        let passed = Vec::with_capacity(pieces.len());
        let mut stream = Self { pieces, passed };
        stream.pass();
        assert_eq!(stream.passed.len(), CHUNKS + 2, "usage is taken out");
        stream
    }

    /// The whole answer passes.
    pub fn pass(&mut self) {
        self.passed.clear();
        let mut tap = Tap::new(Dialect::Chat, true);
        for piece in &self.pieces {
            tap.push(black_box(piece.clone()), &mut self.passed);
        }
        tap.finish(&mut self.passed);
        let report = black_box(tap.report());
        assert!(report.saw_end && report.usage == Some(used()));
    }
}

impl Document {
    /// What a model said.
    pub fn of_text() -> Self {
        let content = WORDS.concat().repeat(CHUNKS);
        let body = format!(
            r#"{{"id":"chatcmpl-8f3a2b","object":"chat.completion","choices":[{{"index":0,"message":{{"role":"assistant","content":"{content}"}},"finish_reason":"stop"}}],{USAGE}}}"#
        );
        Self::begin(Dialect::Chat, body, used())
    }

    /// One embedding, its numbers as long as those of the models that are most in use.
    pub fn of_numbers() -> Self {
        let number = |index: u64| {
            let digits = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 10_u64.pow(17);
            format!("{}0.0{digits:017}", if digits.is_multiple_of(2) { "" } else { "-" })
        };
        let numbers: Vec<String> = (1..=NUMBERS).map(number).collect();
        let body = format!(
            r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[{}]}}],"model":"text-embedding","usage":{{"prompt_tokens":8,"total_tokens":8}}}}"#,
            numbers.join(",")
        );
        Self::begin(Dialect::Embeddings, body, Usage { input: 8, ..Usage::default() })
    }

    fn begin(dialect: Dialect, body: String, usage: Usage) -> Self {
        let document = Self { dialect, body: body.into(), usage };
        document.pass();
        document
    }

    /// The whole answer passes.
    pub fn pass(&self) {
        let mut tap = AnswerTap::new(self.dialect);
        self.body.chunks(PIECE).for_each(|piece| tap.push(black_box(piece)));
        let report = black_box(tap.report());
        assert!(report.complete && report.usage == Some(self.usage));
    }
}

/// What [`USAGE`] says.
fn used() -> Usage {
    Usage { input: 1_200, cached_input: 1_024, output: 200, ..Usage::default() }
}
