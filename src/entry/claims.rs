//! The headers in which somebody in front of an application says who asked, how and for what: their names, in one place,
//! for those who read them, drop them and set them.

use http::HeaderName;
use http::header::FORWARDED;

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// What stands before the prefix that was cut off, for an application that builds addresses of its own.
pub const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
pub const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
pub const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Other names under which proxies and CDNs name the client. cfx tells it under its own, so nobody's are passed on.
const OF_THE_CLIENT: [HeaderName; 7] = [
    FORWARDED,
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("cf-connecting-ipv6"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-cluster-client-ip"),
    HeaderName::from_static("fastly-client-ip"),
];

/// Families of names: all that proxies say of a request they passed on, and what they made of its target.
const FAMILIES: [&str; 3] = ["x-forwarded-", "x-original-", "x-rewrite-"];

/// What stands in no family.
const ALONE: [&str; 6] = ["x-real-ip", "x-forwarded", "x-host", "x-scheme", "x-url-scheme", "front-end-https"];

/// Whether a header names the client in a way that cfx has its own for.
pub fn names_the_client(name: &HeaderName) -> bool {
    OF_THE_CLIENT.contains(name)
}

/// Whether an application may take a header for a proxy's word. From anybody but a proxy it is a lie.
pub fn is_a_proxys_word(name: &HeaderName) -> bool {
    let text = name.as_str();
    FAMILIES.iter().any(|family| text.starts_with(family)) || ALONE.contains(&text) || names_the_client(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_word_is_told_from_what_a_client_may_say() {
        let word = |name: &'static str| is_a_proxys_word(&HeaderName::from_static(name));
        for name in ["x-forwarded-port", "x-forwarded-server", "x-original-url", "x-original-host", "x-rewrite-url"] {
            assert!(word(name), "{name}");
        }
        assert!(word("forwarded") && word("x-real-ip") && word("true-client-ip"));
        for name in ["x-requested-with", "x-origin", "host", "origin", "x-real", "forward"] {
            assert!(!word(name), "{name}");
        }
    }
}
