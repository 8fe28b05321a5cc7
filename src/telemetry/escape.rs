//! Text from outside, made fit for one line of a log. Whatever a client sends, it can neither begin a new line nor
//! move a terminal's cursor nor turn the reading direction.

/// Longer texts are cut: a log line is to be read, and a client must not fill the disk with one.
const LONGEST: usize = 2_048;

/// Appends `text` as a JSON string, quotes included.
pub(super) fn json_string(out: &mut String, text: &str) {
    out.push('"');
    let (kept, cut) = shortened(text);
    push(out, kept, |out, character| match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        other => push_units(out, other),
    });
    if cut {
        out.push('…');
    }
    out.push('"');
}

/// Appends `text` as it stands, with `\u….` in place of what a terminal would act on.
pub(super) fn plain(out: &mut String, text: &str) {
    let (kept, cut) = shortened(text);
    push(out, kept, |out, character| match character {
        '"' | '\\' => out.push(character),
        other => push_units(out, other),
    });
    if cut {
        out.push('…');
    }
}

/// Copies runs that need no escape as they are, and hands every other character to `escape`.
fn push(out: &mut String, text: &str, escape: impl Fn(&mut String, char)) {
    // Nearly every path and host is plain ASCII: one pass over the bytes, one copy.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        return out.push_str(text);
    }
    for character in text.chars() {
        if character == '"' || character == '\\' || acts_on_a_terminal(character) {
            escape(out, character);
        } else {
            out.push(character);
        }
    }
}

/// Controls of ASCII and of Latin-1 (0x9b begins a terminal sequence), line and paragraph separators, and the marks
/// that reorder text or hide in it.
fn acts_on_a_terminal(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `\u` and four hexadecimal digits. All that is escaped lies below U+10000, where one unit is one character.
fn push_units(out: &mut String, character: char) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    out.push_str("\\u");
    for unit in character.encode_utf16(&mut [0; 2]) {
        for shift in [12, 8, 4, 0] {
            out.push(DIGITS[usize::from(*unit >> shift & 0xf)]);
        }
    }
}

fn shortened(text: &str) -> (&str, bool) {
    if text.len() <= LONGEST {
        return (text, false);
    }
    let end = text.floor_char_boundary(LONGEST);
    (&text[..end], true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = String::new();
        json_string(&mut out, text);
        out
    }

    #[test]
    fn what_would_break_the_line_is_escaped() {
        assert_eq!(quoted("/v1/models"), r#""/v1/models""#);
        assert_eq!(quoted("a\nb\0c\"d\\e\u{1b}[31m"), r#""a\u000ab\u0000c\"d\\e\u001b[31m""#);
        assert_eq!(quoted("\u{9b}31m \u{202e}x\u{2028}"), r#""\u009b31m \u202ex\u2028""#);
        assert_eq!(quoted("grün 日本 🦀"), r#""grün 日本 🦀""#);
        let mut out = String::new();
        plain(&mut out, "a\nb\"c\u{1b}");
        assert_eq!(out, r#"a\u000ab"c\u001b"#);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let cut = quoted(&"ü".repeat(5_000));
        assert!(cut.ends_with("ü…\"") && cut.len() < LONGEST + 8);
    }
}
