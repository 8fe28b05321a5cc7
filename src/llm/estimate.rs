//! What an answer that nobody waited for will have cost: characters seen, times what a character costs with this model.
//!
//! Learnt from answers that were completed and reported their usage. Fails soft: a model that has not answered yet is
//! taken to spend a token on four characters, which is what the common tokenizers do with English and code.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::units::Usage;

const PRIOR_CHARS_PER_TOKEN: f64 = 4.0;

/// How many characters the prior weighs: a few short answers outweigh it.
const PRIOR_WEIGHT: f64 = 400.0;

/// Beyond this many characters older answers fade, so that a model whose tokenizer or habits change is followed.
const MEMORY: f64 = 2_000_000.0;

/// Tokens per character, by model alias, shared by all requests of this edge.
#[derive(Debug, Default)]
pub struct Calibration {
    models: RwLock<BTreeMap<Arc<str>, Arc<Mutex<Ratios>>>>,
}

#[derive(Debug, Default)]
struct Ratios {
    input: Ratio,
    output: Ratio,
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
    /// prompt included), `delta_chars` what the tap counted. Zeros teach nothing.
    pub fn learn(&self, alias: &Arc<str>, request_bytes: usize, delta_chars: u64, usage: &Usage) {
        let known = self.models.read().unwrap_or_else(PoisonError::into_inner).get(alias).cloned();
        let ratios = known.unwrap_or_else(|| {
            self.models.write().unwrap_or_else(PoisonError::into_inner).entry(alias.clone()).or_default().clone()
        });
        let mut ratios = lock(&ratios);
        ratios.input.learn(usage.input, request_bytes as u64);
        ratios.output.learn(usage.output, delta_chars);
    }

    /// What a request of `request_bytes` with an answer of `delta_chars` so far has used. Nothing is known of caches
    /// and reasoning, so all of it is priced as plain input and output.
    pub fn estimate(&self, alias: &str, request_bytes: usize, delta_chars: u64) -> Usage {
        let known = self.models.read().unwrap_or_else(PoisonError::into_inner).get(alias).cloned();
        let ratios = known.unwrap_or_default();
        let ratios = lock(&ratios);
        Usage {
            input: ratios.input.tokens_of(request_bytes as u64),
            output: ratios.output.tokens_of(delta_chars),
            ..Usage::default()
        }
    }
}

impl Ratio {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn learn(&mut self, tokens: u64, chars: u64) {
        if tokens == 0 || chars == 0 {
            return;
        }
        self.tokens += tokens as f64;
        self.chars += chars as f64;
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

fn lock(ratios: &Mutex<Ratios>) -> MutexGuard<'_, Ratios> {
    ratios.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_model_spends_a_token_on_four_characters() {
        let usage = Calibration::default().estimate("deepseek", 4_000, 402);
        assert_eq!((usage.input, usage.output), (1_000, 101));
    }

    #[test]
    fn completed_answers_bring_the_estimate_within_a_tenth() {
        let calibration = Calibration::default();
        let alias: Arc<str> = "claude-sonnet".into();
        // 3 characters a token out, 5 bytes a token in, in answers of uneven length.
        for chars in [900, 4_500, 60, 12_000, 2_100] {
            let usage = Usage { input: chars * 4, output: chars / 3, ..Usage::default() };
            calibration.learn(&alias, usize::try_from(chars * 20).unwrap(), chars, &usage);
        }
        let usage = calibration.estimate("claude-sonnet", 50_000, 3_000);
        assert!((900..=1_100).contains(&usage.output), "{usage:?}");
        assert!((9_000..=11_000).contains(&usage.input), "{usage:?}");
    }

    #[test]
    fn a_model_that_changes_is_followed_and_zeros_teach_nothing() {
        let calibration = Calibration::default();
        let alias: Arc<str> = "m".into();
        for (per_token, answers) in [(4, 1_000), (2, 1_000)] {
            for _ in 0..answers {
                let usage = Usage { output: 10_000 / per_token, ..Usage::default() };
                calibration.learn(&alias, 0, 10_000, &usage);
            }
        }
        calibration.learn(&alias, 0, 0, &Usage { output: 1_000_000, ..Usage::default() });
        let output = calibration.estimate("m", 0, 1_000).output;
        assert!((450..=550).contains(&output), "{output}");
    }
}
