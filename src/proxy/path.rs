//! Paths: which are refused because two readers could take them for two. docs/guards.md has the policy as a table.

use http::Method;
use pingora::http::RequestHeader;
use pingora_core::Result;

use super::refuse::{Reason, Refusal};
use crate::config::EncodedSlash;
use crate::entry::guard::Guard;

/// A target that names scheme and host becomes the path behind them: pingora has held the host against `Host` by now,
/// and whoever stands behind us is asked in the form that it knows.
pub fn to_origin_form(head: &mut RequestHeader) -> Result<()> {
    let target = head.raw_path();
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let Some(scheme) = scheme else { return Ok(()) };
    let rest = &target[scheme.len()..];
    let (authority, path) = rest.split_at(rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len()));
    let path = if path.starts_with(b"/") { path.to_vec() } else { [b"/", path].concat() };
    let host = http::HeaderValue::from_bytes(authority).ok();
    if let Some(host) = host.filter(|_| !head.headers.contains_key(http::header::HOST)) {
        head.insert_header(http::header::HOST, host)?;
    }
    head.set_raw_path(&path)
}

/// Refuses a target that could mean two things.
pub fn check(head: &RequestHeader, encoded_slash: EncodedSlash) -> Result<(), Refusal> {
    let path = head.uri.path();
    if is_plain(path) && path.starts_with('/') && head.raw_path().first() == Some(&b'/') && head.raw_path_is_utf8() {
        return Ok(());
    }
    match fault(head, encoded_slash) {
        None => Ok(()),
        Some(fault) => Err(Refusal::new(Reason::InvalidPath, fault).final_word().by(Guard::InvalidPath)),
    }
}

/// Letters, digits, and marks that mean nothing to anybody; slashes with nothing special behind them.
fn is_plain(path: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_~!$&'()*+,;=:@".contains(&byte);
    let mut before = b'/';
    path.bytes().all(|byte| {
        let plain = harmless(byte) || (byte == b'.' && before != b'/');
        before = byte;
        plain
    })
}

fn fault(head: &RequestHeader, encoded_slash: EncodedSlash) -> Option<&'static str> {
    if head.method == Method::OPTIONS && head.raw_path() == b"*" {
        return Some("OPTIONS is answered for paths, not for the server as a whole");
    }
    if !head.raw_path_is_utf8() {
        return Some("the path is not UTF-8");
    }
    // Of none at all a slash would be sent.
    if !head.raw_path().starts_with(b"/") || head.uri.path().is_empty() {
        return Some("the request's target is no path");
    }
    let path = head.uri.path().as_bytes();
    let (mut whole, mut segment, mut at) = (Vec::with_capacity(path.len()), Vec::new(), 0);
    while at <= path.len() {
        let (byte, length) = decoded(&path[at..]);
        whole.extend(byte);
        match byte {
            Some(b'\\') => return Some("the path has a backslash, which some take for a slash"),
            Some(byte) if byte.is_ascii_control() => return Some("the path has a control character"),
            Some(b'/') | None => {
                if matches!(segment.as_slice(), b"." | b"..") {
                    return Some("the path has a segment of dots");
                }
                if length == ENCODED && encoded_slash == EncodedSlash::Refuse {
                    return Some("the path has an encoded slash (guards.encoded_slash lets those pass)");
                }
                segment.clear();
            }
            // What follows a semicolon some take for parameters of the segment, and drop.
            Some(b';') if matches!(segment.as_slice(), b"." | b"..") => return Some("the path has a segment of dots"),
            Some(byte) => segment.push(byte),
        }
        at += length;
    }
    // An overlong slash is one to old decoders.
    std::str::from_utf8(&whole).is_err().then_some("the path is not UTF-8")
}

/// Bytes of `%2F`.
const ENCODED: usize = 3;

/// The byte that stands there, and in how many it is written. None at the end.
fn decoded(path: &[u8]) -> (Option<u8>, usize) {
    let digit =
        |at: usize| path.get(at).and_then(|byte| char::from(*byte).to_digit(16)).and_then(|it| u8::try_from(it).ok());
    match (path.first(), digit(1), digit(2)) {
        (None, ..) => (None, 1),
        (Some(b'%'), Some(high), Some(low)) => (Some(high << 4 | low), ENCODED),
        (Some(byte), ..) => (Some(*byte), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str) -> RequestHeader {
        RequestHeader::build("GET", target.as_bytes(), None).unwrap()
    }

    fn is_refused(target: &str, encoded_slash: EncodedSlash) -> bool {
        check(&head(target), encoded_slash).is_err()
    }

    #[test]
    fn ordinary_paths_pass() {
        for target in [
            "/",
            "/v1/chat/completions",
            "//v1//models",
            "/a.b/c..d/.well-known/e",
            "/...",
            "/a%20b",
            "/%C3%A9",
            "/a%2e.b",
            "/_next/static/chunks/app.js?x=/../%00",
            "/@scope/name",
            "/a;b=c/d",
            "/100%",
            "/%zz",
            "/a%252fb",
            "/a.",
            "/é",
        ] {
            assert!(!is_refused(target, EncodedSlash::Refuse), "{target}");
        }
    }

    #[test]
    fn paths_that_mean_two_things_are_refused() {
        for target in [
            "/..",
            "/.",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/%2e%2e/b",
            "/.%2E/b",
            "/a/%2e",
            "/a%2f..%2fb",
            "/a%2F%2e%2e",
            "/..;x=1/b",
            "/a\\b",
            "/a%5cb",
            "/a%5C..",
            "/a%00",
            "/a%0d%0ab",
            "/%7f",
        ] {
            for encoded_slash in [EncodedSlash::Refuse, EncodedSlash::Pass] {
                assert!(is_refused(target, encoded_slash), "{target}");
            }
        }
        for target in ["", "?a", "*", "foo://a/b", "a/b"] {
            assert!(is_refused(target, EncodedSlash::Pass), "{target}");
        }
        assert!(is_refused("/a%2fb", EncodedSlash::Refuse) && is_refused("/a%2Fb", EncodedSlash::Refuse));
        assert!(!is_refused("/a%2fb", EncodedSlash::Pass));
    }

    #[test]
    fn a_target_with_a_host_becomes_a_path() {
        for (target, path) in [
            ("http://a.b/c?d", "/c?d"),
            ("HTTPS://a.b", "/"),
            ("http://a.b?c", "/?c"),
            ("http://a.b/http://c", "/http://c"),
            ("/c", "/c"),
            ("*", "*"),
        ] {
            let mut head = head(target);
            to_origin_form(&mut head).unwrap();
            assert_eq!(head.raw_path(), path.as_bytes(), "{target}");
            assert_eq!(head.headers.contains_key("host"), target.to_lowercase().starts_with("http"), "{target}");
        }
    }
}
