//! What must not stand in a log though a client sent it where it does not belong: API keys in paths, values in queries.

use std::borrow::Cow;

/// How keys of ours, of LiteLLM and of most providers begin.
const BEGINNINGS: [&str; 2] = ["cfx_live_", "sk-"];
/// What follows is a key from so many characters on: shorter ones are no secret.
const SHORTEST: usize = 12;
const MASK: &str = "***";

/// The text with every API key in it cut down to how it begins.
pub(super) fn keys(text: &str) -> Cow<'_, str> {
    // Both beginnings have one of these; nearly every path has neither.
    if memchr::memchr2(b'_', b'-', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut masked = String::new();
    let (mut rest, mut looked_at) = (text, 0);
    while let Some((start, end)) = first_key(rest, looked_at) {
        masked.push_str(&rest[..start]);
        masked.push_str(MASK);
        rest = &rest[end..];
        looked_at = 0;
    }
    if masked.is_empty() && rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    masked.push_str(rest);
    Cow::Owned(masked)
}

/// From where to where the first secret part of a key reaches, looked for from `from` on.
fn first_key(text: &str, mut from: usize) -> Option<(usize, usize)> {
    loop {
        let found = BEGINNINGS.iter().filter_map(|beginning| {
            let at = from + text.get(from..)?.find(beginning)?;
            Some((at, at + beginning.len()))
        });
        let (begins, start) = found.min()?;
        let within_a_word = text[..begins].bytes().next_back().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let length = text[start..].bytes().take_while(|byte| is_of_a_key(*byte)).count();
        if !within_a_word && length >= SHORTEST {
            return Some((start, start + length));
        }
        from = start;
    }
}

fn is_of_a_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// A query with each value masked: `model=***&stream`. What has no `=` is a name, unless it looks like a key.
pub(super) fn query(query: &str) -> String {
    let mut masked = String::with_capacity(query.len());
    for (place, pair) in query.split('&').enumerate() {
        masked.push_str(if place == 0 { "" } else { "&" });
        let (name, value) = pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
        masked.push_str(&keys(name));
        if value.is_some() {
            masked.push('=');
            masked.push_str(MASK);
        }
    }
    masked
}

/// A URL of the configuration without what may let somebody in: user and password, and the values of its query.
pub fn url(url: &str) -> Cow<'_, str> {
    let (place, asked) = url.split_once('?').map_or((url, None), |(place, asked)| (place, Some(asked)));
    let (scheme, rest) = place.split_once("://").unwrap_or(("", place));
    let authority = rest.split('/').next().unwrap_or_default();
    let user = authority.rfind('@');
    if user.is_none() && asked.is_none() {
        return Cow::Borrowed(url);
    }
    let mask = if user.is_some() { MASK } else { "" };
    let asked = asked.map(|asked| format!("?{}", query(asked))).unwrap_or_default();
    Cow::Owned(format!("{scheme}://{mask}{}{asked}", &rest[user.unwrap_or_default()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_keep_nothing_that_lets_anybody_in() {
        assert_eq!(url("http://collector:4318/v1/traces"), "http://collector:4318/v1/traces");
        assert_eq!(url("http://ada:pass@collector:4318/v1/traces"), "http://***@collector:4318/v1/traces");
        assert_eq!(url("https://a:p@b@c/d@e?token=secret&f=g"), "https://***@c/d@e?token=***&f=***");
        assert_eq!(url("https://c/d@e?token=secret"), "https://c/d@e?token=***");
    }

    const KEY: &str = "cfx_live_UZ2k8HP2zGndAbCdEfGhIjKlMnOpQrStUvWxYz0123456789AB";

    #[test]
    fn keys_are_masked_wherever_they_stand() {
        assert_eq!(keys(&format!("/v1/{KEY}/chat")), "/v1/cfx_live_***/chat");
        assert_eq!(keys("/sk-proj-abcdefghijkl"), "/sk-***");
        assert_eq!(keys(&format!("{KEY} {KEY}")), "cfx_live_*** cfx_live_***");
        assert_eq!(keys(&format!("/a-b/task-{KEY}")), "/a-b/task-cfx_live_***");
    }

    #[test]
    fn other_words_stay_as_they_are() {
        for text in ["", "/v1/chat/completions", "/task-management-and-more", "/sk-short", "/cfx_live_", "/ä-ö_ü"] {
            assert!(matches!(keys(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(keys("/sk-sk-sk-ä/sk-abcdefghijklm"), "/sk-sk-sk-ä/sk-***");
    }

    #[test]
    fn of_a_query_the_names_are_left() {
        assert_eq!(query("token=abc&page=2&flag&=x&a=b=c"), "token=***&page=***&flag&=***&a=***");
        assert_eq!(query(KEY), "cfx_live_***");
        assert_eq!(query(""), "");
    }
}
