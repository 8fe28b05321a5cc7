//! A password of Supabase's, shown to Supabase by this edge: so that guessing is slowed down alike, whoever's the password is.
//!
//! Failure stance: closed. Where Supabase does not say yes in a way that is understood, nobody is signed in; where it says
//! nothing of the password, the try counts as one at the account's own, which it was as well.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::auth::AuthAnswer;
use crate::config::{self, Registration};
use crate::control::Control;
use crate::control::refusal::{Code, Refusal};
use crate::identity::{Account, Email, LONGEST_PASSWORD};

/// Under way at once. They wait for a server elsewhere, five seconds each where it does not answer.
const AT_ONCE: usize = 16;
const OVERLOADED: Duration = Duration::from_secs(2);
/// Before it is asked again, where it does not say how long.
const PAUSE: Duration = Duration::from_secs(5);
/// And at most, whatever it says.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

pub(super) struct Exchanges(Semaphore);

impl Default for Exchanges {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    email: &'a str,
    password: &'a str,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
}

/// An error in either of the forms that its versions have: `error_code` beside the status as `code`; that word as `code`; or
/// OAuth's `error`, which tells an unconfirmed address by its description alone.
#[derive(Default, Deserialize)]
struct Declined {
    error_code: Option<String>,
    code: Option<serde_json::Value>,
    error: Option<String>,
    error_description: Option<String>,
}

/// What it says to an address and a password.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Token(String),
    No,
    Unconfirmed,
    /// It looks at no password without one, which only a page with its own client has.
    Captcha,
    /// It takes no more for now.
    Busy(Option<Duration>),
    /// Nothing of use. The text is for the operator's log.
    Nothing(String),
}

impl Control {
    /// The account of the project's user with this address and this password. None: there is none, or it is disabled.
    pub(in crate::control) async fn by_supabase(
        &self,
        project: &config::Supabase,
        registration: Registration,
        email: &str,
        password: &str,
    ) -> Result<Option<Account>, Refusal> {
        let (Some(anon_key), Ok(email)) = (&project.anon_key, Email::parse(email)) else { return Ok(None) };
        // What nobody can have chosen is shown to nobody.
        if password.len() > LONGEST_PASSWORD {
            return Ok(None);
        }
        let shown = serde_json::to_vec(&Shown { email: email.as_str(), password });
        let shown = shown.map_err(|_| Refusal::internal("a password could not be written as JSON".to_owned()))?;
        let Ok(_place) = self.supabase.exchanges.0.try_acquire() else {
            let message = "too many are signing in at this moment";
            return Err(Refusal::new(Code::Overloaded, message).retry_after(OVERLOADED));
        };
        let answer = self.ports.supabase.password(&project.url, anon_key.expose(), shown).await;
        let token = match answer.map_or_else(Said::Nothing, said) {
            Said::Token(token) => token,
            Said::No => return Ok(None),
            Said::Unconfirmed => {
                let message = "this e-mail address is not confirmed: follow the link that Supabase sent to it";
                return Err(Refusal::new(Code::EmailNotConfirmed, message));
            }
            Said::Captcha => {
                let message = "Supabase wants a CAPTCHA, which cannot be solved here: ask an operator for a link that signs in, \
                               and set a password with it";
                let refusal = Refusal::new(Code::CaptchaRequired, message);
                return Err(
                    refusal.because("Supabase: its CAPTCHA protection lets nobody sign in here by password".to_owned())
                );
            }
            Said::Busy(wait) => {
                let message = "Supabase takes no more sign-ins at this moment";
                let wait = wait.unwrap_or(PAUSE).clamp(Duration::from_secs(1), LONGEST_PAUSE);
                return Err(Refusal::new(Code::SupabaseUnavailable, message).retry_after(wait));
            }
            Said::Nothing(why) => return Err(unavailable(why)),
        };
        let claims = self.claims(project, &token).await.map_err(ours)?;
        self.account_of(&claims, registration).await.map_err(ours)
    }
}

fn said(answer: AuthAnswer) -> Said {
    let AuthAnswer { status, retry_after, body } = answer;
    // What it wrote is not repeated, not even in the log: it may be a token.
    if status == StatusCode::OK {
        return match serde_json::from_slice::<Granted>(&body) {
            Ok(granted) => Said::Token(granted.access_token),
            Err(_) => Said::Nothing("it answers 200, and no session".to_owned()),
        };
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Said::Busy(retry_after);
    }
    let declined: Declined = serde_json::from_slice(&body).unwrap_or_default();
    let word = declined.error_code.as_deref();
    let word = word.or(declined.code.as_ref().and_then(serde_json::Value::as_str)).or(declined.error.as_deref());
    match word.unwrap_or_default() {
        "email_not_confirmed" => Said::Unconfirmed,
        "invalid_grant" if declined.error_description.is_some_and(|text| text == "Email not confirmed") => {
            Said::Unconfirmed
        }
        "captcha_failed" if status.is_client_error() => Said::Captcha,
        "invalid_grant" | "invalid_credentials" | "user_banned" | "validation_failed" if status.is_client_error() => {
            Said::No
        }
        word => Said::Nothing(format!("it answers {}{}", status.as_u16(), known(word))),
    }
}

/// A word of its own as it may stand in a log: one that looks like the codes it documents.
fn known(word: &str) -> String {
    let is_code = (1..=64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_code { format!(", {word}") } else { String::new() }
}

/// A token that Supabase has just given is not its user's to answer for.
fn ours(refusal: Refusal) -> Refusal {
    if refusal.code != Code::InvalidToken {
        return refusal;
    }
    unavailable(format!("what it gave for a password: {}", refusal.body(None).error.message))
}

fn unavailable(why: String) -> Refusal {
    let refusal = Refusal::new(Code::SupabaseUnavailable, "Supabase cannot be asked at this moment").retry_after(PAUSE);
    refusal.because(format!("Supabase: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> Said {
        let status = StatusCode::from_u16(status).unwrap();
        said(AuthAnswer { status, retry_after: None, body: body.as_bytes().to_vec() })
    }

    #[test]
    fn its_answers_are_understood_in_each_of_their_forms() {
        assert_eq!(told(200, r#"{"access_token":"a.b.c","user":{}}"#), Said::Token("a.b.c".to_owned()));
        for no in [
            r#"{"code":400,"error_code":"invalid_credentials","msg":"Invalid login credentials"}"#,
            r#"{"code":"invalid_credentials","message":"Invalid login credentials"}"#,
            r#"{"error":"invalid_grant","error_description":"Invalid login credentials"}"#,
            r#"{"code":400,"error_code":"user_banned","msg":"User is banned"}"#,
        ] {
            assert_eq!(told(400, no), Said::No, "{no}");
        }
        for unconfirmed in [
            r#"{"code":400,"error_code":"email_not_confirmed","msg":"Email not confirmed"}"#,
            r#"{"error":"invalid_grant","error_description":"Email not confirmed"}"#,
        ] {
            assert_eq!(told(400, unconfirmed), Said::Unconfirmed, "{unconfirmed}");
        }
        for captcha in [
            r#"{"code":400,"error_code":"captcha_failed","msg":"captcha protection: request disallowed (no captcha_token found)"}"#,
            r#"{"code":"captcha_failed","message":"captcha protection: request disallowed"}"#,
        ] {
            assert_eq!(told(400, captcha), Said::Captcha, "{captcha}");
        }
        assert_eq!(told(429, "slow down"), Said::Busy(None));
    }

    #[test]
    fn what_says_nothing_of_the_password_is_told_to_the_log_without_its_words() {
        for (status, body, logged) in [
            (200, r#"{"access_token":7}"#, "it answers 200, and no session"),
            (200, "<html>hunter2</html>", "it answers 200, and no session"),
            (302, "", "it answers 302"),
            (400, "", "it answers 400"),
            (400, r#"{"error_code":"bad_json"}"#, "it answers 400, bad_json"),
            (500, r#"{"error_code":"captcha_failed"}"#, "it answers 500, captcha_failed"),
            (401, r#"{"message":"Invalid API key hunter2"}"#, "it answers 401"),
            (422, r#"{"error_code":"email_provider_disabled"}"#, "it answers 422, email_provider_disabled"),
            (500, r#"{"error_code":"invalid_credentials"}"#, "it answers 500, invalid_credentials"),
            (502, r#"{"error_code":"Hunter2 was here"}"#, "it answers 502"),
        ] {
            assert_eq!(told(status, body), Said::Nothing(logged.to_owned()), "{status} {body}");
        }
    }
}
