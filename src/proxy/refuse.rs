//! Refusals: every way a request can be turned away, and the one place that turns it into status, body and headers.
//!
//! `Reason` is the closed set that clients see as `error.code` and that metrics and the log use as their label.

use std::borrow::Cow;
use std::time::Duration;

use crate::entry::guard::Guard;
use crate::llm::Dialect;
use crate::units::RequestId;

/// Why a request was refused, as a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    InvalidJson,
    InvalidField,
    MissingField,
    InvalidStage,
    ModelNotAllowed,
    DirectModeDisabled,
    ConflictingKeys,
    InvalidRequest,
    InvalidPath,
    MissingApiKey,
    InvalidApiKey,
    ExpiredApiKey,
    NotPermitted,
    AddressNotAllowed,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    HeaderTimeout,
    BodyTimeout,
    ClientTooSlow,
    BodyTooLarge,
    UnsupportedMediaType,
    MisdirectedRequest,
    HeadersTooLarge,
    DailyQuotaExceeded,
    TooManyConcurrentRequests,
    RateLimitExceeded,
    TooManyFailedKeys,
    InternalError,
    UpstreamError,
    UpstreamAuthError,
    UpstreamUnavailable,
    Overloaded,
    Maintenance,
    ShuttingDown,
    StoreUnavailable,
    UpstreamTimeout,
}

/// One refusal, ready to be answered. The message is for the client: what is wrong and where, nothing from inside.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub reason: Reason,
    pub message: Cow<'static, str>,
    /// The field of the body that is wrong, as OpenAI's `param`.
    pub param: Option<Cow<'static, str>>,
    /// When asking again may succeed. Sent with 429 and 503; the message then ends "try again in Ns".
    pub retry_after: Option<Duration>,
    /// False where waiting a moment is useless: SDKs then do not retry by themselves.
    pub worth_retrying: bool,
    /// The guard that refuses it, where one does.
    pub guard: Option<Guard>,
}

impl Reason {
    pub fn code(self) -> &'static str {
        match self {
            Reason::InvalidJson => "invalid_json",
            Reason::InvalidField => "invalid_field",
            Reason::MissingField => "missing_field",
            Reason::InvalidStage => "invalid_stage",
            Reason::ModelNotAllowed => "model_not_allowed",
            Reason::DirectModeDisabled => "direct_mode_disabled",
            Reason::ConflictingKeys => "conflicting_keys",
            Reason::InvalidRequest => "invalid_request",
            Reason::InvalidPath => "invalid_path",
            Reason::MissingApiKey => "missing_api_key",
            Reason::InvalidApiKey => "invalid_api_key",
            Reason::ExpiredApiKey => "expired_api_key",
            Reason::NotPermitted => "not_permitted",
            Reason::AddressNotAllowed => "address_not_allowed",
            Reason::Unauthorized => "unauthorized",
            Reason::NotFound => "not_found",
            Reason::MethodNotAllowed => "method_not_allowed",
            Reason::HeaderTimeout => "header_timeout",
            Reason::BodyTimeout => "body_timeout",
            Reason::ClientTooSlow => "client_too_slow",
            Reason::BodyTooLarge => "body_too_large",
            Reason::UnsupportedMediaType => "unsupported_media_type",
            Reason::MisdirectedRequest => "misdirected_request",
            Reason::HeadersTooLarge => "headers_too_large",
            Reason::DailyQuotaExceeded => "daily_quota_exceeded",
            Reason::TooManyConcurrentRequests => "too_many_concurrent_requests",
            Reason::RateLimitExceeded => "rate_limit_exceeded",
            Reason::TooManyFailedKeys => "too_many_failed_keys",
            Reason::InternalError => "internal_error",
            Reason::UpstreamError => "upstream_error",
            Reason::UpstreamAuthError => "upstream_auth_error",
            Reason::UpstreamUnavailable => "upstream_unavailable",
            Reason::Overloaded => "overloaded",
            Reason::Maintenance => "maintenance",
            Reason::ShuttingDown => "shutting_down",
            Reason::StoreUnavailable => "store_unavailable",
            Reason::UpstreamTimeout => "upstream_timeout",
        }
    }

    pub fn status(self) -> u16 {
        match self {
            Reason::InvalidJson
            | Reason::InvalidField
            | Reason::MissingField
            | Reason::InvalidStage
            | Reason::ModelNotAllowed
            | Reason::DirectModeDisabled
            | Reason::ConflictingKeys
            | Reason::InvalidRequest
            | Reason::InvalidPath => 400,
            Reason::MissingApiKey | Reason::InvalidApiKey | Reason::Unauthorized => 401,
            Reason::ExpiredApiKey | Reason::NotPermitted | Reason::AddressNotAllowed => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::HeaderTimeout | Reason::BodyTimeout | Reason::ClientTooSlow => 408,
            Reason::BodyTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::MisdirectedRequest => 421,
            Reason::HeadersTooLarge => 431,
            Reason::DailyQuotaExceeded
            | Reason::TooManyConcurrentRequests
            | Reason::RateLimitExceeded
            | Reason::TooManyFailedKeys => 429,
            Reason::InternalError => 500,
            Reason::UpstreamError | Reason::UpstreamAuthError => 502,
            Reason::UpstreamUnavailable
            | Reason::Overloaded
            | Reason::Maintenance
            | Reason::ShuttingDown
            | Reason::StoreUnavailable => 503,
            Reason::UpstreamTimeout => 504,
        }
    }

    /// The `error.type` both OpenAI's and Anthropic's SDKs know.
    fn kind(self) -> &'static str {
        kind_of(self.status())
    }
}

fn kind_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    }
}

impl Refusal {
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into(), param: None, retry_after: None, worth_retrying: true, guard: None }
    }

    /// The edge stops. Another takes its place in a moment.
    pub fn shutting_down() -> Self {
        Self::new(Reason::ShuttingDown, "this gateway is shutting down").retry_after(Duration::from_secs(2))
    }

    pub fn at(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub fn final_word(mut self) -> Self {
        self.worth_retrying = false;
        self
    }

    pub fn by(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    pub fn status(&self) -> u16 {
        self.reason.status()
    }

    /// Whole seconds until asking again makes sense, rounded up: an HTTP date or a fraction would be misread.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    fn full_message(&self) -> Cow<'_, str> {
        match self.retry_after_seconds() {
            Some(seconds) => format!("{}; try again in {seconds}s", self.message).into(),
            None => Cow::Borrowed(&self.message),
        }
    }

    /// The error body: OpenAI's shape, or Anthropic's where the client speaks that dialect.
    pub fn body(&self, dialect: Option<Dialect>, request: RequestId) -> String {
        let (kind, code) = (self.reason.kind(), self.reason.code());
        let request_id = request.0.to_string();
        let message = self.full_message();
        let body = if dialect == Some(Dialect::Messages) {
            serde_json::json!({
                "type": "error",
                "error": { "type": kind, "message": message, "code": code },
                "request_id": request_id,
            })
        } else {
            serde_json::json!({
                "error": { "message": message, "type": kind, "param": self.param, "code": code },
                "request_id": request_id,
            })
        };
        body.to_string()
    }

    /// The same as an event of a stream that is already under way: what makes each SDK raise instead of ending quietly.
    pub fn event(&self, dialect: Dialect, request: RequestId) -> String {
        let body = self.body(Some(dialect), request);
        match dialect {
            Dialect::Messages => format!("event: error\ndata: {body}\n\n"),
            Dialect::Responses => {
                let error = serde_json::json!({
                    "message": self.full_message(), "type": self.reason.kind(), "param": null, "code": self.reason.code(),
                });
                response_failed(&error, request)
            }
            Dialect::Chat | Dialect::Completions | Dialect::Embeddings => format!("data: {body}\n\n"),
        }
    }
}

/// An upstream's refusal as an event, where its status can no longer be passed on: its own words where it has given
/// them in OpenAI's or Anthropic's shape.
pub fn event_of_upstream(status: u16, body: &[u8], dialect: Dialect, request: RequestId) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let mut error = match body.get("error") {
        Some(serde_json::Value::Object(error)) => error.clone(),
        _ => serde_json::Map::new(),
    };
    let mut lacking = |name: &str, value: serde_json::Value| {
        error.entry(name).or_insert(value);
    };
    lacking("message", format!("the model's service answered {status}").into());
    lacking("type", kind_of(status).into());
    lacking("code", status.to_string().into());
    let error = serde_json::Value::Object(error);
    let request_id = request.0.to_string();
    match dialect {
        Dialect::Messages => {
            let body = serde_json::json!({ "type": "error", "error": error, "request_id": request_id });
            format!("event: error\ndata: {body}\n\n")
        }
        Dialect::Responses => response_failed(&error, request),
        Dialect::Chat | Dialect::Completions | Dialect::Embeddings => {
            format!("data: {}\n\n", serde_json::json!({ "error": error, "request_id": request_id }))
        }
    }
}

/// The end of a response that has failed. OpenAI's SDKs read `response.failed` as one more event and end quietly behind
/// it; the `error` beside it makes them raise.
fn response_failed(error: &serde_json::Value, request: RequestId) -> String {
    let failed = serde_json::json!({
        "type": "response.failed",
        "response": {
            "object": "response",
            "status": "failed",
            "error": { "code": error["code"], "message": error["message"] },
        },
        "error": error,
        "request_id": request.0.to_string(),
    });
    format!("event: response.failed\ndata: {failed}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Reason; 37] = [
        Reason::InvalidJson,
        Reason::InvalidField,
        Reason::MissingField,
        Reason::InvalidStage,
        Reason::ModelNotAllowed,
        Reason::DirectModeDisabled,
        Reason::ConflictingKeys,
        Reason::InvalidRequest,
        Reason::InvalidPath,
        Reason::MissingApiKey,
        Reason::InvalidApiKey,
        Reason::ExpiredApiKey,
        Reason::NotPermitted,
        Reason::AddressNotAllowed,
        Reason::Unauthorized,
        Reason::NotFound,
        Reason::MethodNotAllowed,
        Reason::HeaderTimeout,
        Reason::BodyTimeout,
        Reason::ClientTooSlow,
        Reason::BodyTooLarge,
        Reason::UnsupportedMediaType,
        Reason::MisdirectedRequest,
        Reason::HeadersTooLarge,
        Reason::DailyQuotaExceeded,
        Reason::TooManyConcurrentRequests,
        Reason::RateLimitExceeded,
        Reason::TooManyFailedKeys,
        Reason::InternalError,
        Reason::UpstreamError,
        Reason::UpstreamAuthError,
        Reason::UpstreamUnavailable,
        Reason::Overloaded,
        Reason::Maintenance,
        Reason::ShuttingDown,
        Reason::StoreUnavailable,
        Reason::UpstreamTimeout,
    ];

    #[test]
    fn the_codes_and_their_statuses_are_those_of_the_table() {
        let table = include_str!("../../docs/refusals.md").lines().filter(|line| line.starts_with("| `"));
        let documented = table.map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`').to_owned(), cells[2].parse().unwrap())
        });
        let known = ALL.map(|reason| (reason.code().to_owned(), reason.status()));
        assert_eq!(documented.collect::<Vec<(String, u16)>>(), known);
        let codes = include_str!("refuse.rs").lines().filter(|line| line.starts_with("            Reason::"));
        assert_eq!(codes.filter(|line| line.contains(" => \"")).count(), ALL.len(), "one is not in this test's list");
    }
}
