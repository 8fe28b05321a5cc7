//! `Forwarded` (RFC 7239), read from the right: what a proxy of ours has appended is understood whatever stands before
//! it, an open quote of the client's included.

/// What one proxy says of who asked it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// `for`: an address with or without a port, `unknown`, or a name of the proxy's own.
    pub node: Option<String>,
    pub proto: Option<String>,
    pub host: Option<String>,
}

/// The elements of one line, the last one first. None: one that is malformed, behind which nothing is to be believed.
pub fn from_right(line: &str) -> impl Iterator<Item = Option<Element>> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let (before, text) = last_element(rest?);
        rest = before;
        Some(element(text))
    })
}

/// The text behind the last comma that stands in no quotes, and what is before that comma.
fn last_element(line: &str) -> (Option<&str>, &str) {
    let mut end = line.len();
    while let Some(comma) = line[..end].rfind(',') {
        if is_balanced(&line[comma + 1..]) {
            return (Some(&line[..comma]), &line[comma + 1..]);
        }
        end = comma;
    }
    (None, line)
}

/// Whether no quotes begin or end in it alone. A backslash that stands in none tells that it does: what was escaped there
/// is no quote either, so that a comma in quotes is never taken for one between elements.
fn is_balanced(text: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
    !quoted
}

fn element(text: &str) -> Option<Element> {
    let mut element = Element::default();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = value(after)?;
        let place = match name {
            _ if name.eq_ignore_ascii_case("for") => Some(&mut element.node),
            _ if name.eq_ignore_ascii_case("proto") => Some(&mut element.proto),
            _ if name.eq_ignore_ascii_case("host") => Some(&mut element.host),
            _ if is_token(name) => None, // `by`, and extensions
            _ => return None,
        };
        if place.is_some_and(|place| place.replace(value).is_some()) {
            return None; // given twice
        }
        rest = match after.trim_start().strip_prefix(';') {
            Some(more) => more.trim_start(),
            None if after.trim().is_empty() => "",
            None => return None,
        };
    }
    Some(element)
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        let (token, after) = text.split_at(end);
        // Stricter readers want brackets and ports quoted; proxies that leave the quotes out are well understood.
        let allowed = |byte: u8| is_token_byte(byte) || b"[]:".contains(&byte);
        return (!token.is_empty() && token.bytes().all(allowed)).then(|| (token.to_owned(), after));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, letter) in quoted.char_indices() {
        match letter {
            _ if escaped => {
                value.push(letter);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((value, &quoted[at + 1..])),
            _ => value.push(letter),
        }
    }
    None
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(line: &str) -> Vec<Option<String>> {
        from_right(line).map(|element| element.map(|element| element.node.unwrap_or_default())).collect()
    }

    #[test]
    fn elements_are_read_as_the_standard_writes_them() {
        let line = r#"for="_gazonk", For="[2001:db8:cafe::17]:4711", for=192.0.2.60;proto=http;by=203.0.113.43"#;
        let elements: Vec<_> = from_right(line).flatten().collect();
        assert_eq!(elements.len(), 3);
        assert_eq!(elements[0].node.as_deref(), Some("192.0.2.60"));
        assert_eq!(elements[0].proto.as_deref(), Some("http"));
        assert_eq!(elements[1].node.as_deref(), Some("[2001:db8:cafe::17]:4711"));
        assert_eq!(elements[2].node.as_deref(), Some("_gazonk"));
        let quoted = from_right(r#"host="a\"b,c;d" ; proto=https"#).next().flatten().unwrap();
        assert_eq!((quoted.host.as_deref(), quoted.proto.as_deref()), (Some("a\"b,c;d"), Some("https")));
    }

    #[test]
    fn what_stands_left_cannot_swallow_what_was_appended() {
        for junk in [r#"for=""#, r#"for="a, for="#, "for=1.1.1.1;for=2.2.2.2", "=", ",", r#"x="\"#] {
            let line = format!("{junk}, for=198.51.100.1");
            assert_eq!(nodes(&line).first(), Some(&Some("198.51.100.1".to_owned())), "{line}");
        }
    }

    #[test]
    fn what_stands_in_quotes_divides_nothing() {
        for host in ["a,b", r#"a,b\"c"#, r#"a, for=6.6.6.6;b=\"c\""#, r"a\\, for=6.6.6.6", r#"\",\""#] {
            let line = format!(r#"for=6.6.6.6, for=198.51.100.1;host="{host}", for=10.0.0.7"#);
            let wanted = ["10.0.0.7", "198.51.100.1", "6.6.6.6"].map(|node| Some(node.to_owned()));
            assert_eq!(nodes(&line), wanted, "{line}");
        }
    }

    #[test]
    fn what_is_malformed_is_nothing() {
        for text in ["for", "for=", "for=a b", r#"for="a"b"#, "for=1.1.1.1;for=1.1.1.1", "f or=1", r#"for="a"#, "for=é"]
        {
            assert_eq!(nodes(text), [None], "{text}");
        }
    }
}
