//! Why no stage or model could be chosen.

use std::sync::Arc;

use thiserror::Error;

use crate::units::Stage;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StageProblem {
    #[error("unknown stage `{0}` in X-CFX-Stage: use plan, code, review or direct")]
    UnknownStage(String),
    #[error("direct mode disabled")]
    DirectOff,
    /// Direct mode was asked for by header, and no model was named.
    #[error("`model` is missing: direct mode needs the name of a model")]
    ModelMissing,
    #[error("model `{0}` is not available in direct mode; GET /v1/models lists what is")]
    ModelNotAllowed(String),
    #[error("this API key may not use the stage `{}`", .0.as_str())]
    StageNotPermitted(Stage),
    #[error("this API key may not use the model `{0}`")]
    ModelNotPermitted(Arc<str>),
    #[error("`thinking.budget_tokens` must be less than {cap}, the most output tokens of direct mode for this model")]
    ThinkingTooLong { cap: u64 },
    /// The route has no model in the configuration.
    #[error("/v1/{0} is not offered here")]
    Off(&'static str),
}

impl StageProblem {
    /// `name` is the client's: cut and cleaned before it is repeated.
    pub(super) fn model_not_allowed(name: &str) -> Self {
        StageProblem::ModelNotAllowed(shown(name))
    }

    /// Likewise.
    pub(super) fn unknown_stage(name: &str) -> Self {
        StageProblem::UnknownStage(shown(name))
    }

    /// The body's field it is about.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            StageProblem::ModelMissing | StageProblem::ModelNotAllowed(_) => Some("model"),
            StageProblem::ThinkingTooLong { .. } => Some("thinking.budget_tokens"),
            _ => None,
        }
    }
}

fn shown(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}
