//! The usage objects of all dialects, read into one shape.

use super::endpoint::Dialect;
use super::json::{JsonError, Kind, Scanner};
use crate::units::Usage;

/// More tokens than this in one answer is a provider's mistake, not a bill.
const MOST_TOKENS: f64 = 1e9;

/// The members of a usage object as they were reported; what is null, negative, broken or absurd is None.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reported {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    cache_write: Option<u64>,
    reasoning: Option<u64>,
}

impl Reported {
    /// Reads the usage object that comes next. None where it is null or no object.
    ///
    /// Names: OpenAI chat and completions (`prompt_tokens`, `completion_tokens`), OpenAI responses and Anthropic
    /// (`input_tokens`, `output_tokens`), their `…_details`, and LiteLLM's Anthropic names beside OpenAI's.
    pub(super) fn read(scanner: &mut Scanner<'_>) -> Result<Option<Self>, JsonError> {
        if scanner.kind()? != Kind::Object {
            scanner.skip()?;
            return Ok(None);
        }
        let mut reported = Self::default();
        let mut open = scanner.object()?;
        while let Some(key) = scanner.member(&mut open)? {
            match key.raw() {
                b"prompt_tokens" | b"input_tokens" => keep(&mut reported.input, tokens(scanner)?),
                b"completion_tokens" | b"output_tokens" => keep(&mut reported.output, tokens(scanner)?),
                b"total_tokens" => keep(&mut reported.total, tokens(scanner)?),
                b"cache_read_input_tokens" | b"prompt_cache_hit_tokens" => keep(&mut reported.cached, tokens(scanner)?),
                b"cache_creation_input_tokens" => keep(&mut reported.cache_write, tokens(scanner)?),
                b"prompt_tokens_details"
                | b"input_tokens_details"
                | b"completion_tokens_details"
                | b"output_tokens_details" => reported.details(scanner)?,
                _ => {
                    scanner.skip()?;
                }
            }
        }
        Ok(Some(reported))
    }

    fn details(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.kind()? != Kind::Object {
            scanner.skip()?;
            return Ok(());
        }
        let mut open = scanner.object()?;
        while let Some(key) = scanner.member(&mut open)? {
            match key.raw() {
                b"cached_tokens" => keep(&mut self.cached, tokens(scanner)?),
                b"cache_creation_tokens" => keep(&mut self.cache_write, tokens(scanner)?),
                b"reasoning_tokens" => keep(&mut self.reasoning, tokens(scanner)?),
                _ => {
                    scanner.skip()?;
                }
            }
        }
        Ok(())
    }

    /// Both of two reports of one answer. Anthropic's counts are running totals, so the higher is the later.
    pub(super) fn joined(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            total: self.total.max(other.total),
            cached: self.cached.max(other.cached),
            cache_write: self.cache_write.max(other.cache_write),
            reasoning: self.reasoning.max(other.reasoning),
        }
    }

    /// As cfx counts. None where it says nothing: no count at all, or only zeros, which no answered request costs.
    pub(super) fn usage(self, dialect: Dialect) -> Option<Usage> {
        let output = self.output.unwrap_or(0);
        let cached = self.cached.unwrap_or(0);
        let cache_write = self.cache_write.unwrap_or(0);
        let reported = self.input.or(self.total.map(|total| total.saturating_sub(output))).unwrap_or(0);
        let input = match dialect {
            // Anthropic's `input_tokens` leaves out what was read from or written to the cache.
            Dialect::Messages => reported + cached + cache_write,
            _ => reported,
        };
        if input == 0 && output == 0 {
            return None;
        }
        let cached_input = cached.min(input);
        Some(Usage {
            input,
            cached_input,
            cache_write: cache_write.min(input - cached_input),
            output,
            reasoning: self.reasoning.unwrap_or(0).min(output),
        })
    }
}

/// The larger of two spellings of one count, which LiteLLM sends side by side, one of them sometimes zero.
fn keep(slot: &mut Option<u64>, tokens: Option<u64>) {
    *slot = (*slot).max(tokens);
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked in the same line")]
fn tokens(scanner: &mut Scanner<'_>) -> Result<Option<u64>, JsonError> {
    let kind = scanner.kind()?;
    let span = scanner.skip()?;
    if kind != Kind::Number {
        return Ok(None);
    }
    let value = scanner.number_at(span);
    Ok((0.0..=MOST_TOKENS).contains(&value).then_some(value as u64))
}
