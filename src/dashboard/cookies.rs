//! Cookies: the session's, and the two a page is shown by.

use std::net::IpAddr;

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

use crate::identity::SessionToken;

/// Where the client came by https. The prefix keeps every other host and path from setting it.
const SECURE: &str = "__Host-cfx_session";
/// Where it came by plain http to this very machine.
const LOOPBACK: &str = "cfx_session";
pub(super) const THEME: &str = "cfx_theme";
pub(super) const LANGUAGE: &str = "cfx_language";
const YEAR: u64 = 365 * 86_400;
/// Folders of a path that a cookie is forgotten for: no page of ours lies deeper.
const DEEPEST: usize = 4;

/// A client shows two sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conflict;

/// How the client reached us, which decides what a cookie may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub https: bool,
    /// With its port, where one was named. May be empty.
    pub host: String,
    /// None: nobody says.
    pub client: Option<IpAddr>,
}

impl Origin {
    /// `https://edge.example.org:8443`.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.host)
    }

    /// Whether a session may be had here: by https, or by plain http that stays on this machine. The host is the client's own
    /// word, so that where it comes from counts too.
    pub fn may_sign_in(&self) -> bool {
        let is_here = || self.client.is_none_or(|client| client.to_canonical().is_loopback());
        self.https || (is_loopback(&self.host) && is_here())
    }

    fn session_cookie(&self) -> &'static str {
        if self.https { SECURE } else { LOOPBACK }
    }

    /// None where there is none, or where it has not the form of one. Err where there are two, and they differ: whoever can
    /// set a cookie for this host, under a longer path, would have somebody work in a session that is not theirs.
    pub fn session(&self, headers: &HeaderMap) -> Result<Option<SessionToken>, Conflict> {
        if !self.may_sign_in() {
            return Ok(None);
        }
        let mut shown = all(headers, self.session_cookie());
        let first = shown.next();
        if shown.any(|other| Some(other) != first) {
            return Err(Conflict);
        }
        Ok(first.and_then(SessionToken::parse))
    }

    /// Sets the session for so many seconds.
    pub fn keep(&self, token: &SessionToken, seconds: u64) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&self.written(token.expose(), seconds)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    pub fn forget(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.written("", 0)).ok()
    }

    /// Forgets every session that a browser sends with this path: its own one, and those that may be set for a folder above it,
    /// whose name may end in a slash or not (RFC 6265, 5.1.4).
    pub fn forget_all(&self, path: &str) -> Vec<HeaderValue> {
        let path = path.split('?').next().unwrap_or_default();
        // The prefix of the cookie by https allows no path but the first.
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]).filter(|_| !self.https);
        let folders = ends.skip(1).take(DEEPEST).filter_map(|end| path.get(..end));
        let folders = folders.filter(|folder| *folder != "/" && !folder.contains(';'));
        let both = folders.flat_map(|folder| [folder.to_owned(), format!("{}/", folder.trim_end_matches('/'))]);
        let lines = std::iter::once("/".to_owned()).chain(both).map(|folder| self.written_for(&folder, "", 0));
        lines.filter_map(|line| HeaderValue::from_str(&line).ok()).collect()
    }

    fn written(&self, value: &str, seconds: u64) -> String {
        self.written_for("/", value, seconds)
    }

    fn written_for(&self, path: &str, value: &str, seconds: u64) -> String {
        let (name, secure) = (self.session_cookie(), if self.https { "; Secure" } else { "" });
        format!("{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
    }

    /// A cookie of how pages look, for a year. `value` is one of ours.
    pub fn prefer(&self, name: &str, value: &str) -> Option<HeaderValue> {
        let secure = if self.https { "; Secure" } else { "" };
        HeaderValue::from_str(&format!("{name}={value}; Path=/; Max-Age={YEAR}; HttpOnly; SameSite=Lax{secure}")).ok()
    }
}

/// The first cookie of this name.
pub(super) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    all(headers, name).next()
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    // Browsers send octets (RFC 6265, 5.4): another application's cookie may be no text, and ours beside it is one.
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).filter_map(|pair| str::from_utf8(pair).ok());
    let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(named, _)| *named == name).map(|(_, value)| value)
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    ["127.0.0.1", "::1", "localhost"].iter().any(|loopback| name.eq_ignore_ascii_case(loopback))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(https: bool, host: &str) -> Origin {
        Origin { https, host: host.to_owned(), client: None }
    }

    #[test]
    fn the_cookie_is_as_strict_as_the_way_it_came() {
        let token = SessionToken::mint().unwrap();
        let kept = |origin: Origin| origin.keep(&token, 60).unwrap().to_str().unwrap().to_owned();
        let value = token.expose();
        assert_eq!(
            kept(origin(true, "edge.example.org")),
            format!("__Host-cfx_session={value}; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure")
        );
        assert_eq!(
            kept(origin(false, "127.0.0.1:8080")),
            format!("cfx_session={value}; Path=/; Max-Age=60; HttpOnly; SameSite=Strict")
        );
        assert!(origin(true, "a").forget().unwrap().to_str().unwrap().contains("=; Path=/; Max-Age=0;"));
    }

    #[test]
    fn plain_http_signs_in_on_this_machine_alone() {
        for host in ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]:8080", "[::1]"] {
            assert!(origin(false, host).may_sign_in(), "{host}");
        }
        for host in ["edge.example.org", "127.0.0.1.example.org", "localhost.example.org", "[::2]", "10.0.0.1", ""] {
            assert!(!origin(false, host).may_sign_in(), "{host}");
            assert!(origin(true, host).may_sign_in(), "{host}");
        }
    }

    #[test]
    fn nobody_elsewhere_signs_in_by_plain_http_by_calling_us_localhost() {
        let from = |https, client: &str| Origin { client: client.parse().ok(), ..origin(https, "localhost:8080") };
        for here in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(from(false, here).may_sign_in(), "{here}");
        }
        for elsewhere in ["192.0.2.1", "10.0.0.7", "2001:db8::1", "::ffff:192.0.2.1"] {
            assert!(!from(false, elsewhere).may_sign_in(), "{elsewhere}");
            assert!(from(true, elsewhere).may_sign_in(), "{elsewhere}");
        }
    }

    #[test]
    fn a_session_is_read_from_the_cookie_of_the_way_it_came_by() {
        let token = SessionToken::mint().unwrap();
        let mut headers = HeaderMap::new();
        let line = format!("a=b; cfx_session={0}; c=d", token.expose());
        headers.insert(COOKIE, HeaderValue::from_str(&line).unwrap());
        assert_eq!(origin(false, "localhost").session(&headers), Ok(Some(token)));
        assert_eq!(
            origin(true, "localhost").session(&headers),
            Ok(None),
            "the cookie without the prefix is anybody's to set"
        );
        assert_eq!(origin(false, "edge.example.org").session(&headers), Ok(None));
    }

    #[test]
    fn cookies_of_other_applications_may_be_anything() {
        let token = SessionToken::mint().unwrap();
        for other in ["ad=Ayşe".as_bytes(), b"ad=\xff\xfe", b"\xff", b"", b"=", b"cfx_session\xff=1"] {
            let own = format!("; cfx_session={}; cfx_theme=light", token.expose());
            let line = [other, own.as_bytes()].concat();
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_bytes(&line).unwrap());
            assert_eq!(origin(false, "localhost").session(&headers).unwrap().as_ref(), Some(&token), "{other:?}");
            assert_eq!(find(&headers, THEME), Some("light"), "{other:?}");
        }
    }

    #[test]
    fn two_sessions_are_none_and_forgotten_wherever_they_were_set() {
        let [one, other] = [(); 2].map(|()| SessionToken::mint().unwrap());
        let shown = |lines: &[&SessionToken]| {
            let lines = lines.iter().map(|token| format!("cfx_session={}", token.expose()));
            let headers = lines.map(|line| (COOKIE, HeaderValue::from_str(&line).unwrap())).fold(
                HeaderMap::new(),
                |mut headers, (name, value)| {
                    headers.append(name, value);
                    headers
                },
            );
            origin(false, "localhost").session(&headers)
        };
        assert_eq!(shown(&[&one, &other]), Err(Conflict));
        assert_eq!(shown(&[&one, &one]), Ok(Some(one)), "the same twice is one");

        let paths = |https: bool, path: &str| -> Vec<String> {
            let lines = origin(https, "localhost").forget_all(path);
            let path_of = |line: &HeaderValue| line.to_str().unwrap().split("; ").nth(1).unwrap().to_owned();
            lines.iter().map(path_of).collect()
        };
        assert_eq!(paths(false, "/"), ["Path=/"]);
        let folders = ["/", "/logs", "/logs/", "/logs/a", "/logs/a/"].map(|folder| format!("Path={folder}"));
        assert_eq!(paths(false, "/logs/a?stage=/b/c"), folders);
        assert_eq!(paths(false, "/;a"), ["Path=/"], "what would be read as something else is left out");
        assert_eq!(paths(true, "/logs/a"), ["Path=/"]);
    }
}
