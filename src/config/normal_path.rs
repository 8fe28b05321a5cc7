//! Paths that say the same, written alike.
//!
//! Applications decode `%61` and see an `a`: were routes matched by the letters as they came, `/%61dmin` would go past
//! the guards of `/admin` by the route of `/`, and be served as `/admin` all the same.

use std::borrow::Cow;

/// As RFC 3986, 6.2.2 has it: letters, digits and `-._~` stand for themselves, whatever else is encoded has its digits in
/// capitals, what is not ASCII is encoded, a lone `%` too. Several slashes side by side are one, for a base URL with a trailing slash
/// gives `//models`. To every reader this is the same path.
pub fn normal_path(path: &str) -> Cow<'_, str> {
    written(path, is_unreserved)
}

/// As routes are matched: marks such as `@` and `(` stand for themselves as well. To a strict reader `%40` and `@` may
/// differ; few applications read so strictly, and what differs to none of them must find one route. Encoded stay what
/// ends a path or begins another segment (`/`, `?`, `#`, `%`, a backslash), and what cannot stand in a path at all. What
/// follows a semicolon in a segment is not part of it: servers that take it for parameters serve `/admin;x` as `/admin`.
pub fn matched_path(path: &str) -> Cow<'_, str> {
    let stands_for_itself =
        |octet: u8| octet.is_ascii_graphic() && !b"/?#%\\".contains(&octet) && !is_in_no_path(octet);
    let path = written(path, stands_for_itself);
    if !path.contains(';') {
        return path;
    }
    let segments = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    // Once more: a segment of parameters alone leaves two slashes side by side.
    Cow::Owned(written(&segments.collect::<Vec<_>>().join("/"), stands_for_itself).into_owned())
}

fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~".contains(&octet)
}

/// Marks that no request's target has but encoded. In a route's path they are taken as if they were.
fn is_in_no_path(octet: u8) -> bool {
    b"<>`".contains(&octet)
}

fn written(path: &str, stands_for_itself: impl Fn(u8) -> bool) -> Cow<'_, str> {
    let mut before = 0;
    let is_normal = path.bytes().all(|byte| {
        let normal = byte.is_ascii() && byte != b'%' && !is_in_no_path(byte) && (byte != b'/' || before != b'/');
        before = byte;
        normal
    });
    if is_normal {
        return Cow::Borrowed(path);
    }
    let mut normal = String::with_capacity(path.len() + 16);
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match (*first, encoded(behind)) {
            (b'%', Some((octet, behind))) => {
                rest = behind;
                if stands_for_itself(octet) { normal.push(char::from(octet)) } else { encode(octet, &mut normal) }
            }
            (b'%', None) => encode(b'%', &mut normal),
            (b'/', _) if normal.ends_with('/') => {}
            (byte, _) if byte.is_ascii() && !is_in_no_path(byte) => normal.push(char::from(byte)),
            (byte, _) => encode(byte, &mut normal),
        }
    }
    Cow::Owned(normal)
}

/// The octet that two digits stand for, and what is behind them.
fn encoded(digits: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, behind) = digits.split_first_chunk::<2>()?;
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    Some((high? << 4 | low?, behind))
}

fn encode(octet: u8, path: &mut String) {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0').to_ascii_uppercase();
    path.extend(['%', digit(octet >> 4), digit(octet & 0xf)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_say_the_same_are_written_alike() {
        for (path, normal, matched) in [
            ("/v1/models", "/v1/models", "/v1/models"),
            ("//v1///models/", "/v1/models/", "/v1/models/"),
            ("/%61dmin", "/admin", "/admin"),
            ("/adm%69n/%7e", "/admin/~", "/admin/~"),
            ("/%41dmin", "/Admin", "/Admin"),
            ("/é", "/%C3%A9", "/%C3%A9"),
            ("/%c3%a9", "/%C3%A9", "/%C3%A9"),
            ("/a%20b", "/a%20b", "/a%20b"),
            ("/%40scope", "/%40scope", "/@scope"),
            ("/%28a%29", "/%28a%29", "/(a)"),
            ("/a%2fb", "/a%2Fb", "/a%2Fb"),
            ("/a%3fb", "/a%3Fb", "/a%3Fb"),
            ("/a%3e%3c%60", "/a%3E%3C%60", "/a%3E%3C%60"),
            ("/a><`", "/a%3E%3C%60", "/a%3E%3C%60"),
            ("/admin;x=1/a;b;c", "/admin;x=1/a;b;c", "/admin/a"),
            ("/admin%3Bx", "/admin%3Bx", "/admin"),
            ("/;x/admin", "/;x/admin", "/admin"),
            ("/%2561dmin", "/%2561dmin", "/%2561dmin"),
            ("/100%", "/100%25", "/100%25"),
            ("/%zz%6", "/%25zz%256", "/%25zz%256"),
        ] {
            assert_eq!((&*normal_path(path), &*matched_path(path)), (normal, matched), "{path}");
        }
        assert!(matches!(matched_path("/v1/models"), Cow::Borrowed(_)));
    }
}
