//! Which requests somebody wants to see.

use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::super::refusal::Refusal;
use super::super::words;
use crate::ledger::{Filter, Status};
use crate::units::KeyId;

/// In characters: no model, session or text that is looked for is longer.
const LONGEST: usize = 256;

/// Requests that pass every filter that is given.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::control) struct Wanted {
    #[param(pattern = "^(plan|code|review|direct)$")]
    stage: Option<String>,
    /// The alias, exactly.
    #[param(max_length = 256)]
    model: Option<String>,
    #[param(pattern = "^(success|error|rate_limited|cancelled)$")]
    status: Option<String>,
    /// The key's id.
    #[param(value_type = Option<Uuid>)]
    key: Option<String>,
    /// `X-CFX-Session-Id`, exactly.
    #[param(max_length = 256)]
    session: Option<String>,
    /// From then on.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Before then.
    #[param(format = DateTime)]
    until: Option<String>,
    /// Part of the error, whatever the case of ASCII letters.
    #[param(max_length = 256)]
    error: Option<String>,
}

impl Wanted {
    pub fn filter(self) -> Result<Filter, Refusal> {
        let filter = Filter {
            stage: self
                .stage
                .map(|text| one_of("stage", words::stage(&text), "plan, code, review, direct"))
                .transpose()?,
            model: bounded("model", self.model)?,
            status: self
                .status
                .map(|text| one_of("status", Status::parse(&text), "success, error, rate_limited, cancelled"))
                .transpose()?,
            key: self.key.map(|text| key(&text)).transpose()?,
            session_id: bounded("session", self.session)?,
            error: bounded("error", self.error)?,
            since: self.from.map(|text| words::instant_in_query("from", &text)).transpose()?,
            until: self.until.map(|text| words::instant_in_query("until", &text)).transpose()?,
        };
        if let (Some(since), Some(until)) = (filter.since, filter.until)
            && since > until
        {
            return Err(Refusal::parameter("from", "`from` must not be after `until`"));
        }
        Ok(filter)
    }
}

fn one_of<T>(name: &'static str, found: Option<T>, known: &str) -> Result<T, Refusal> {
    found.ok_or_else(|| Refusal::parameter(name, format!("`{name}` must be one of {known}")))
}

fn bounded(name: &'static str, text: Option<String>) -> Result<Option<String>, Refusal> {
    if text.as_ref().is_some_and(|text| text.chars().count() > LONGEST) {
        return Err(Refusal::parameter(name, format!("`{name}` must have at most {LONGEST} characters")));
    }
    // Nothing that is looked for is as good as no filter.
    Ok(text.filter(|text| !text.is_empty()))
}

/// A key of somebody else's finds nothing: the rows are the caller's own, whatever they are filtered by.
fn key(text: &str) -> Result<KeyId, Refusal> {
    let id = (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten();
    id.map(KeyId).ok_or_else(|| Refusal::parameter("key", "`key` must be a key's id"))
}
