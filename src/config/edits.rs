//! What a route changes of a request on its way, and of the answer on its way back.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use regex::Regex;

/// What a web route changes; a route that changes nothing has none of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edits {
    pub path: Option<PathEdits>,
    pub request: Option<HeaderEdits>,
    pub response: Option<HeaderEdits>,
    /// The first that has the status stands in for the answer's body.
    pub errors: Vec<ErrorPage>,
    pub sticky: Option<Sticky>,
    pub compress: Option<Compress>,
}

/// Answers that gain from it are compressed where the client takes that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compress {
    /// Bytes of an answer that says its length; smaller ones gain nothing.
    pub at_least: u64,
}

/// A client keeps to the target that it was sent to first, by a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    pub cookie: String,
    /// How long a browser keeps it. None: until it is closed.
    pub max_age: Option<Duration>,
}

/// In this order: cut off, rewritten, put in front.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PathEdits {
    /// Ends at a segment, without a slash behind it: `/app`.
    pub strip_prefix: Option<String>,
    pub rewrite: Option<Rewrite>,
    /// Without a slash behind it.
    pub add_prefix: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rewrite {
    pub pattern: Pattern,
    /// With `$1` for what the pattern's first group took.
    pub to: String,
}

/// A regular expression, equal to another of the same text.
#[derive(Debug, Clone)]
pub struct Pattern(pub Regex);

/// In this order: taken away, set, added. A value that may be a secret is marked as sensitive, and shown to nobody.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeaderEdits {
    pub remove: Vec<HeaderName>,
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// A page for answers with one of these statuses.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorPage {
    /// Both included.
    pub statuses: (u16, u16),
    pub page: Page,
}

/// A body that was read when the configuration was.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub kind: HeaderValue,
    pub body: Bytes,
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Redirect {
    /// With `{host}`, `{path}` and `{query}` for those of the request, the path after its edits.
    pub to: String,
    pub status: StatusCode,
}

/// An answer that is the same for everybody.
#[derive(Debug, Clone, PartialEq)]
pub struct Fixed {
    pub status: StatusCode,
    pub page: Page,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl PathEdits {
    /// The path as it goes on. Single slashes are for the caller to see to on the way in; on the way out they are seen
    /// to here, and that it begins with one.
    pub fn apply<'path>(&self, path: &'path str) -> Cow<'path, str> {
        let mut path = Cow::Borrowed(path);
        if let Some(rest) = self.strip_prefix.as_deref().and_then(|prefix| path.strip_prefix(prefix))
            && (rest.is_empty() || rest.starts_with('/'))
        {
            path = Cow::Owned(rest.to_owned());
        }
        if let Some(Rewrite { pattern, to }) = &self.rewrite
            && let Cow::Owned(rewritten) = pattern.0.replace(&path, to)
        {
            path = Cow::Owned(rewritten);
        }
        if let Some(prefix) = &self.add_prefix {
            path =
                Cow::Owned(if path.starts_with('/') { format!("{prefix}{path}") } else { format!("{prefix}/{path}") });
        }
        match path {
            Cow::Owned(path) if !path.starts_with('/') || path.contains("//") => Cow::Owned(single_slashes(&path)),
            path => path,
        }
    }
}

/// With one slash in front and no two in a row.
fn single_slashes(path: &str) -> String {
    let mut single = String::with_capacity(path.len() + 1);
    single.push('/');
    for letter in path.chars() {
        if letter != '/' || !single.ends_with('/') {
            single.push(letter);
        }
    }
    single
}

impl Redirect {
    /// Where a request for this path and query, as they stand behind the host, is sent.
    pub fn location(&self, host: &str, path: &str, query: Option<&str>) -> String {
        let mut location = String::with_capacity(self.to.len() + path.len());
        let mut rest = self.to.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            location.push_str(before);
            let (name, behind) = after.split_once('}').unwrap_or((after, ""));
            match name {
                "host" => location.push_str(host),
                // A browser reads a backslash as a slash, and two of them in front as another host.
                "path" => location.push_str(&path.replace('\\', "%5C")),
                "query" => query.into_iter().for_each(|query| {
                    location.push('?');
                    location.push_str(query);
                }),
                _ => {}
            }
            rest = behind;
        }
        location.push_str(rest);
        location
    }
}

impl Edits {
    /// The page that stands in for an answer with this status.
    pub fn page_for(&self, status: u16) -> Option<&Page> {
        let has = |page: &&ErrorPage| (page.statuses.0..=page.statuses.1).contains(&status);
        self.errors.iter().find(has).map(|error| &error.page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(strip: Option<&str>, rewrite: Option<(&str, &str)>, add: Option<&str>) -> PathEdits {
        let rewrite =
            rewrite.map(|(pattern, to)| Rewrite { pattern: Pattern(Regex::new(pattern).unwrap()), to: to.to_owned() });
        PathEdits { strip_prefix: strip.map(str::to_owned), rewrite, add_prefix: add.map(str::to_owned) }
    }

    #[test]
    fn a_path_is_cut_rewritten_and_then_prefixed() {
        for (edits, path, expected) in [
            (edits(Some("/app"), None, None), "/app/x", "/x"),
            (edits(Some("/app"), None, None), "/app", "/"),
            (edits(Some("/app"), None, None), "/apple", "/apple"),
            (edits(None, None, Some("/v2")), "/x", "/v2/x"),
            (edits(Some("/app"), None, Some("/v2")), "/app", "/v2/"),
            (edits(None, Some(("^/old/(.*)$", "/new/$1")), None), "/old/a/b", "/new/a/b"),
            (edits(None, Some(("^/old/(.*)$", "/new/$1")), None), "/other", "/other"),
            (edits(None, Some(("^/+", "")), None), "/x", "/x"),
            (edits(None, Some(("x", "/")), None), "/x/y", "/y"),
            (edits(Some("/a"), Some(("^/b/", "/c/")), Some("/d")), "/a/b/e", "/d/c/e"),
        ] {
            assert_eq!(edits.apply(path), expected, "{edits:?} {path}");
        }
    }

    #[test]
    fn a_redirect_fills_in_what_was_asked() {
        let redirect =
            Redirect { to: "https://www.example.org{path}{query}".to_owned(), status: StatusCode::PERMANENT_REDIRECT };
        assert_eq!(redirect.location("a", "/x", Some("y=1")), "https://www.example.org/x?y=1");
        assert_eq!(redirect.location("a", "/x", None), "https://www.example.org/x");
        let same = Redirect { to: "{path}".to_owned(), ..redirect };
        assert_eq!(same.location("a", "/\\evil.example", None), "/%5Cevil.example");
    }
}
