//! What holds of any stream, however it comes.

use proptest::prelude::*;

use super::tests::{ANTHROPIC, LITELLM, RESPONSES, run};
use super::*;

/// Streams of whole and torn events with every line end, the odd event too long to hold, and noise.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let event = prop_oneof![
        6 => prop::sample::select(
            [LITELLM, ANTHROPIC, RESPONSES].concat().split_inclusive("\n\n").map(str::to_owned).collect::<Vec<_>>()
        ),
        1 => Just(format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "y".repeat(20_000))),
        1 => "[a-z: \\r\\n]{0,12}",
        1 => Just("\u{feff}".to_owned()),
    ];
    let line_end = prop::sample::select(vec!["\n", "\r\n", "\r"]);
    prop::collection::vec((event, line_end), 0..12).prop_map(|events| {
        events.into_iter().map(|(event, end)| event.replace('\n', end)).collect::<String>().into_bytes()
    })
}

/// What stands in a string, or breaks it.
fn text() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "",
        "word ",
        "dünya",
        "42",
        "\\n",
        "\\\\",
        "\\\"",
        "\\u00fc",
        "\\",
        "\"",
        "\n",
        "\"}}",
        "\"}}]}\n\n",
        "\u{1}",
    ]);
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

/// An event before its text and behind it.
fn around() -> impl Strategy<Value = (String, String)> {
    let before = prop::sample::select(vec![
        "data: {\"choices\":[{\"delta\":{\"content\":\"",
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\",\"reasoning\":\"",
        "data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1},\"choices\":[{\"delta\":{\"content\":\"",
        "data: {\"choices\":[\ndata: {\"delta\":{\"content\":\"",
        "data: {\"choices\":[{\"finish_reason\":\"",
        "data: {\"choices\":[{\"text\":\"",
        "event: error\ndata: {\"delta\":{\"text\":\"",
        "\u{feff}data: {\"type\":\"message_stop\",\"delta\":\"",
        "data: {\"type\":\"",
        "data: ",
    ]);
    let behind = prop::sample::select(vec![
        "\"}}]}\n\n",
        "\"}}]}\r\n\r\n",
        "\"}}]}\r\r",
        "\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n",
        "\"}}],\"error\":{}}\ndata: x\n\n",
        "\"}\n: comment\n\n",
        "\n\n",
        "\"}}]}\n",
    ]);
    (before, behind).prop_map(|(before, behind)| (before.to_owned(), behind.to_owned()))
}

/// A value inside a document, and how much answer text there is in it.
fn value() -> impl Strategy<Value = (String, u64)> {
    let number = prop::sample::select(vec!["0", "-0.0123456789012345", "1e-7", "42", "null", "true", " 7 ", "\n\t3"]);
    let numbers = prop::collection::vec(number, 0..120).prop_map(|numbers| (format!("[{}]", numbers.join(",")), 0));
    let said = prop::sample::select(vec![
        ("", 0),
        ("dünya", 5),
        ("]}[{,:", 6),
        (r#"\"]"#, 2),
        (r"\\", 1),
        (r#"\\\"}"#, 3),
        (r"\u005d", 1),
        (r#",\"usage\":{"#, 10),
    ]);
    let leaf = prop_oneof![
        3 => numbers,
        2 => said.clone().prop_map(|(text, chars)| (format!(r#"{{"content":"{text}"}}"#), chars)),
        2 => said.prop_map(|(text, _)| (format!("\"{text}\""), 0)),
        1 => Just((r#"{"usage":{"prompt_tokens":99}}"#.to_owned(), 0)),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        (prop::collection::vec(inner, 0..6), any::<bool>()).prop_map(|(inner, object)| {
            let chars = inner.iter().map(|(_, chars)| chars).sum();
            let named = |(at, (text, _)): (usize, &(String, u64))| {
                if object { format!("\"key {at}\": {text}") } else { text.clone() }
            };
            let values = inner.iter().enumerate().map(named).collect::<Vec<_>>().join(",");
            (if object { format!("{{{values}}}") } else { format!("[{values}]") }, chars)
        })
    })
}

/// Of documents that are torn, or none.
const PARTS: [&str; 22] = [
    "{",
    "{",
    "[",
    "[",
    "}",
    "]",
    ",",
    ",",
    ":",
    "\"",
    "\\",
    "0",
    "-0.0123456789012345,0.0123456789012345,-0.0123456789012345,0.0123456789012345,",
    "null",
    " \n",
    "\"content\":\"a]\\\"\"",
    "\"error\":",
    "\"type\":\"x\"",
    "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":[1,2,3]}",
    "\"usage\":{\"input_tokens\":3,\"output_tokens\":1},",
    "\"response\":{",
    "\"text\":[1,2,\"y\"],",
];

fn answer(dialect: Dialect, pieces: &[&[u8]]) -> AnswerReport {
    let mut tap = AnswerTap::new(dialect);
    pieces.iter().for_each(|piece| tap.push(piece));
    tap.report()
}

fn cut<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_is_changed_where_nothing_is_stripped(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        for dialect in [Dialect::Chat, Dialect::Messages, Dialect::Responses] {
            let (out, report) = run(dialect, false, &cut(&stream, &cuts));
            prop_assert_eq!(&out, &stream);
            let (_, mut uncut) = run(dialect, false, &[&stream]);
            if stream.windows(4).any(|four| four == b"yyyy") {
                // An event too long to hold is only measured when it comes cut, and in dialects that are not its own.
                (uncut.said, uncut.said_since) = (report.said, report.said_since);
            }
            prop_assert_eq!(report, uncut);
        }
    }

    /// In pieces of a byte no event comes whole, so that none is held against the one before it.
    #[test]
    fn events_alike_are_read_as_if_none_were(
        texts in prop::collection::vec(text(), 1..12),
        around in around(),
        strip in any::<bool>(),
    ) {
        let (before, behind) = around;
        let stream: String = texts.iter().map(|text| format!("{before}{text}{behind}")).collect();
        for dialect in [Dialect::Chat, Dialect::Completions, Dialect::Messages, Dialect::Responses] {
            let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            prop_assert_eq!(run(dialect, strip, &[stream.as_bytes()]), run(dialect, strip, &bytes), "{:?}", dialect);
        }
    }

    #[test]
    fn what_is_stripped_does_not_depend_on_how_the_stream_was_cut(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let (out, report) = run(Dialect::Chat, true, &cut(&stream, &cuts));
        let (uncut, mut uncut_report) = run(Dialect::Chat, true, &[&stream]);
        if stream.windows(4).any(|four| four == b"yyyy") {
            (uncut_report.said, uncut_report.said_since) = (report.said, report.said_since);
        }
        prop_assert_eq!(&out, &uncut);
        prop_assert_eq!(report, uncut_report);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(run(Dialect::Chat, true, &bytes).0, uncut);
    }

    #[test]
    fn an_answer_is_read_however_it_is_cut(
        values in prop::collection::vec(value(), 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let data: Vec<&str> = values.iter().map(|(text, _)| text.as_str()).collect();
        let usage = r#""usage":{"prompt_tokens":8,"total_tokens":8}"#;
        let document = format!(r#"{{"object":"list","data":[{}],{usage}}}"#, data.join(", "));
        let report = answer(Dialect::Embeddings, &cut(document.as_bytes(), &cuts));
        prop_assert_eq!(report.usage, Some(Usage { input: 8, ..Usage::default() }), "{}", document);
        prop_assert_eq!(report.answer_chars, values.iter().map(|(_, chars)| chars).sum::<u64>(), "{}", document);
        prop_assert!(report.complete && !report.error);
    }

    /// In pieces of a byte there is nothing to be passed over at once.
    #[test]
    fn what_is_no_document_is_read_as_it_is_byte_by_byte(
        parts in prop::collection::vec(prop::sample::select(PARTS.to_vec()), 0..60),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let text = parts.concat();
        for dialect in [Dialect::Chat, Dialect::Messages, Dialect::Responses, Dialect::Embeddings] {
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            prop_assert_eq!(answer(dialect, &cut(text.as_bytes(), &cuts)), answer(dialect, &bytes), "{}", text);
        }
    }
}
