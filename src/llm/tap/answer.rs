//! A tap on an answer that is one JSON document, however long, without holding it.

use crate::llm::endpoint::Dialect;
use crate::llm::finder::Finder;
use crate::units::Usage;

/// Follows one JSON answer chunk by chunk; nothing is held or changed.
#[derive(Debug)]
pub struct AnswerTap {
    dialect: Dialect,
    finder: Finder,
    begun: Begun,
}

/// What the first byte of a document was, spaces and a byte order mark apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    NotYet,
    /// A brace or a bracket, whose counterpart will be the end.
    Document,
    /// Anything else: braces further on, of which even a stream of events has some, mean nothing.
    SomethingElse,
}

/// What an answer has said so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerReport {
    pub usage: Option<Usage>,
    /// Characters of answer text, reasoning and tool arguments, as far as they are strings.
    pub answer_chars: u64,
    /// An error stands in place of the answer.
    pub error: bool,
    /// The document has ended.
    pub complete: bool,
}

impl AnswerTap {
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, finder: Finder::default(), begun: Begun::NotYet }
    }

    pub fn push(&mut self, chunk: &[u8]) {
        if self.begun == Begun::NotYet {
            let first = chunk.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0xEF | 0xBB | 0xBF));
            self.begun = match first {
                None => Begun::NotYet,
                Some(b'{' | b'[') => Begun::Document,
                Some(_) => Begun::SomethingElse,
            };
        }
        self.finder.feed(chunk);
    }

    pub fn report(&self) -> AnswerReport {
        AnswerReport {
            usage: self.finder.reported.and_then(|reported| reported.usage(self.dialect)),
            answer_chars: self.finder.chars,
            error: self.finder.error,
            complete: self.finder.complete && self.begun == Begun::Document,
        }
    }
}
