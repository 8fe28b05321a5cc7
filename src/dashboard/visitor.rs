//! Who asks for a page, as far as the request itself tells: where from, in which language, with which cookie.

use axum::http::header::{ACCEPT, ACCEPT_LANGUAGE, HOST};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::cookies::{self, Origin};
use super::texts::{Language, Texts};
use crate::identity::SessionToken;

/// Set by the edge, which believes no client's own: whom the control API should hold a request against.
const PASSED_ON: [&str; 4] = ["x-real-ip", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];

/// One request, before anybody has been asked whether its session holds.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub origin: Origin,
    pub language: Language,
    pub theme: Theme,
    pub token: Option<SessionToken>,
    /// Two sessions are shown: none is taken, and both are to be forgotten.
    pub is_in_conflict: bool,
    /// By another site, as browsers say (Fetch Metadata, 2.4): what the visitor did not ask for is not to be done.
    pub is_led_here: bool,
    /// A script of ours asks: a page is of no use to it.
    pub wants_json: bool,
    /// Path and query, as they came: where to come back to. `/` where something was sent, which is not to be asked for anew.
    pub path: String,
    pub passed_on: Vec<(HeaderName, HeaderValue)>,
}

/// Dark unless somebody chose otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Theme {
    #[default]
    Dark,
    Light,
    /// As the visitor's system has it.
    Auto,
}

impl Visitor {
    pub fn of(parts: &Parts) -> Self {
        let headers = &parts.headers;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text("x-forwarded-host").or_else(|| text(HOST.as_str())).unwrap_or_default();
        let origin = Origin {
            https: text("x-forwarded-proto") == Some("https"),
            host: host.to_owned(),
            client: text("x-real-ip").and_then(|address| address.trim().parse().ok()),
        };
        let path = parts.uri.path_and_query();
        let session = origin.session(headers);
        let passed_on = PASSED_ON.iter().filter_map(|name| {
            let name = HeaderName::from_static(name);
            headers.get(&name).map(|value| (name.clone(), value.clone()))
        });
        Self {
            is_in_conflict: session.is_err(),
            token: session.unwrap_or_default(),
            wants_json: text(ACCEPT.as_str()) == Some("application/json"),
            is_led_here: matches!(text("sec-fetch-site"), Some("cross-site" | "same-site")),
            language: language(headers),
            theme: cookies::find(headers, cookies::THEME).and_then(Theme::parse).unwrap_or_default(),
            path: if parts.method == Method::GET { path.map_or("/", |path| path.as_str()) } else { "/" }.to_owned(),
            passed_on: passed_on.collect(),
            origin,
        }
    }

    pub fn texts(&self) -> &'static Texts {
        self.language.texts()
    }
}

impl Theme {
    pub const ALL: [Theme; 3] = [Theme::Dark, Theme::Light, Theme::Auto];

    pub fn as_str(self) -> &'static str {
        match self {
            Theme::Dark => "dark",
            Theme::Light => "light",
            Theme::Auto => "auto",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.as_str() == text)
    }
}

/// The cookie's, else the first of `Accept-Language` that there is. Weights are not looked at: browsers send the best first.
fn language(headers: &HeaderMap) -> Language {
    if let Some(chosen) = cookies::find(headers, cookies::LANGUAGE).and_then(Language::parse) {
        return chosen;
    }
    let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut tags = accepted.split(',').filter_map(|tag| tag.trim().split(['-', ';']).next());
    tags.find_map(|tag| Language::parse(&tag.to_ascii_lowercase())).unwrap_or_default()
}

/// `next` where it leads to a page of ours, `/` otherwise. Browsers read `//` and `/\` as another host, and drop tabs and
/// line breaks before they look.
pub(super) fn own_path(next: &str) -> &str {
    let plain = next.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\');
    if plain && next.starts_with('/') && !next.starts_with("//") { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_back_leads_to_our_own_pages_alone() {
        for own in ["/", "/logs?stage=plan&before=1_2", "/logs/a#b"] {
            assert_eq!(own_path(own), own);
        }
        for foreign in [
            "",
            "logs",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/\n/evil.example",
            "/é",
            "\\\\evil.example",
            " /",
        ] {
            assert_eq!(own_path(foreign), "/", "{foreign:?}");
        }
    }

    #[test]
    fn the_language_is_the_chosen_one_else_the_first_that_there_is() {
        let told = |accepted: &str, cookie: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_str(accepted).unwrap());
            headers.insert("cookie", HeaderValue::from_str(cookie).unwrap());
            language(&headers)
        };
        assert_eq!(told("de, tr-TR;q=0.9, en;q=0.8", ""), Language::Turkish);
        assert_eq!(told("de", ""), Language::English);
        assert_eq!(told("tr", "cfx_language=en"), Language::English);
        assert_eq!(told("TR", "cfx_language=xx"), Language::Turkish);
    }
}
