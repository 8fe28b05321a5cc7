//! What can be wrong with a body, in words that never repeat what the body said.

use std::borrow::Cow;

use thiserror::Error;

use crate::llm::json::JsonError;

/// Why a body is refused with 400.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BodyProblem {
    /// Line and column count from one; columns are bytes.
    #[error("the body is not valid JSON: line {line} column {column}: {what}")]
    Json { line: usize, column: usize, what: &'static str },
    #[error("the body must be a JSON object")]
    NotAnObject,
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{field}` must be {expected}")]
    Wrong { field: Cow<'static, str>, expected: &'static str },
    #[error("`{0}` is given twice")]
    Twice(Cow<'static, str>),
    /// A field by which the body would steer LiteLLM.
    #[error("`{0}` is not accepted here")]
    Control(String),
    /// A reference to something kept at the provider, where all users of this edge share one account.
    #[error("`{0}` is not supported here: send the whole conversation and wait for the answer")]
    NotOwned(&'static str),
}

/// A problem found while the scanner still holds the body; only JSON errors lack their place.
#[derive(Debug)]
pub(super) enum Stop {
    Json(JsonError),
    Problem(BodyProblem),
}

impl BodyProblem {
    pub(super) fn json(error: JsonError, body: &[u8]) -> Self {
        let (line, column) = error.place(body);
        BodyProblem::Json { line, column, what: error.what }
    }

    /// The field it is about, as a path: `messages[3].role`.
    pub fn param(&self) -> Option<&str> {
        match self {
            BodyProblem::Json { .. } | BodyProblem::NotAnObject => None,
            BodyProblem::Missing(field) | BodyProblem::NotOwned(field) => Some(field),
            BodyProblem::Wrong { field, .. } | BodyProblem::Twice(field) => Some(field),
            BodyProblem::Control(field) => Some(field),
        }
    }
}

impl Stop {
    pub(super) fn located(self, body: &[u8]) -> BodyProblem {
        match self {
            Stop::Json(error) => BodyProblem::json(error, body),
            Stop::Problem(problem) => problem,
        }
    }

    pub(super) fn wrong(field: impl Into<Cow<'static, str>>, expected: &'static str) -> Self {
        Stop::Problem(BodyProblem::Wrong { field: field.into(), expected })
    }

    pub(super) fn twice(field: impl Into<Cow<'static, str>>) -> Self {
        Stop::Problem(BodyProblem::Twice(field.into()))
    }
}

impl From<JsonError> for Stop {
    fn from(error: JsonError) -> Self {
        Stop::Json(error)
    }
}
