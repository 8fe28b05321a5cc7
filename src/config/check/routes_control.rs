//! Routes to what cfx serves itself: the control API and the dashboard.

use super::super::edits::{Edits, PathEdits};
use super::super::problem::Checked;
use super::super::routes::{Action, PathPattern};
use super::read::At;

/// Where the control API is at home. A route elsewhere leads there.
pub(super) const CONTROL: &str = "/api/";

/// `control: true`, `dashboard: true`: nothing else can be said of them.
pub(super) fn inside(at: &At, action: Action) -> Checked<Action> {
    if at.flag()? { Ok(action) } else { Err(at.problem_with("is not true", "write true, or leave the route out")) }
}

/// The dashboard's links begin at `/`; the control API is a tree of paths.
pub(super) fn refuse_misplaced(at: &At, action: Action, path: &PathPattern) -> Checked<Action> {
    match (&action, path) {
        (Action::Control, PathPattern::Exact(_)) => {
            Err(at.problem_with("the control API is more than one path", "match path: /api/"))
        }
        (Action::Dashboard, path) if !matches!(path, PathPattern::Prefix(prefix) if prefix == "/") => {
            let message = "the dashboard is served at / alone, for its pages lead to each other from there";
            Err(at.problem_with(message, "match path: / and a host of its own where / is another's"))
        }
        _ => Ok(action),
    }
}

/// A control API that was moved is asked by its own paths.
pub(super) fn edits(action: &Checked<Action>, path: &PathPattern, edits: Option<Box<Edits>>) -> Option<Box<Edits>> {
    let moved = matches!(action, Ok(Action::Control)) && path.trimmed() != CONTROL.trim_end_matches('/');
    if !moved {
        return edits;
    }
    let mut edits = edits.unwrap_or_default();
    edits.path = Some(PathEdits {
        strip_prefix: Some(path.trimmed().to_owned()).filter(|prefix| !prefix.is_empty()),
        rewrite: None,
        add_prefix: Some(CONTROL.trim_end_matches('/').to_owned()),
    });
    Some(edits)
}
