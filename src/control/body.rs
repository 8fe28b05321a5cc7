//! Bodies that come in: JSON of a known form and of a bounded size.

use std::time::Duration;

use axum::body::{Body as Incoming, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use uuid::Uuid;

use super::Shared;
use super::refusal::{Code, Refusal};

/// In bytes. The longest that anybody needs is a token of Supabase's.
const LARGEST: usize = 64 * 1024;
/// What is read of one that is larger, so that who sends it comes to hear of it.
const HEARD_OUT: usize = 2 * 1024 * 1024;
/// A whole body.
const WITHIN: Duration = Duration::from_secs(30);

/// A JSON object that was taken whole, every field of it known.
#[derive(Debug)]
pub(super) struct Body<T>(pub T);

/// The `{id}` of a path. What is no id is the id of nothing.
#[derive(Debug)]
pub(super) struct Id(pub Uuid);

impl<T: DeserializeOwned> FromRequest<Shared> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, Refusal> {
        check_type(request.headers())?;
        let late =
            |_| Refusal::new(Code::BodyTimeout, format!("the body did not come in {} seconds", WITHIN.as_secs()));
        let body = timeout(WITHIN, whole(request.into_body())).await.map_err(late)??;
        parse(&body).map(Self)
    }
}

impl FromRequestParts<Shared> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, control: &Shared) -> Result<Self, Refusal> {
        let text = Path::<String>::from_request_parts(parts, control).await;
        let id = text.ok().filter(|text| text.len() == 36).and_then(|text| Uuid::try_parse(&text).ok());
        id.map(Self).ok_or_else(|| Refusal::new(Code::NotFound, "there is nothing of this id"))
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Refusal::new(Code::UnsupportedMediaType, "the body must be JSON: send Content-Type: application/json"))
}

async fn whole(body: Incoming) -> Result<Bytes, Refusal> {
    let mut stream = body.into_data_stream();
    let (mut whole, mut length) = (Vec::new(), 0);
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|_| Refusal::new(Code::InvalidJson, "the body broke off"))?;
        length += piece.len();
        if length <= LARGEST {
            whole.extend_from_slice(&piece);
        } else if length > HEARD_OUT {
            break;
        }
    }
    if length > LARGEST {
        return Err(Refusal::new(Code::BodyTooLarge, format!("the body is larger than {} KiB", LARGEST / 1024)));
    }
    Ok(whole.into())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // serde would take a list for an object, field by field.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        let json = serde_json::from_slice::<serde::de::IgnoredAny>(body);
        let object = Refusal::new(Code::InvalidField, "the body must be a JSON object");
        return Err(json.err().map_or(object, |error| broken(&error)));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| refusal(&error))?;
    json.end().map_err(|error| broken(&error))?;
    Ok(value)
}

fn broken(error: &serde_json::Error) -> Refusal {
    let (line, column) = (error.line(), error.column());
    Refusal::new(Code::InvalidJson, format!("the body is no JSON: it breaks at line {line}, column {column}"))
}

/// In words of ours: serde's repeat what was sent, which may be a password, and however long.
fn refusal(error: &serde_path_to_error::Error<serde_json::Error>) -> Refusal {
    let inner = error.inner();
    if !inner.is_data() {
        return broken(inner);
    }
    let said = inner.to_string();
    let named = || said.split('`').nth(1).unwrap_or_default().chars().take(100).collect::<String>();
    if said.starts_with("missing field") {
        let name = named();
        return Refusal::new(Code::MissingField, format!("`{name}` is missing")).at(name);
    }
    if said.starts_with("unknown field") {
        let name = named();
        return Refusal::field(name.clone(), format!("there is no field `{name}`"));
    }
    if said.starts_with("duplicate field") {
        let name = named();
        return Refusal::field(name.clone(), format!("`{name}` stands there twice"));
    }
    let wanted = said.rsplit_once(", expected ").map(|(_, wanted)| wanted);
    let wanted =
        wanted.and_then(|wanted| wanted.rsplit_once(" at line ")).map_or("another value", |(wanted, _)| wanted);
    let wanted = if wanted == "u32" { "a whole number from 0 to 4294967295" } else { wanted };
    let path = error.path().to_string();
    Refusal::field(path.clone(), format!("`{path}` must be {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api;

    fn problem(body: &str) -> (&'static str, Option<String>, String) {
        let refusal = parse::<api::NewKey>(body.as_bytes()).unwrap_err();
        let body = refusal.body(None).error;
        (refusal.code.as_str(), body.param, body.message)
    }

    #[test]
    fn what_is_wrong_is_named_and_not_repeated() {
        assert_eq!(problem("{").0, "invalid_json");
        assert_eq!(problem("{\"label\":\"a\"} x").0, "invalid_json");
        assert_eq!(problem("{}"), ("missing_field", Some("label".into()), "`label` is missing".into()));
        let (code, param, message) = problem(r#"{"label":"a","secret":"hunter2"}"#);
        assert_eq!((code, param.as_deref()), ("invalid_field", Some("secret")));
        assert!(!message.contains("hunter2"));
        let (code, param, message) = problem(r#"{"label":{"hunter2":1}}"#);
        assert_eq!((code, param.as_deref(), &*message), ("invalid_field", Some("label"), "`label` must be a string"));
        let (_, param, message) = problem(r#"{"label":"a","daily_requests":-1}"#);
        assert_eq!(
            (param.as_deref(), &*message),
            (Some("daily_requests"), "`daily_requests` must be a whole number from 0 to 4294967295")
        );
        assert_eq!(problem(r#"{"label":"a","label":"b"}"#).1.as_deref(), Some("label"));
        assert_eq!(problem(r#"{"label":"a","stages":["plan",1]}"#).1.as_deref(), Some("stages[1]"));
        assert_eq!(problem("[\"a\",null,null,null,null]").0, "invalid_field");
        assert_eq!(problem(" [").0, "invalid_json");
        assert_eq!(problem("").0, "invalid_json");
        assert_eq!(problem("7").2, "the body must be a JSON object");
    }
}
