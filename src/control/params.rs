//! What stands behind the `?`: pairs by names that are known, each at most once.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Deserializer;
use serde::de::{DeserializeOwned, Error as _, Visitor, value::Error};
use serde_json::{Map, Value};

use super::Shared;
use super::refusal::Refusal;

/// The query as one struct of optional texts, which is also what the API's description is made from: there is no
/// parameter that the one knows and the other does not (a test has each of them).
#[derive(Debug)]
pub(super) struct Params<A, B = NoMore>(pub A, pub B);

/// Nothing beside the first struct.
#[derive(Debug, serde::Deserialize)]
pub(super) struct NoMore {}

impl<A, B> FromRequestParts<Shared> for Params<A, B>
where
    A: DeserializeOwned,
    B: DeserializeOwned,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Refusal> {
        let known = [names::<A>(), names::<B>()].concat();
        let pairs = pairs(parts.uri.query().unwrap_or_default(), &known)?;
        Ok(Self(read(&pairs)?, read(&pairs)?))
    }
}

fn pairs(query: &str, known: &[&str]) -> Result<BTreeMap<String, String>, Refusal> {
    let mut found = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !known.contains(&&*name) {
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

/// What the fields of a struct are called on the wire.
fn names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // Who is to make a struct says its fields first, and is told no more.
    let _ = T::deserialize(Names(&mut names));
    names
}

struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("there is nothing but names"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use utoipa::IntoParams;

    use super::super::logs::{FileKind, Page, Wanted};
    use super::super::usage::Days;
    use super::*;

    fn described<T: IntoParams>() -> Vec<String> {
        T::into_params(|| None).into_iter().map(|parameter| parameter.name).collect()
    }

    #[test]
    fn what_is_known_is_what_is_described() {
        assert_eq!(names::<Days>(), described::<Days>());
        assert_eq!(names::<Wanted>(), described::<Wanted>());
        assert_eq!(names::<Page>(), described::<Page>());
        assert_eq!(names::<FileKind>(), described::<FileKind>());
        assert!(names::<Page>().contains(&"before") && names::<NoMore>().is_empty());
    }
}
