//! The API key in a request's head: any of three headers, in one agreement.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use super::refuse::{Reason, Refusal};

/// Every header a key may stand in. None of them ever goes upstream.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// The one key this request presents. Some clients send it twice; two that differ are refused, because whichever
/// we chose could be the wrong one.
pub fn presented(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut found: Option<&[u8]> = None;
    // One pass: three look-ups by name cost more than comparing the few names there are.
    let keys = headers.iter().filter_map(|(name, value)| match name {
        name if *name == AUTHORIZATION => bearer(value.as_bytes()),
        name if *name == X_API_KEY || *name == API_KEY => Some(value.as_bytes().trim_ascii()),
        _ => None,
    });
    for key in keys.filter(|key| !key.is_empty()) {
        if found.is_some_and(|other| other != key) {
            return Err(Refusal::new(
                Reason::ConflictingKeys,
                "the request carries two different API keys in authorization, x-api-key or api-key",
            ));
        }
        found = Some(key);
    }
    let key = found.ok_or_else(missing)?;
    std::str::from_utf8(key).map_err(|_not_text| Refusal::new(Reason::InvalidApiKey, "the API key is not valid"))
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

pub fn missing() -> Refusal {
    Refusal::new(Reason::MissingApiKey, "no API key: send it as Authorization: Bearer, x-api-key or api-key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), http::HeaderValue::from_static(value));
        }
        headers
    }

    fn outcome(pairs: &[(&'static str, &'static str)]) -> Result<String, Reason> {
        presented(&headers(pairs)).map(str::to_owned).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn one_key_may_stand_in_several_headers() {
        assert_eq!(outcome(&[("authorization", "bearer  k1 ")]), Ok("k1".into()));
        assert_eq!(outcome(&[("x-api-key", "k1"), ("api-key", "k1"), ("authorization", "Bearer k1")]), Ok("k1".into()));
        assert_eq!(outcome(&[("authorization", "Basic abc"), ("api-key", "k1")]), Ok("k1".into()));
    }

    #[test]
    fn two_that_differ_are_refused() {
        let twice = [("authorization", "Bearer k1"), ("authorization", "Bearer k2")];
        assert_eq!(outcome(&twice), Err(Reason::ConflictingKeys));
        assert_eq!(outcome(&[("authorization", "Bearer k1"), ("x-api-key", "k2")]), Err(Reason::ConflictingKeys));
    }

    #[test]
    fn none_is_its_own_answer() {
        assert_eq!(outcome(&[]), Err(Reason::MissingApiKey));
        assert_eq!(outcome(&[("authorization", "Bearer ")]), Err(Reason::MissingApiKey));
        assert_eq!(outcome(&[("authorization", "Basic abc")]), Err(Reason::MissingApiKey));
    }
}
