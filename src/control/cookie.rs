//! The cookie that a browser's session is in.

use std::time::Duration;

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

use super::refusal::{Code, Refusal};
use super::visitor::Visitor;

/// Over TLS. The prefix has browsers take it for this host alone, and only with `Secure` and `Path=/` (RFC 6265bis).
const SECURE: &str = "__Host-cfx_session";
/// In plain HTTP to this machine itself, where browsers would not keep a `Secure` one.
const LOCAL: &str = "cfx_session";

/// What is set in the client's browser, by the name that its way here allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jar {
    name: &'static str,
    secure: bool,
}

impl Jar {
    /// None: what is sent this way can be read on the way.
    pub fn of(visitor: &Visitor) -> Option<Self> {
        if visitor.https {
            Some(Self { name: SECURE, secure: true })
        } else {
            visitor.is_on_loopback().then_some(Self { name: LOCAL, secure: false })
        }
    }

    /// For who is about to sign in.
    pub fn to_sign_in(visitor: &Visitor) -> Result<Self, Refusal> {
        Self::of(visitor).ok_or_else(|| {
            Refusal::new(
                Code::InsecureTransport,
                "signing in needs https: what is sent in plain http can be read on its way (only this machine itself, as \
                 localhost, may do without)",
            )
        })
    }

    /// The session's token, where the client shows one. Two that differ are an attempt at something.
    pub fn token(self, headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
        let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        // Browsers send octets (RFC 6265, 5.4): another application's cookie may be no text, and ours beside it is one.
        let mut values = lines
            .flat_map(|line| line.split(|byte| *byte == b';'))
            .filter_map(|pair| str::from_utf8(pair).ok())
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.name)
            .map(|(_, value)| value);
        let first = values.next();
        if values.any(|other| Some(other) != first) {
            return Err(Refusal::new(
                Code::ConflictingSessions,
                "there are two sessions in the cookies, and they differ",
            ));
        }
        Ok(first)
    }

    /// Tokens are ASCII letters, digits and `_`: a cookie's value needs nothing escaped.
    pub fn set(self, token: &str, life: Duration) -> Option<HeaderValue> {
        self.line(token, life.as_secs())
    }

    pub fn clear(self) -> Option<HeaderValue> {
        self.line("", 0)
    }

    fn line(self, value: &str, seconds: u64) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let line = format!("{}={value}; Path=/; Max-Age={seconds}; HttpOnly{secure}; SameSite=Strict", self.name);
        HeaderValue::from_str(&line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_of_other_applications_may_be_anything() {
        let jar = Jar { name: SECURE, secure: true };
        for other in ["ad=Ayşe".as_bytes(), b"ad=\xff\xfe", b"\xff", b"", b"=", b"__Host-cfx_session\xff=1"] {
            let line = [other, b"; __Host-cfx_session=cfx_sess_a"].concat();
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_bytes(&line).unwrap())]);
            assert_eq!(jar.token(&headers).unwrap(), Some("cfx_sess_a"), "{other:?}");
        }
    }
}
