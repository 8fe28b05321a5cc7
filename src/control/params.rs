//! What stands behind the `?`: pairs by names that are known, each at most once.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::IntoParams;

use super::Shared;
use super::refusal::Refusal;

/// The query as one struct of optional texts, which is also what the API's description is made from: there is no
/// parameter that the one knows and the other does not.
#[derive(Debug)]
pub(super) struct Params<A, B = NoMore>(pub A, pub B);

/// Nothing beside the first struct.
#[derive(Debug, serde::Deserialize)]
pub(super) struct NoMore {}

impl IntoParams for NoMore {
    fn into_params(
        _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
    ) -> Vec<utoipa::openapi::path::Parameter> {
        Vec::new()
    }
}

impl<A, B> FromRequestParts<Shared> for Params<A, B>
where
    A: DeserializeOwned + IntoParams,
    B: DeserializeOwned + IntoParams,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Refusal> {
        let mut known: Vec<String> = Vec::new();
        known.extend(A::into_params(|| None).into_iter().map(|parameter| parameter.name));
        known.extend(B::into_params(|| None).into_iter().map(|parameter| parameter.name));
        let pairs = pairs(parts.uri.query().unwrap_or_default(), &known)?;
        Ok(Self(read(&pairs)?, read(&pairs)?))
    }
}

fn pairs(query: &str, known: &[String]) -> Result<BTreeMap<String, String>, Refusal> {
    let mut found = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !known.iter().any(|known| **known == *name) {
            let name: String = name.chars().take(100).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!("there is no parameter `{name}` here, but: {known}");
            return Err(Refusal::parameter(name, message));
        }
        if value.chars().any(char::is_control) {
            let message = format!("`{name}` holds a control character");
            return Err(Refusal::parameter(name.into_owned(), message));
        }
        if let Some(first) = found.insert(name.clone().into_owned(), value.clone().into_owned())
            && first != value
        {
            let message = format!("`{name}` is given twice");
            return Err(Refusal::parameter(name.into_owned(), message));
        }
    }
    Ok(found)
}

fn read<T: DeserializeOwned>(pairs: &BTreeMap<String, String>) -> Result<T, Refusal> {
    let texts: Map<String, Value> = pairs.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    // Every field is an optional text, so there is nothing that could fail.
    serde_json::from_value(Value::Object(texts)).map_err(|_| Refusal::parameter("", "the query cannot be read"))
}
