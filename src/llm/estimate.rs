//! What an answer that nobody waited for will have cost: what was seen of it, times what that costs with this model.
//!
//! Learnt from answers that were completed and reported their usage. Fails soft: a model that has not answered yet is
//! taken to spend tokens as the common tokenizers do. It is learnt anew by every process: twenty answers are soon there,
//! and what was learnt of a model before a restart may not hold of what answers to its name after it.

mod text;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::tally::Tally;
use crate::units::Usage;
use text::Fit;

const PRIOR_CHARS_PER_TOKEN: f64 = 4.0;

/// How many characters the prior weighs: a few short answers outweigh it.
const PRIOR_WEIGHT: f64 = 400.0;

/// Beyond this many characters older answers fade, so that a model whose tokenizer or habits change is followed.
const MEMORY: f64 = 2_000_000.0;

/// No tokenizer spends more than a token on a character, or less than one on sixteen: images are counted as tokens and not
/// as text, and an upstream may say anything.
const MOST_CHARS_PER_TOKEN: f64 = 16.0;

/// What was seen of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// A stream's text, from its beginning.
    Stream(Tally),
    /// What a stream said behind the last count of its tokens.
    Rest(Tally),
    /// Characters of a document, of which nothing else is counted.
    Document(u64),
}

/// What tokens go by, by model alias, shared by all requests of this edge.
#[derive(Debug, Default)]
pub struct Calibration {
    models: RwLock<BTreeMap<Arc<str>, Arc<Mutex<Known>>>>,
}

#[derive(Debug, Default)]
struct Known {
    input: Ratio,
    document: Ratio,
    stream: Fit,
}

/// Tokens over characters, both as fading sums.
#[derive(Debug)]
struct Ratio {
    tokens: f64,
    chars: f64,
}

impl Default for Ratio {
    fn default() -> Self {
        Self { tokens: PRIOR_WEIGHT / PRIOR_CHARS_PER_TOKEN, chars: PRIOR_WEIGHT }
    }
}

impl Calibration {
    /// Learns from a completed answer. `request_bytes` is the text of the body that was sent upstream (the stage's
    /// prompt included), `shown` what the tap counted. Zeros teach nothing.
    pub fn learn(&self, alias: &Arc<str>, request_bytes: usize, shown: Shown, usage: &Usage) {
        let known = self.models.read().unwrap_or_else(PoisonError::into_inner).get(alias).cloned();
        let known = known.unwrap_or_else(|| {
            self.models.write().unwrap_or_else(PoisonError::into_inner).entry(alias.clone()).or_default().clone()
        });
        let mut known = lock(&known);
        known.input.learn(usage.input, request_bytes as u64);
        match shown {
            Shown::Stream(said) | Shown::Rest(said) => known.stream.learn(&said, usage),
            Shown::Document(chars) => known.document.learn(usage.output, chars),
        }
    }

    /// What a request of `request_bytes` has used with what was `shown` so far. Nothing is known of caches, so all of it is
    /// priced as plain input and output.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate, never negative, saturating"
    )]
    pub fn estimate(&self, alias: &str, request_bytes: usize, shown: Shown) -> Usage {
        let known = self.models.read().unwrap_or_else(PoisonError::into_inner).get(alias).cloned();
        let known = known.unwrap_or_default();
        let known = lock(&known);
        let output = match shown {
            Shown::Stream(said) => known.stream.tokens_of(&said).round() as u64,
            Shown::Rest(said) => known.stream.tokens_of_more(&said).round() as u64,
            Shown::Document(chars) => known.document.tokens_of(chars),
        };
        Usage { input: known.input.tokens_of(request_bytes as u64), output, ..Usage::default() }
    }
}

impl Ratio {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn learn(&mut self, tokens: u64, chars: u64) {
        if tokens == 0 || chars == 0 {
            return;
        }
        let chars = chars as f64;
        self.tokens += (tokens as f64).clamp(chars / MOST_CHARS_PER_TOKEN, chars);
        self.chars += chars;
        if self.chars > MEMORY {
            self.tokens *= MEMORY / self.chars;
            self.chars = MEMORY;
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an estimate, never negative, saturating"
    )]
    fn tokens_of(&self, chars: u64) -> u64 {
        (chars as f64 * self.tokens / self.chars).ceil() as u64
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
