//! Forms as they are sent, and what tells that one was sent from our own page and not twice.

use std::time::Duration;

use ahash::RandomState;
use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use moka::sync::Cache;
use subtle::ConstantTimeEq;
use tokio::time::timeout;
use uuid::Uuid;

use super::pages::failure::{self, Failure};
use super::signed::Signed;
use super::visitor::Visitor;

/// For a form that has not come while its listener waited for it: with that half a minute.
const WITHIN: Duration = Duration::from_secs(20);
/// Beyond any form of ours.
const LARGEST: usize = 64 * 1024;
const REMEMBERED: u64 = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// The fields of a form, in their order. Read where nobody need be signed in.
pub(super) struct Form(Vec<(String, String)>);

/// A form of whoever is signed in, which carries their session's own proof.
pub(super) struct SignedForm {
    pub signed: Signed,
    pub form: Form,
}

/// Forms that were answered with a secret, for an hour. A browser that is told to reload such an answer sends its form
/// again, and nobody wants another key for that.
#[derive(Clone)]
pub struct Answered {
    hasher: RandomState,
    /// By a hash of the form's mark, which is as long as whoever sends it likes.
    forms: Cache<u64, ()>,
}

impl Default for Answered {
    fn default() -> Self {
        let forms = Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build();
        Self { hasher: RandomState::new(), forms }
    }
}

impl Answered {
    /// True the first time.
    pub(super) fn first(&self, once: &str) -> bool {
        once.is_empty() || self.forms.entry(self.hasher.hash_one(once)).or_insert(()).is_fresh()
    }

    /// What the form asked for was not done, so that sending it again is no second time.
    pub(super) fn forget(&self, once: &str) {
        self.forms.invalidate(&self.hasher.hash_one(once));
    }
}

/// A form's own mark, for [`Answered`].
pub(super) fn once() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

impl Form {
    fn read(body: &Bytes) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// Of a query, where the form was sent by GET.
    pub fn of_query(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// Empty where it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(named, _)| named == name).map_or("", |(_, value)| value)
    }

    /// Without the spaces around it. None where it is not there, or nothing.
    pub fn given(&self, name: &str) -> Option<String> {
        let text = self.text(name).trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// None where it is not there, or nothing; Err where it is no number.
    pub fn number(&self, name: &str) -> Result<Option<u32>, std::num::ParseIntError> {
        self.given(name).map(|text| text.parse()).transpose()
    }

    /// Every value of this name. None: nothing was ticked.
    pub fn chosen(&self, name: &str) -> Option<Vec<String>> {
        let chosen: Vec<_> = self
            .0
            .iter()
            .filter(|(named, value)| named == name && !value.is_empty())
            .map(|(_, value)| value.clone())
            .collect();
        (!chosen.is_empty()).then_some(chosen)
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let visitor = parts.extensions.get::<Visitor>().cloned().unwrap_or_else(|| Visitor::of(&parts));
        match timeout(WITHIN, to_bytes(body, LARGEST)).await {
            Ok(Ok(body)) => Ok(Self::read(&body)),
            Err(_) => Err(failure::page(&visitor, None, StatusCode::REQUEST_TIMEOUT, Failure::TooSlow)),
            Ok(Err(_)) => Err(failure::page(&visitor, None, StatusCode::PAYLOAD_TOO_LARGE, Failure::TooLarge)),
        }
    }
}

/// Whose key or account it is that a form is for.
pub(super) struct Id(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Path::<Uuid>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => {
                let me = parts.extensions.get::<Signed>().map(|signed| &signed.me);
                Err(failure::page(&Visitor::of(parts), me, StatusCode::NOT_FOUND, Failure::NotFound))
            }
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for SignedForm {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let Some(signed) = request.extensions().get::<Signed>().cloned() else {
            let (parts, _) = request.into_parts();
            return Err(failure::page(&Visitor::of(&parts), None, StatusCode::FORBIDDEN, Failure::Stale));
        };
        let shown = request.headers().get("x-csrf-token").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let form = Form::from_request(request, state).await?;
        let shown = shown.unwrap_or_else(|| form.text("csrf").to_owned());
        if bool::from(signed.token.csrf().as_bytes().ct_eq(shown.as_bytes())) {
            return Ok(Self { signed, form });
        }
        Err(failure::page(&signed.visitor, Some(&signed.me), StatusCode::FORBIDDEN, Failure::Stale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_browsers_send_them() {
        let form = Form::of_query("label=a+b%26&stages=plan&stages=code&limit=%2012%20&none=&limit2=x");
        assert_eq!(form.text("label"), "a b&");
        assert_eq!(form.chosen("stages"), Some(vec!["plan".to_owned(), "code".to_owned()]));
        assert_eq!((form.number("limit"), form.number("none")), (Ok(Some(12)), Ok(None)));
        assert!(form.number("limit2").is_err() && form.chosen("models").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_form_that_does_not_come_is_not_waited_for() {
        let body = axum::body::Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let answer = Form::from_request(Request::new(body), &()).await.err().map(|answer| answer.status());
        assert_eq!(answer, Some(StatusCode::REQUEST_TIMEOUT));
    }

    #[test]
    fn a_form_sent_again_is_not_the_first() {
        let answered = Answered::default();
        let (one, other) = (once(), once());
        assert!(answered.first(&one) && answered.first(&other));
        assert!(!answered.first(&one));
        answered.forget(&one);
        assert!(answered.first(&one) && !answered.first(&one) && !answered.first(&other));
    }
}
