//! Which requests somebody wants to see.

use std::fmt::{Display, Formatter};

use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::super::refusal::Refusal;
use super::super::words;
use crate::ledger::{Filter, Status};
use crate::units::{KeyId, Stage};

/// In characters: no model, session or text that is looked for is longer.
pub const LONGEST: usize = 256;

/// Requests that pass every filter that is given.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    #[param(pattern = "^(plan|code|review|direct)$")]
    pub stage: Option<String>,
    /// The alias, exactly.
    #[param(max_length = 256)]
    pub model: Option<String>,
    #[param(pattern = "^(success|error|rate_limited|cancelled)$")]
    pub status: Option<String>,
    /// The key's id.
    #[param(value_type = Option<Uuid>)]
    pub key: Option<String>,
    /// `X-CFX-Session-Id`, exactly.
    #[param(max_length = 256)]
    pub session: Option<String>,
    /// From then on.
    #[param(format = DateTime)]
    pub from: Option<String>,
    /// Before then.
    #[param(format = DateTime)]
    pub until: Option<String>,
    /// Part of the error, whatever the case of ASCII letters.
    #[param(max_length = 256)]
    pub error: Option<String>,
}

/// Why what is wanted is no filter: the parameter, and what is wrong with it. `Display` has the API's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoFilter {
    pub name: &'static str,
    pub wrong: Wrong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    Stage,
    Status,
    Key,
    Instant,
    /// It is after `until`.
    Backwards,
    /// It has more than [`LONGEST`] characters.
    Long,
    ControlCharacter,
}

impl Wanted {
    pub fn filter(&self) -> Result<Filter, NoFilter> {
        let filter = Filter {
            stage: read("stage", self.stage.as_deref(), Wrong::Stage, words::stage)?,
            model: bounded("model", self.model.as_deref())?,
            status: read("status", self.status.as_deref(), Wrong::Status, Status::parse)?,
            key: read("key", self.key.as_deref(), Wrong::Key, key)?,
            session_id: bounded("session", self.session.as_deref())?,
            error: bounded("error", self.error.as_deref())?,
            since: read("from", self.from.as_deref(), Wrong::Instant, words::instant_of_query)?,
            until: read("until", self.until.as_deref(), Wrong::Instant, words::instant_of_query)?,
        };
        match (filter.since, filter.until) {
            (Some(since), Some(until)) if since > until => Err(NoFilter { name: "from", wrong: Wrong::Backwards }),
            _ => Ok(filter),
        }
    }
}

fn read<T>(
    name: &'static str,
    text: Option<&str>,
    wrong: Wrong,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, NoFilter> {
    text.map(|text| parse(text).ok_or(NoFilter { name, wrong })).transpose()
}

fn bounded(name: &'static str, text: Option<&str>) -> Result<Option<String>, NoFilter> {
    // Nothing that is looked for is as good as no filter.
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.chars().count() > LONGEST {
        return Err(NoFilter { name, wrong: Wrong::Long });
    }
    if text.chars().any(char::is_control) {
        return Err(NoFilter { name, wrong: Wrong::ControlCharacter });
    }
    Ok(Some(text.to_owned()))
}

/// A key of somebody else's finds nothing: the rows are the caller's own, whatever they are filtered by.
fn key(text: &str) -> Option<KeyId> {
    let id = (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten();
    id.map(KeyId)
}

impl Display for NoFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let name = self.name;
        match self.wrong {
            Wrong::Stage => write!(f, "`{name}` must be one of {}", Stage::ALL.map(Stage::as_str).join(", ")),
            Wrong::Status => write!(f, "`{name}` must be one of {}", Status::ALL.map(Status::as_str).join(", ")),
            Wrong::Key => write!(f, "`{name}` must be a key's id"),
            Wrong::Instant => write!(f, "`{name}` must be {}", words::AN_INSTANT),
            Wrong::Backwards => write!(f, "`{name}` must not be after `until`"),
            Wrong::Long => write!(f, "`{name}` must have at most {LONGEST} characters"),
            Wrong::ControlCharacter => write!(f, "`{name}` holds a control character"),
        }
    }
}

impl From<NoFilter> for Refusal {
    fn from(wrong: NoFilter) -> Self {
        Self::parameter(wrong.name, wrong.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_is_what_is_held_to() {
        let parameters = Wanted::into_params(|| None);
        for parameter in &parameters {
            let schema = serde_json::to_value(parameter).unwrap()["schema"].take();
            let of = |name: &str, text: String| {
                let texts = serde_json::json!({ name: text });
                serde_json::from_value::<Wanted>(texts).unwrap().filter()
            };
            let name = parameter.name.as_str();
            if let Some(most) = schema["maxLength"].as_u64() {
                let most = usize::try_from(most).unwrap();
                assert!(of(name, "ş".repeat(most)).is_ok(), "{name}");
                assert_eq!(of(name, "ş".repeat(most + 1)).unwrap_err().wrong, Wrong::Long, "{name}");
            }
            if let Some(known) = schema["pattern"].as_str() {
                for one in known.trim_matches(|letter: char| !letter.is_ascii_alphabetic()).split('|') {
                    assert!(of(name, one.to_owned()).is_ok(), "{one}");
                    assert!(of(name, format!("{one}x")).unwrap_err().to_string().contains(one), "{one}");
                }
            }
        }
        assert_eq!(parameters.len(), 8);
    }
}
