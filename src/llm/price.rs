//! What an answer costs.

use crate::config::Price;
use crate::units::{NanoUsd, Usage};

/// Prices are in billionths of a dollar per this many tokens.
const TOKENS_PER_PRICE: u128 = 1_000_000;

/// The cost of `usage`: each kind of token at its own price, the sum rounded half up to a billionth of a dollar.
/// Saturates at the largest amount there is.
pub fn cost(price: &Price, usage: &Usage) -> NanoUsd {
    let uncached = usage.input.saturating_sub(usage.cached_input).saturating_sub(usage.cache_write);
    let answer = usage.output.saturating_sub(usage.reasoning);
    let millionths = [
        (uncached, price.input),
        (usage.cached_input, price.cached_input),
        (usage.cache_write, price.cache_write),
        (answer, price.output),
        (usage.reasoning, price.reasoning),
    ]
    .into_iter()
    .fold(0_u128, |sum, (tokens, price)| sum.saturating_add(u128::from(tokens) * u128::from(price)));
    let nanos = millionths.saturating_add(TOKENS_PER_PRICE / 2) / TOKENS_PER_PRICE;
    NanoUsd(i64::try_from(nanos).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SONNET: Price = Price {
        input: 3_000_000_000,
        cached_input: 300_000_000,
        cache_write: 3_750_000_000,
        output: 15_000_000_000,
        reasoning: 15_000_000_000,
    };

    #[test]
    fn every_kind_of_token_has_its_own_price() {
        let usage =
            Usage { input: 1_000_000, cached_input: 600_000, cache_write: 100_000, output: 10_000, reasoning: 0 };
        // 0.3 M × 3.00 + 0.6 M × 0.30 + 0.1 M × 3.75 + 0.01 M × 15.00
        assert_eq!(cost(&SONNET, &usage), NanoUsd(900_000_000 + 180_000_000 + 375_000_000 + 150_000_000));
    }

    #[test]
    fn reasoning_is_not_paid_twice() {
        let price = Price { output: 10_000_000_000, reasoning: 2_000_000_000, ..Price::default() };
        let usage = Usage { output: 1_000, reasoning: 400, ..Usage::default() };
        assert_eq!(cost(&price, &usage), NanoUsd(600 * 10_000 + 400 * 2_000));
    }

    #[test]
    fn halves_go_up_and_the_largest_amount_is_the_end() {
        let price = Price { input: 1, ..Price::default() };
        let input = |input| Usage { input, ..Usage::default() };
        assert_eq!(cost(&price, &input(499_999)), NanoUsd(0));
        assert_eq!(cost(&price, &input(500_000)), NanoUsd(1));
        let dear = Price { input: u64::MAX, output: u64::MAX, ..Price::default() };
        let huge = Usage { input: u64::MAX, output: u64::MAX, ..Usage::default() };
        assert_eq!(cost(&dear, &huge), NanoUsd(i64::MAX));
    }
}
