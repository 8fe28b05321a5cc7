//! Refusals: every way a request to the control API can be turned away. They leave as a bare status with the refusal
//! beside it; `layer` writes the body, since only there it is known which request it was.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::api;
use crate::ledger::took_too_long;
use crate::units::StoreError;

/// Why, as a closed set: `error.code`. `docs/control-api.md` lists them, and a test holds the two together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidJson,
    InvalidField,
    MissingField,
    InvalidParameter,
    ConflictingSessions,
    MissingSession,
    InvalidSession,
    InvalidCredentials,
    InvalidLink,
    InvalidToken,
    CrossSite,
    InvalidCsrfToken,
    InsecureTransport,
    NotPermitted,
    RegistrationClosed,
    InvalidInvitation,
    WrongPassword,
    EmailNotConfirmed,
    CaptchaRequired,
    NotFound,
    MethodNotAllowed,
    BodyTimeout,
    EmailTaken,
    KeyNotActive,
    TooManyKeys,
    OwnAccount,
    AccountDisabled,
    BodyTooLarge,
    UnsupportedMediaType,
    QuestionTooLarge,
    TooManyAttempts,
    TooManyStreams,
    InternalError,
    StoreUnavailable,
    Overloaded,
    SupabaseUnavailable,
}

/// One refusal. The message is for who asked: what is wrong and where, nothing from inside.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub code: Code,
    message: Cow<'static, str>,
    param: Option<Cow<'static, str>>,
    pub retry_after: Option<Duration>,
    /// What the operator's log is told of it.
    pub cause: Option<String>,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Code::InvalidJson => "invalid_json",
            Code::InvalidField => "invalid_field",
            Code::MissingField => "missing_field",
            Code::InvalidParameter => "invalid_parameter",
            Code::ConflictingSessions => "conflicting_sessions",
            Code::MissingSession => "missing_session",
            Code::InvalidSession => "invalid_session",
            Code::InvalidCredentials => "invalid_credentials",
            Code::InvalidLink => "invalid_link",
            Code::InvalidToken => "invalid_token",
            Code::CrossSite => "cross_site",
            Code::InvalidCsrfToken => "invalid_csrf_token",
            Code::InsecureTransport => "insecure_transport",
            Code::NotPermitted => "not_permitted",
            Code::RegistrationClosed => "registration_closed",
            Code::InvalidInvitation => "invalid_invitation",
            Code::WrongPassword => "wrong_password",
            Code::EmailNotConfirmed => "email_not_confirmed",
            Code::CaptchaRequired => "captcha_required",
            Code::NotFound => "not_found",
            Code::MethodNotAllowed => "method_not_allowed",
            Code::BodyTimeout => "body_timeout",
            Code::EmailTaken => "email_taken",
            Code::KeyNotActive => "key_not_active",
            Code::TooManyKeys => "too_many_keys",
            Code::OwnAccount => "own_account",
            Code::AccountDisabled => "account_disabled",
            Code::BodyTooLarge => "body_too_large",
            Code::UnsupportedMediaType => "unsupported_media_type",
            Code::QuestionTooLarge => "question_too_large",
            Code::TooManyAttempts => "too_many_attempts",
            Code::TooManyStreams => "too_many_streams",
            Code::InternalError => "internal_error",
            Code::StoreUnavailable => "store_unavailable",
            Code::Overloaded => "overloaded",
            Code::SupabaseUnavailable => "supabase_unavailable",
        }
    }

    pub fn status(self) -> StatusCode {
        match self {
            Code::InvalidJson
            | Code::InvalidField
            | Code::MissingField
            | Code::InvalidParameter
            | Code::ConflictingSessions => StatusCode::BAD_REQUEST,
            Code::MissingSession
            | Code::InvalidSession
            | Code::InvalidCredentials
            | Code::InvalidLink
            | Code::InvalidToken => StatusCode::UNAUTHORIZED,
            Code::CrossSite
            | Code::InvalidCsrfToken
            | Code::InsecureTransport
            | Code::NotPermitted
            | Code::RegistrationClosed
            | Code::InvalidInvitation
            | Code::WrongPassword
            | Code::EmailNotConfirmed
            | Code::CaptchaRequired => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Code::EmailTaken | Code::KeyNotActive | Code::TooManyKeys | Code::OwnAccount | Code::AccountDisabled => {
                StatusCode::CONFLICT
            }
            Code::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::QuestionTooLarge => StatusCode::UNPROCESSABLE_ENTITY,
            Code::TooManyAttempts | Code::TooManyStreams => StatusCode::TOO_MANY_REQUESTS,
            Code::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Code::StoreUnavailable | Code::Overloaded | Code::SupabaseUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn kind(self) -> &'static str {
        match self.status().as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        }
    }
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), param: None, retry_after: None, cause: None }
    }

    /// A field of the body that is wrong.
    pub fn field(name: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidField, message).at(name)
    }

    /// A parameter of the query that is wrong.
    pub fn parameter(name: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidParameter, message).at(name)
    }

    /// Whatever it is that is not there, or is somebody else's: the two look the same.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    pub fn question_too_large() -> Self {
        Self::new(Code::QuestionTooLarge, "there is too much to look through: narrow the time, or the filters")
    }

    pub fn internal(cause: String) -> Self {
        Self { cause: Some(cause), ..Self::new(Code::InternalError, "something went wrong here") }
    }

    pub fn no_randomness(_: getrandom::Error) -> Self {
        Self::internal("the operating system has no randomness to give".to_owned())
    }

    pub fn at(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// With what the operator's log is to be told of it.
    pub fn because(mut self, cause: String) -> Self {
        self.cause = Some(cause);
        self
    }

    /// Whole seconds, rounded up.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    pub fn body(&self, request_id: Option<&str>) -> api::Problem {
        let message = match self.retry_after_seconds() {
            Some(seconds) => format!("{}; try again in {seconds}s", self.message),
            None => self.message.to_string(),
        };
        api::Problem {
            error: api::ProblemBody {
                message,
                kind: self.code.kind().to_owned(),
                param: self.param.as_ref().map(ToString::to_string),
                code: self.code.as_str().to_owned(),
            },
            request_id: request_id.map(str::to_owned),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        // The store is well, and the same question would take as long again.
        if took_too_long(&error) {
            return Self::question_too_large();
        }
        let refusal = Self::new(Code::StoreUnavailable, "what this needs does not answer");
        Self { cause: Some(error.0), ..refusal.retry_after(Duration::from_secs(2)) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Code; 36] = [
        Code::InvalidJson,
        Code::InvalidField,
        Code::MissingField,
        Code::InvalidParameter,
        Code::ConflictingSessions,
        Code::MissingSession,
        Code::InvalidSession,
        Code::InvalidCredentials,
        Code::InvalidLink,
        Code::InvalidToken,
        Code::CrossSite,
        Code::InvalidCsrfToken,
        Code::InsecureTransport,
        Code::NotPermitted,
        Code::RegistrationClosed,
        Code::InvalidInvitation,
        Code::WrongPassword,
        Code::EmailNotConfirmed,
        Code::CaptchaRequired,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::BodyTimeout,
        Code::EmailTaken,
        Code::KeyNotActive,
        Code::TooManyKeys,
        Code::OwnAccount,
        Code::AccountDisabled,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::QuestionTooLarge,
        Code::TooManyAttempts,
        Code::TooManyStreams,
        Code::InternalError,
        Code::StoreUnavailable,
        Code::Overloaded,
        Code::SupabaseUnavailable,
    ];

    #[test]
    fn a_question_that_took_too_long_is_not_to_be_asked_again() {
        let refusal = Refusal::from(StoreError(crate::ledger::TOO_LONG.to_owned()));
        assert_eq!((refusal.code, refusal.retry_after), (Code::QuestionTooLarge, None));
        let refusal = Refusal::from(StoreError("the store is away".to_owned()));
        assert_eq!((refusal.code, refusal.retry_after_seconds()), (Code::StoreUnavailable, Some(2)));
    }

    #[test]
    fn the_codes_and_their_statuses_are_those_of_the_table() {
        let table = include_str!("../../docs/control-api.md").lines().filter(|line| line.starts_with("| `"));
        let documented = table.map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`').to_owned(), cells[2].parse().unwrap())
        });
        let known = ALL.map(|code| (code.as_str().to_owned(), code.status().as_u16()));
        assert_eq!(documented.collect::<Vec<(String, u16)>>(), known);
        let codes = include_str!("refusal.rs").lines().filter(|line| line.starts_with("            Code::"));
        assert_eq!(codes.filter(|line| line.contains(" => \"")).count(), ALL.len(), "one is not in this test's list");
    }
}
