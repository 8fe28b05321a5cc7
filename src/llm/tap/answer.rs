//! A tap on an answer that is one JSON document, however long, without holding it.

use crate::llm::endpoint::Dialect;
use crate::llm::finder::Finder;
use crate::units::Usage;

/// Follows one JSON answer chunk by chunk; nothing is held or changed.
#[derive(Debug)]
pub struct AnswerTap {
    dialect: Dialect,
    finder: Finder,
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
        Self { dialect, finder: Finder::default() }
    }

    pub fn push(&mut self, chunk: &[u8]) {
        self.finder.feed(chunk);
    }

    pub fn report(&self) -> AnswerReport {
        AnswerReport {
            usage: self.finder.reported.and_then(|reported| reported.usage(self.dialect)),
            answer_chars: self.finder.chars,
            error: self.finder.error,
            complete: self.finder.complete,
        }
    }
}
