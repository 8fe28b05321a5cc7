//! Regular expressions.

use regex::{Regex, RegexBuilder};

use super::super::problem::Checked;
use super::read::At;

/// What stands in one another, repetitions of repetitions included. Nobody reads deeper ones; the library goes down some of
/// its steps on the stack, and allows so many by itself that a thread of 2 MiB has no room for them without optimization.
const DEEPEST: u32 = 64;

pub(super) fn pattern(at: &At) -> Checked<Regex> {
    compiled(at.text()?).map_err(|why| at.problem(format!("is no regular expression: {why}")))
}

fn compiled(text: &str) -> Result<Regex, String> {
    // An error draws its pattern over several lines and ends with the reason.
    let why = |error: regex::Error| {
        error.to_string().lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
    };
    RegexBuilder::new(text).nest_limit(DEEPEST).build().map_err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_too_deep_for_a_stack_is_refused() {
        for deep in [format!("a{}", "+".repeat(249)), format!("{}a{}", "(".repeat(120), ")".repeat(120))] {
            let why = compiled(&deep).unwrap_err();
            assert!(why.contains("nested"), "{why}");
        }
        assert!(compiled(&format!("{}a{}", "(".repeat(30), ")+".repeat(30))).is_ok());
    }
}
