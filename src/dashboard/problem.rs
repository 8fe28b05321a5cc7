//! What the control API refused: in the visitor's own words, and with how long to wait.

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use super::limits;
use super::texts::{Language, Texts, fill};

/// A refusal of the edge's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub status: StatusCode,
    /// `invalid_credentials`.
    pub code: String,
    /// What of the request it is about; may be empty.
    pub field: String,
    /// The edge's own words, in English.
    pub message: String,
    /// Seconds before it is of any use to ask again.
    pub wait: Option<u64>,
}

impl Problem {
    /// In the visitor's language; in the edge's own words only where it says what no form of ours brings about.
    pub fn words(&self, language: Language) -> String {
        let texts = language.texts();
        let known = match self.code.as_str() {
            "invalid_credentials" => texts.problem_credentials,
            "wrong_password" => texts.problem_wrong_password,
            "email_not_confirmed" => texts.problem_unconfirmed,
            "captcha_required" => texts.problem_captcha,
            "supabase_unavailable" => texts.problem_supabase,
            "too_many_keys" => texts.problem_too_many_keys,
            "key_not_active" => texts.problem_key_not_active,
            "own_account" => texts.problem_own_account,
            "account_disabled" => texts.problem_disabled,
            "not_permitted" => texts.operators_only_words,
            "not_found" => texts.not_found_words,
            "invalid_link" => texts.problem_link,
            "insecure_transport" => texts.needs_https_words,
            "registration_closed" => texts.problem_closed,
            "invalid_invitation" => texts.problem_invitation_over,
            "email_taken" => texts.problem_taken,
            "store_unavailable" => texts.unread_words,
            "internal_error" => texts.problem_internal,
            "question_too_large" => return limits::too_much(language, texts.too_much_words),
            "missing_field" | "invalid_field" => match self.field.as_str() {
                "email" => texts.problem_email,
                "password" | "new" => return limits::password(language),
                "current" if self.code == "missing_field" => texts.problem_wrong_password,
                "label" => return limits::label(language),
                "daily_requests" => return limits::daily_requests(language),
                "expires_at" => texts.problem_end,
                "overlap_seconds" => texts.problem_overlap,
                field if field.starts_with("stages") || field.starts_with("models") => texts.problem_offer,
                _ => self.others(texts),
            },
            _ if self.status == StatusCode::TOO_MANY_REQUESTS => return self.with_wait(texts, texts.problem_throttled),
            _ if self.status == StatusCode::SERVICE_UNAVAILABLE => {
                return self.with_wait(texts, texts.problem_overloaded);
            }
            _ => self.others(texts),
        };
        known.to_owned()
    }

    /// `answer`, which says when to ask again (RFC 9110, 10.2.3).
    pub fn dress(&self, mut answer: Response) -> Response {
        if let Some(seconds) = self.wait {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }

    fn others<'a>(&'a self, texts: &'a Texts) -> &'a str {
        if self.message.is_empty() { texts.problem_generic } else { &self.message }
    }

    fn with_wait(&self, texts: &Texts, words: &str) -> String {
        let when = match self.wait {
            None => texts.again_soon.to_owned(),
            Some(wait @ ..=90) => fill(texts.again_in_seconds, &[("n", &wait.to_string())]),
            Some(wait) => fill(texts.again_in_minutes, &[("n", &wait.div_ceil(60).to_string())]),
        };
        format!("{words} {when}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, code: &str, field: &str, wait: Option<u64>) -> Problem {
        let (code, field, message) = (code.to_owned(), field.to_owned(), "the edge's own words".to_owned());
        Problem { status: StatusCode::from_u16(status).unwrap(), code, field, message, wait }
    }

    #[test]
    fn the_commonest_mistakes_are_told_in_the_visitors_language() {
        for (status, code, field) in [
            (400, "invalid_field", "password"),
            (400, "invalid_field", "new"),
            (400, "invalid_field", "email"),
            (400, "missing_field", "email"),
            (400, "invalid_field", "label"),
            (400, "invalid_field", "daily_requests"),
            (400, "invalid_field", "expires_at"),
            (400, "invalid_field", "overlap_seconds"),
            (400, "invalid_field", "stages"),
            (400, "invalid_field", "models[0]"),
            (400, "missing_field", "current"),
            (403, "invalid_invitation", "invitation"),
            (409, "account_disabled", ""),
            (429, "too_many_attempts", ""),
            (429, "what a route's limit says", ""),
            (500, "internal_error", ""),
            (503, "store_unavailable", ""),
            (503, "overloaded", ""),
        ] {
            let problem = problem(status, code, field, Some(2));
            let [english, turkish] = Language::ALL.map(|language| problem.words(language));
            assert!(english != problem.message && turkish != problem.message, "{code} of {field}: {english}");
            assert_ne!(english, turkish, "{code} of {field}");
        }
        let rare = problem(415, "unsupported_media_type", "", None);
        assert_eq!(rare.words(Language::Turkish), rare.message);
    }

    #[test]
    fn limits_are_told_as_they_are() {
        let said = |code, field| problem(400, code, field, None).words(Language::English);
        assert_eq!(said("invalid_field", "new"), "A password has at least 10 characters, and at most 512 bytes.");
        assert!(said("invalid_field", "label").contains("at most 100 characters"));
        assert!(said("invalid_field", "daily_requests").ends_with("from 1 to 1,000,000,000."));
        assert!(said("question_too_large", "").contains("within 2 s"));
        let turkish = problem(400, "invalid_field", "daily_requests", None).words(Language::Turkish);
        assert!(turkish.contains("1.000.000.000"), "{turkish}");
    }

    #[test]
    fn how_long_to_wait_is_said() {
        let said = |wait| problem(429, "too_many_attempts", "", wait).words(Language::English);
        assert!(said(Some(1)).ends_with("Try again in 1 s."), "{}", said(Some(1)));
        assert!(said(Some(90)).ends_with("Try again in 90 s."));
        assert!(said(Some(91)).ends_with("Try again in 2 min."));
        assert!(said(Some(900)).ends_with("Try again in 15 min."));
        assert!(said(None).ends_with("Try again in a moment."));
        assert!(problem(429, "", "", Some(900)).words(Language::Turkish).contains("15 dk"));
        let answer = problem(429, "", "", Some(900)).dress(Response::default());
        assert_eq!(answer.headers().get(RETRY_AFTER).unwrap(), "900");
    }
}
