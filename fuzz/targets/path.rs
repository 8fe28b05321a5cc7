//! A request's target, behind a byte that chooses the method. What passes reads alike to every reader that we know the
//! habits of: decoded or not, with backslashes taken for slashes, with parameters cut off; and is sent as it was looked at.

use cfx::config::{EncodedSlash, matched_path};
use cfx::proxy::path::{check, to_origin_form};
use pingora::http::RequestHeader;

pub fn target(bytes: &[u8]) {
    let Some((how, target)) = bytes.split_first() else { return };
    let method = ["GET", "POST", "OPTIONS"][usize::from(how % 3)];
    // No head with one of these in its target comes as far as this.
    if target.iter().any(|byte| *byte <= b' ' || *byte == 127 || *byte == b'#') {
        return;
    }
    let Ok(mut head) = RequestHeader::build(method, target, None) else { return };
    if to_origin_form(&mut head).is_err() {
        return;
    }
    let [strict, passing] = [EncodedSlash::Refuse, EncodedSlash::Pass].map(|slash| check(&head, slash).is_ok());
    assert!(passing || !strict, "it passes where less does");
    if !passing {
        return;
    }
    let sent = head.raw_path().split(|byte| *byte == b'?').next().unwrap_or_default();
    let path = head.uri.path();
    assert_eq!(sent, path.as_bytes(), "one path is looked at, another sent");
    assert!(path.starts_with('/'), "{path}");

    let decoded = decoded(sent);
    assert!(!decoded.iter().any(u8::is_ascii_control) && !decoded.contains(&b'\\'), "{path}");
    for read in [sent, &decoded] {
        let mut segments = read.split(|byte| *byte == b'/');
        let is_dots = |segment: &[u8]| matches!(segment.split(|byte| *byte == b';').next(), Some(b"." | b".."));
        assert!(!segments.any(is_dots), "{path} leads elsewhere");
    }
    let normal = matched_path(path);
    assert!(!normal.contains("//") && matched_path(&normal) == normal);
    assert!(passes(method, normal.as_bytes(), EncodedSlash::Pass), "{path} is matched as {normal}");
    if strict {
        let slashes = |path: &[u8]| path.iter().filter(|byte| **byte == b'/').count();
        assert_eq!(slashes(&decoded), slashes(sent), "{path} has a slash that not everybody sees");
        assert!(passes(method, &encoded(&decoded), EncodedSlash::Refuse), "{path} does not pass as it is read");
    }
}

fn passes(method: &str, target: &[u8], slash: EncodedSlash) -> bool {
    RequestHeader::build(method, target, None).is_ok_and(|head| check(&head, slash).is_ok())
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(path.len()), path);
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|digits| byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let written = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(written.unwrap_or(byte));
        rest = if written.is_some() { &behind[2..] } else { behind };
    }
    decoded
}

/// All but slashes, letters and digits in percents.
fn encoded(path: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(path.len() * 3);
    for byte in path {
        match byte {
            b'/' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => encoded.push(*byte),
            _ => encoded.extend(format!("%{byte:02X}").bytes()),
        }
    }
    encoded
}
