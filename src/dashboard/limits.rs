//! Words that tell a limit, filled in with the limit that they tell of.

use super::shown::count;
use super::texts::{Language, fill};
use crate::control::{LONGEST_LABEL, MOST_REQUESTS, PLAYGROUND};
use crate::identity::{LONGEST_PASSWORD, SHORTEST_PASSWORD};
use crate::ledger::QUESTION_LIMIT;

pub(super) fn password_rule(language: Language) -> String {
    told(language, language.texts().password_rule, SHORTEST_PASSWORD as u64)
}

pub(super) fn password(language: Language) -> String {
    let (n, most) = (count(language, SHORTEST_PASSWORD as u64), count(language, LONGEST_PASSWORD as u64));
    fill(language.texts().problem_password, &[("n", &n), ("most", &most)])
}

pub(super) fn label(language: Language) -> String {
    told(language, language.texts().problem_label, LONGEST_LABEL as u64)
}

pub(super) fn daily_requests(language: Language) -> String {
    told(language, language.texts().problem_limit, MOST_REQUESTS.into())
}

/// Of a question that took too long: `words` are the page's own.
pub(super) fn too_much(language: Language, words: &str) -> String {
    told(language, words, QUESTION_LIMIT.as_secs())
}

pub(super) fn playground_key(language: Language) -> String {
    told(language, language.texts().play_ready, PLAYGROUND.life.as_secs() / 60)
}

fn told(language: Language, words: &str, limit: u64) -> String {
    fill(words, &[("n", &count(language, limit))])
}
