//! Answers of a model on their way to the client: a stream of events, and one JSON document in pieces.

use std::hint::black_box;

use bytes::Bytes;
use cfx::llm::{AnswerTap, Dialect, Tap};
use cfx::units::Usage;

const CHUNKS: usize = 200;
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
    body: Bytes,
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
        assert!(report.saw_end && is_whole(report.usage));
    }
}

impl Document {
    pub fn begin() -> Self {
        let content = WORDS.concat().repeat(CHUNKS);
        let body = format!(
            r#"{{"id":"chatcmpl-8f3a2b","object":"chat.completion","choices":[{{"index":0,"message":{{"role":"assistant","content":"{content}"}},"finish_reason":"stop"}}],{USAGE}}}"#
        );
        let document = Self { body: body.into() };
        document.pass();
        document
    }

    /// The whole answer passes.
    pub fn pass(&self) {
        let mut tap = AnswerTap::new(Dialect::Chat);
        self.body.chunks(PIECE).for_each(|piece| tap.push(black_box(piece)));
        let report = black_box(tap.report());
        assert!(report.complete && is_whole(report.usage));
    }
}

fn is_whole(usage: Option<Usage>) -> bool {
    usage.is_some_and(|usage| (usage.input, usage.cached_input, usage.output) == (1_200, 1_024, 200))
}
