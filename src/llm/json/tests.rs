use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn scan(bytes: &[u8]) -> Result<(), JsonError> {
    check_utf8(bytes)?;
    let mut scanner = Scanner::new(bytes);
    scanner.skip()?;
    scanner.finish()
}

fn message(text: &str) -> String {
    let error = scan(text.as_bytes()).expect_err("should be refused");
    let (line, column) = error.place(text.as_bytes());
    format!("{line}:{column} {}", error.what)
}

/// Any JSON value, with the strings and numbers that parsers differ over.
pub(in crate::llm) fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        1 => Just(serde_json::Value::Null),
        1 => any::<bool>().prop_map(Into::into),
        1 => any::<i64>().prop_map(Into::into),
        1 => any::<f64>().prop_map(Into::into),
        3 => "[\\PC\\x00-\\x1f\"\\\\]{0,24}".prop_map(Into::into),
        1 => "([a-z]|[\"\\\\/\n\t\u{8}\u{1}é]){30,300}".prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec(("[a-z\"\\\\é]{0,6}", inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_serde_json_writes_is_accepted(value in json_value(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(scan(text.as_bytes()), Ok(()));
    }

    #[test]
    fn damaged_documents_are_judged_as_serde_json_judges_them(
        value in json_value(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..4),
    ) {
        let mut bytes = serde_json::to_vec(&value).unwrap();
        for (at, byte, edit) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            let byte = b"{}[],:\"\\u0e+-.tfn 1\n\x01\xC3"[usize::from(byte) % 22];
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        let expected = std::str::from_utf8(&bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        prop_assert_eq!(scan(&bytes).is_ok(), expected, "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn strings_say_what_serde_json_says(text in "[\\PC\\x00-\\x1f\"\\\\]{0,40}") {
        let written = serde_json::to_string(&text).unwrap();
        let mut scanner = Scanner::new(written.as_bytes());
        let read = scanner.text().unwrap();
        prop_assert_eq!(&read.unescape(), &text);
        prop_assert!(read.is(&text));
        prop_assert_eq!(read.span(), Span { start: 0, end: written.len() });
        let mut ours = vec![b'"'];
        write_escaped(&mut ours, &text);
        ours.push(b'"');
        prop_assert_eq!(serde_json::from_slice::<String>(&ours).unwrap(), text);
    }

    /// Runs of backslashes, quotes and broken escapes, across the edges of blocks.
    #[test]
    fn long_strings_end_where_serde_json_ends_them(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "\\", "\\\\", "\"", "\\\"", "n", "\\n", "\\u00e9", "\\u12", "\\x", "\n", "é", "plain text, fifteen",
                "\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\", "a line of sixty-four bytes, so that blocks begin at odd places......",
            ]),
            0..40,
        ),
        padding in 0_usize..70,
    ) {
        let text = format!("[\"{}{}\",1]", "x".repeat(padding), parts.concat());
        let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
        prop_assert_eq!(scan(text.as_bytes()).is_ok(), expected, "{}", text);
        if expected {
            let mut scanner = Scanner::new(text.as_bytes());
            let mut open = scanner.array().unwrap();
            scanner.element(&mut open).unwrap();
            let read = scanner.text().unwrap();
            prop_assert_eq!(read.is_escaped(), read.raw().contains(&b'\\'));
        }
    }

    #[test]
    fn the_first_special_byte_is_found(bytes in prop::collection::vec(any::<u8>(), 0..64), at in 0_usize..64) {
        let at = at.min(bytes.len());
        let plain = bytes[at..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
        prop_assert_eq!(find_special(&bytes, at), plain.map_or(bytes.len(), |found| at + found));
    }
}

#[test]
fn what_nests_is_found_at_every_offset_and_nothing_else_is_taken_for_it() {
    for byte in 0..=u8::MAX {
        for offset in 0..150 {
            let mut bytes = [b'1'; 150];
            bytes[offset] = byte;
            // What comes behind the first makes no difference to it.
            bytes[149] = b']';
            let first = if b"\"{}[]".contains(&byte) { offset } else { 149 };
            assert_eq!(find_nesting(&bytes, 0), first, "{byte:#x} at {offset}");
            assert_eq!(find_nesting(&bytes, offset), first.max(offset), "{byte:#x} at {offset}");
            let behind = find_nesting(&bytes, offset + 1);
            assert_eq!(behind, if offset == 149 { 150 } else { 149 }, "behind {byte:#x} at {offset}");
        }
    }
}

#[test]
fn problems_name_line_column_and_cause() {
    for (text, expected) in [
        ("", "1:1 unexpected end"),
        ("nul", "1:1 expected a value"),
        ("{\"a\":1,\n \"b\" 2}", "2:6 expected `:`"),
        ("{\"a\":1,}", "1:8 expected a key"),
        ("[1,]", "1:4 expected a value"),
        ("[1 2]", "1:4 expected `,` or `]`"),
        ("{\"a\":1]", "1:7 expected `,` or `}`"),
        ("[01]", "1:2 malformed number"),
        ("[-]", "1:2 malformed number"),
        ("[1.]", "1:2 malformed number"),
        ("[NaN]", "1:2 expected a value"),
        ("[\"\t\"]", "1:3 a control character must be escaped"),
        ("[\"\\x\"]", "1:3 unknown escape"),
        ("[\"\\u12g4\"]", "1:3 an escape must have four hexadecimal digits"),
        ("[\"abc", "1:6 unterminated string"),
        ("{\"a\":1} x", "1:9 unexpected text after the end"),
        ("\u{feff}{}", "1:1 expected a value"),
        ("{\"a\": ", "1:7 unexpected end"),
    ] {
        assert_eq!(message(text), expected, "{text:?}");
    }
    let error = scan(b"[\"ab\xFF\"]").unwrap_err();
    assert_eq!((error.offset, error.what), (4, "the text is not UTF-8"));
}

#[test]
fn numbers_of_any_size_and_lone_surrogates_pass() {
    for text in ["1e400", "-0", "123456789012345678901234567890.5E-9999", "\"\\ud83d\"", "\"\\/\""] {
        assert_eq!(scan(text.as_bytes()), Ok(()), "{text}");
    }
}

#[test]
fn nesting_ends_at_256_however_deep_the_document_goes() {
    let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
    assert_eq!(scan(&nested(MAX_DEPTH)), Ok(()));
    for depth in [257, 10_000, 1_000_000] {
        let error = scan(&nested(depth)).unwrap_err();
        assert_eq!((error.offset, error.what), (256, "nested more than 256 deep"));
    }
    let mixed = format!("{}1{}", "{\"a\":[".repeat(128), "]}".repeat(128));
    assert_eq!(scan(mixed.as_bytes()), Ok(()));
    assert!(scan(format!("[{mixed}]").as_bytes()).is_err());
}

#[test]
fn members_and_elements_are_walked_in_order() {
    let text = br#" { "a" : [1, {"x":[]}, "s"] , "mod\u0065l":"m", "e":{}, "f":[ ] } "#;
    let mut scanner = Scanner::new(text);
    let mut object = scanner.object().unwrap();
    assert!(scanner.member(&mut object).unwrap().unwrap().is("a"));
    let mut array = scanner.array().unwrap();
    let mut kinds = Vec::new();
    while scanner.element(&mut array).unwrap() {
        kinds.push(scanner.kind().unwrap());
        scanner.skip().unwrap();
    }
    assert_eq!(kinds, [Kind::Number, Kind::Object, Kind::String]);
    let key = scanner.member(&mut object).unwrap().unwrap();
    assert!(key.is("model") && !key.is("mod\\u0065l"));
    assert_eq!(scanner.text().unwrap().span().of(text), b"\"m\"");
    for (name, kind) in [("e", Kind::Object), ("f", Kind::Array)] {
        assert!(scanner.member(&mut object).unwrap().unwrap().is(name));
        assert_eq!(scanner.kind().unwrap(), kind);
        scanner.skip().unwrap();
    }
    assert!(scanner.member(&mut object).unwrap().is_none());
    assert_eq!(scanner.finish(), Ok(()));
}
