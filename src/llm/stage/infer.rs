//! Inference: the first rule whose conditions all hold.

use std::cell::OnceCell;

use super::KeyScope;
use crate::config::InferRule;
use crate::llm::request::Request;
use crate::units::Stage;

/// The stage of the first rule that matches and that this key may use. Text is unescaped at most once, and only when a
/// rule gets as far as asking for it.
pub(super) fn infer(rules: &[InferRule], request: &Request, scope: KeyScope<'_>) -> Option<Stage> {
    let text = request.last_user_text();
    let window = OnceCell::new();
    let has_diff = OnceCell::new();
    let matches = |rule: &&InferRule| {
        scope.allows_stage(rule.stage)
            && rule.has_tools.is_none_or(|wanted| wanted == request.has_tools())
            && rule.has_diff.is_none_or(|wanted| wanted == *has_diff.get_or_init(|| text.has_diff()))
            && rule
                .last_user_message
                .as_ref()
                .is_none_or(|regex| !text.is_empty() && window.get_or_init(|| text.window()).matches(regex))
    };
    rules.iter().find(matches).map(|rule| rule.stage)
}
