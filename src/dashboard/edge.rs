//! The control API as the dashboard speaks to it: over HTTP, as whoever is signed in, each question within a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use super::problem::Problem;
use super::visitor::Visitor;
use crate::control::api::{self, Offer};
use crate::https::{self, Https, Terms};

/// One question and its answer. A sign-in may wait for its turn to have a password hashed.
const WITHIN: Duration = Duration::from_secs(15);
const TERMS: Terms = Terms { plain: true, connect_within: Some(Duration::from_secs(3)), idle: Duration::from_secs(30) };
/// What is the same for every user is asked for anew after so long.
const KNOWN_FOR: Duration = Duration::from_secs(30);
/// Beyond any answer of the control API.
const LARGEST: usize = 8 * 1024 * 1024;

/// Speaks to an edge's control API.
#[derive(Clone)]
pub struct EdgeClient {
    /// `http://127.0.0.1:9000`.
    base: String,
    client: Https,
    models: Arc<Mutex<Option<Names>>>,
}

/// What models are called, and when that was said.
type Names = (Instant, Arc<[String]>);

/// TLS could not be set up with what there is to trust.
#[derive(Debug, thiserror::Error)]
#[error("the control API cannot be spoken to: {0}")]
pub struct NoTrust(#[from] rustls::Error);

/// Why a question has no answer.
#[derive(Debug)]
pub enum EdgeError {
    /// Not reached, not in time, or not understood.
    Away,
    /// The edge's own word.
    Refused(Problem),
}

impl EdgeClient {
    /// `base` is where the control API is, without `/api` and without a slash at its end. Trusts the system's CAs.
    pub fn new(base: impl Into<String>) -> Result<Self, NoTrust> {
        let client = Https::trusting(https::system(), TERMS)?;
        Ok(Self { base: base.into(), client, models: Arc::default() })
    }

    /// Asks as whoever `visitor` is signed in as.
    pub(super) async fn get<T: DeserializeOwned>(&self, visitor: &Visitor, path: &str) -> Result<T, EdgeError> {
        self.call(visitor, Method::GET, path, Body::empty()).await
    }

    /// What models are called, as far as the edge says. Every user is offered the same.
    pub(super) async fn model_names(&self, visitor: &Visitor) -> Arc<[String]> {
        if let Some((said, names)) = &*self.models.lock().unwrap_or_else(PoisonError::into_inner)
            && said.elapsed() < KNOWN_FOR
        {
            return Arc::clone(names);
        }
        let Ok(offer) = self.get::<Offer>(visitor, "/api/models").await else { return Arc::default() };
        let names: Arc<[String]> = offer.models.into_iter().map(|model| model.alias).collect();
        *self.models.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::clone(&names)));
        names
    }

    /// Sends `body` as JSON and reads the answer.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        visitor: &Visitor,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, EdgeError> {
        let body = serde_json::to_vec(body).map_err(|_| EdgeError::Away)?;
        self.call(visitor, method, path, Body::from(body)).await
    }

    /// As [`send`](Self::send), where the answer's body says nothing.
    pub(super) async fn tell(
        &self,
        visitor: &Visitor,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), EdgeError> {
        self.send::<serde::de::IgnoredAny>(visitor, method, path, body).await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        visitor: &Visitor,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, EdgeError> {
        let mut request = Request::builder().method(&method).uri(format!("{}{path}", self.base));
        if let Some(headers) = request.headers_mut() {
            self.introduce(visitor, headers);
            if method != Method::GET {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
        }
        let request = request.body(body).map_err(|_| EdgeError::Away)?;
        let (status, headers, answer) = self.exchange(request).await?;
        if !status.is_success() {
            return Err(refusal(status, &headers, &answer));
        }
        // 204 has no body where the caller reads none.
        let answer: &[u8] = if answer.is_empty() { b"null" } else { &answer };
        serde_json::from_slice(answer).map_err(|error| {
            tracing::warn!(%error, path, "the control API's answer was not understood");
            EdgeError::Away
        })
    }

    /// Whom the edge should throttle and log is the visitor, not this process.
    fn introduce(&self, visitor: &Visitor, headers: &mut HeaderMap) {
        headers.extend(visitor.passed_on.iter().cloned());
        if let Some(token) = &visitor.token
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }

    async fn exchange(&self, request: Request<Body>) -> Result<(StatusCode, HeaderMap, bytes::Bytes), EdgeError> {
        let Ok(Ok(answer)) = timeout(WITHIN, self.client.ask(request, LARGEST)).await else {
            return Err(EdgeError::Away);
        };
        let (head, body) = answer.into_parts();
        Ok((head.status, head.headers, body))
    }
}

fn refusal(status: StatusCode, headers: &HeaderMap, answer: &[u8]) -> EdgeError {
    let wait = || headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok();
    match serde_json::from_slice::<api::Problem>(answer) {
        Ok(api::Problem { error, .. }) => EdgeError::Refused(Problem {
            status,
            code: error.code,
            field: error.param.unwrap_or_default(),
            message: error.message,
            wait: wait(),
        }),
        // An error page of whatever stands between is no word of the edge.
        Err(_) => EdgeError::Away,
    }
}
