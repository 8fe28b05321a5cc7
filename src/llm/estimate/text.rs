//! How many tokens a model spends on text, learnt from streams that were completed and reported their usage.
//!
//! Two estimates stand side by side. One goes by the text: each kind of thing in a [`Tally`] is worth so many tokens, fitted
//! by least squares of relative errors against a prior that never quite leaves. The other goes by events: most providers
//! send a token in each. How well either foretold the answers before is known, and they are weighed by it.

use crate::llm::tally::Tally;
use crate::units::Usage;

const KINDS: usize = 5;

/// What each kind is worth before anything was learnt: between the common tokenizers, of which the newer take half as much
/// for letters beyond ASCII as the older.
const PRIOR: [f64; KINDS] = [0.9, 0.06, 1.4, 0.68, 0.5];

/// How firmly a prior stands, in answers that consist of nothing but its kind, a token each.
const PRIOR_WEIGHT: f64 = 0.003;

/// What a new answer leaves of the older ones: a model whose tokenizer or habits change is followed in a few hundred.
const FADE: f64 = 0.995;

/// An answer is never taken for more than this many times what the prior says of its text, nor for less than that part of
/// it. No tokenizer is that far off: it is an upstream whose usage cannot be believed, or which does not show all.
const FARTHEST: f64 = 4.0;

/// Answers shorter than this teach less: a token that was not shown weighs much in them.
const SHORT: f64 = 20.0;

/// Nothing is better known than this, as a squared relative error.
const BEST: f64 = 1e-4;

/// Events are not gone by until they have foretold so many answers.
const TRIALS: f64 = 4.0;

/// Most tokens of hidden reasoning that one answer is taken to have.
const MOST_HIDDEN: f64 = 100_000.0;

/// What is known of one model.
#[derive(Debug)]
pub(super) struct Fit {
    /// The normal equations of the fit, older answers faded.
    squares: [[f64; KINDS]; KINDS],
    products: [f64; KINDS],
    worth: [f64; KINDS],
    /// Tokens and events, both as fading sums.
    tokens: f64,
    deltas: f64,
    by_text: Record,
    by_events: Record,
    /// Tokens of reasoning that an answer has beside what it shows, on average.
    hidden: f64,
}

/// How well something foretold: the squared relative error of each of `parts` that err by themselves. Events do, and so few
/// of them say less than many; a text is one part, since what a model's words are worth is wrong in all of them alike.
#[derive(Debug)]
struct Record {
    squared_error: f64,
    answers: f64,
}

impl Default for Fit {
    fn default() -> Self {
        Self {
            squares: Default::default(),
            products: Default::default(),
            worth: PRIOR,
            tokens: 0.0,
            deltas: 0.0,
            // A fifth, which is what the prior is off by with one tokenizer and another.
            by_text: Record { squared_error: 0.04, answers: 1.0 },
            by_events: Record { squared_error: 1.0, answers: 0.0 },
            hidden: 0.0,
        }
    }
}

impl Record {
    fn note(&mut self, foretold: f64, tokens: f64, parts: f64) {
        let error = ((foretold - tokens) / tokens).clamp(-1.0, 1.0);
        self.answers = (self.answers + 1.0).min(16.0);
        self.squared_error += (error * error * parts - self.squared_error) / self.answers;
    }

    fn weight(&self, parts: f64) -> f64 {
        1.0 / (self.squared_error / parts).max(BEST)
    }
}

impl Fit {
    /// Learns from a whole stream. `said` is what it showed.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(super) fn learn(&mut self, said: &Tally, usage: &Usage) {
        if said.is_empty() || usage.output == 0 {
            return;
        }
        let kinds = kinds(said);
        let shown = self.shown(&kinds, usage);
        let hidden = (usage.output as f64 - shown).min(MOST_HIDDEN);
        self.hidden += (hidden - self.hidden) / 16.0;
        let tokens = believable(shown, &kinds);
        let deltas = said.deltas as f64;
        self.by_text.note(self.text_worth(&kinds), tokens, 1.0);
        if let Some(foretold) = self.events_worth(deltas) {
            self.by_events.note(foretold, tokens, deltas);
        }
        self.tokens = self.tokens * FADE + tokens;
        self.deltas = self.deltas * FADE + deltas;
        // Relative errors are made small, so everything is divided by the tokens.
        let weight = tokens / (tokens + SHORT);
        for (row, squares) in self.squares.iter_mut().enumerate() {
            let kind = value(&kinds, row) / tokens;
            for (column, square) in squares.iter_mut().enumerate() {
                *square = *square * FADE + weight * kind * value(&kinds, column) / tokens;
            }
            if let Some(product) = self.products.get_mut(row) {
                *product = *product * FADE + weight * kind;
            }
        }
        self.worth = solved(self.squares, self.products);
    }

    /// Tokens spent on what was `said`, and on the reasoning before it that is not shown.
    pub(super) fn tokens_of(&self, said: &Tally) -> f64 {
        if said.is_empty() {
            return 0.0;
        }
        self.tokens_of_more(said) + self.hidden
    }

    /// Tokens spent on what was `said`, where what came before is known.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(super) fn tokens_of_more(&self, said: &Tally) -> f64 {
        let (kinds, deltas) = (kinds(said), said.deltas as f64);
        let text = self.text_worth(&kinds);
        match self.events_worth(deltas).filter(|_| self.by_events.answers >= TRIALS) {
            None => text,
            Some(events) => {
                let (by_text, by_events) = (self.by_text.weight(1.0), self.by_events.weight(deltas));
                (text * by_text + events * by_events) / (by_text + by_events)
            }
        }
    }

    /// The part of `usage` that was shown: reasoning is shown by some and only counted by others, which nothing says. Taken
    /// is what is nearer to what the text is worth.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn shown(&self, kinds: &[f64; KINDS], usage: &Usage) -> f64 {
        let all = usage.output as f64;
        let answer = usage.output.saturating_sub(usage.reasoning) as f64;
        if usage.reasoning == 0 || answer == 0.0 {
            return all;
        }
        let text = self.text_worth(kinds).max(1.0);
        if (answer / text).ln().abs() < (all / text).ln().abs() { answer } else { all }
    }

    fn text_worth(&self, kinds: &[f64; KINDS]) -> f64 {
        believable(sum(kinds, &self.worth), kinds)
    }

    fn events_worth(&self, deltas: f64) -> Option<f64> {
        (self.deltas > 0.0).then(|| deltas * self.tokens / self.deltas)
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn kinds(said: &Tally) -> [f64; KINDS] {
    [said.words, said.letters, said.wide, said.marks, said.lines].map(|count| count as f64)
}

/// `tokens`, as far from the prior as can be.
fn believable(tokens: f64, kinds: &[f64; KINDS]) -> f64 {
    let prior = sum(kinds, &PRIOR).max(1.0);
    tokens.clamp(prior / FARTHEST, prior * FARTHEST)
}

fn sum(kinds: &[f64; KINDS], worth: &[f64; KINDS]) -> f64 {
    kinds.iter().zip(worth).map(|(kind, worth)| kind * worth).sum()
}

fn value(of: &[f64; KINDS], at: usize) -> f64 {
    of.get(at).copied().unwrap_or(0.0)
}

/// The weights that solve the normal equations with the prior in them. By elimination: with the prior's share on the
/// diagonal the matrix is positive definite, so no pivot vanishes.
fn solved(mut squares: [[f64; KINDS]; KINDS], mut products: [f64; KINDS]) -> [f64; KINDS] {
    for (at, (row, product)) in squares.iter_mut().zip(&mut products).enumerate() {
        if let Some(diagonal) = row.get_mut(at) {
            *diagonal += PRIOR_WEIGHT;
        }
        *product += PRIOR_WEIGHT * value(&PRIOR, at);
    }
    for at in 0..KINDS {
        let (Some(pivot), product) = (squares.get(at).copied(), value(&products, at)) else { continue };
        for below in at + 1..KINDS {
            let Some(row) = squares.get_mut(below) else { continue };
            let factor = value(row, at) / value(&pivot, at);
            row.iter_mut().zip(&pivot).for_each(|(cell, pivot)| *cell -= factor * pivot);
            if let Some(below) = products.get_mut(below) {
                *below -= factor * product;
            }
        }
    }
    let mut worth = [0.0; KINDS];
    for at in (0..KINDS).rev() {
        let Some(row) = squares.get(at) else { continue };
        let known = sum(row, &worth);
        if let Some(slot) = worth.get_mut(at) {
            *slot = (value(&products, at) - known) / value(row, at);
        }
    }
    worth
}
