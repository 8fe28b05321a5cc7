//! What can be wrong with a body: its chunks, where it is cut into them, its text, its end, its usage.

use super::play::{END, Fault, Kind, Play, events, fault};

pub fn faults() -> Vec<Fault> {
    let mut faults = chunks();
    faults.extend(cuts());
    faults.extend(texts());
    faults.extend(ends());
    faults.extend(usages());
    faults
}

/// Chunked framing, sound up to the middle of the answer and then not.
fn chunks() -> Vec<Fault> {
    let broken = |name: &str, then: &'static [u8]| {
        fault(name, move |kind| {
            let answer = kind.usual();
            Play::new().send(kind.chunked_head()).chunks([&answer[..answer.len() / 2]]).send(then)
        })
    };
    let ended = |name: &str, end: &'static [u8]| {
        fault(name, move |kind| Play::new().send(kind.chunked_head()).chunks([kind.usual()]).send(end))
    };
    vec![
        broken("a chunk size that is no number", b"xyz\r\n"),
        broken("a negative chunk size", b"-5\r\n"),
        broken("a chunk size with a prefix", b"0x5\r\nhello\r\n"),
        broken("a chunk size beyond all numbers", b"ffffffffffffffffff\r\n"),
        broken("a chunk size without an end", &[b'1'; 8 << 10]),
        broken("an empty chunk size", b"\r\n"),
        broken("a chunk size with a bare line feed", b"5\n"),
        fault("a chunk longer than it says", |kind| {
            let answer = kind.usual();
            let (first, rest) = answer.split_at(answer.len() / 2);
            Play::new().send(kind.chunked_head()).send(format!("{:x}\r\n", first.len())).body(first).send(rest)
        }),
        fault("chunk extensions", |kind| {
            let answer = kind.usual();
            let size = format!("{:x};name=\"value\";other\r\n", answer.len());
            Play::new().send(kind.chunked_head()).send(size).body(answer).send("\r\n0;last\r\n\r\n")
        }),
        fault("chunk sizes in capitals with zeros before", |kind| {
            let answer = kind.usual();
            let size = format!("000{:X}\r\n", answer.len());
            Play::new().send(kind.chunked_head()).send(size).body(answer).send("\r\n000\r\n\r\n")
        }),
        ended("trailers", b"0\r\nx-checksum: 1\r\nserver-timing: db;dur=1\r\n\r\n"),
        ended("a trailer without an end", &[b'x'; 20 << 10]),
    ]
}

/// Sound answers, cut where a reader could stumble.
fn cuts() -> Vec<Fault> {
    let at = |mark: &'static str, offset: usize| {
        move |kind: Kind| {
            let answer = kind.usual();
            let text = String::from_utf8_lossy(&answer).into_owned();
            let cut = text.find(mark).expect("it is in the answer") + offset;
            Play::new().send(kind.chunked_head()).chunks([&answer[..cut], &answer[cut..]]).send(END)
        }
    };
    vec![
        fault("cut inside UTF-8", at("🦀", 2)),
        fault("cut inside data", at("scripted", 3)),
        fault("cut behind a backslash or a field's name", |kind| {
            let answer = match kind {
                Kind::Json => kind.answer("a \"quoted\" word"),
                Kind::Sse => kind.usual(),
            };
            let mark: &[u8] = if kind == Kind::Json { b"\\\"quoted" } else { b"data: {" };
            let cut = answer.windows(mark.len()).rposition(|window| window == mark).expect("it is there") + 1;
            Play::new().send(kind.chunked_head()).chunks([&answer[..cut], &answer[cut..]]).send(END)
        }),
        fault("cut inside a CRLF", |kind| {
            let answer = ending_lines_with(kind, "\r\n");
            let pieces: Vec<&[u8]> = answer.split_inclusive(|byte| *byte == b'\r').collect();
            Play::new().send(kind.chunked_head()).chunks(pieces).send(END)
        }),
        fault("line ends of CRLF", |kind| whole(kind, &ending_lines_with(kind, "\r\n"))),
        fault("line ends of CR", |kind| whole(kind, &ending_lines_with(kind, "\r"))),
        fault("byte by byte", |kind| {
            let answer = kind.usual();
            Play::new().send(kind.chunked_head()).chunks(answer.chunks(1)).send(END)
        }),
        fault("one chunk for all", |kind| whole(kind, &kind.usual())),
    ]
}

fn whole(kind: Kind, answer: &[u8]) -> Play {
    Play::new().send(kind.chunked_head()).chunks([answer]).send(END)
}

/// The usual answer with other line ends: between events, or behind a document's commas.
fn ending_lines_with(kind: Kind, end: &str) -> Vec<u8> {
    let text = String::from_utf8(kind.usual()).expect("text");
    match kind {
        Kind::Json => text.replace(",\"", &format!(",{end}\"")).into_bytes(),
        Kind::Sse => text.replace('\n', end).into_bytes(),
    }
}

fn texts() -> Vec<Fault> {
    let with = |from: &'static str, to: &'static [u8]| {
        move |kind: Kind| {
            let answer = kind.usual();
            let at = answer.windows(from.len()).position(|window| window == from.as_bytes()).expect("it is there");
            let changed = [&answer[..at], to, &answer[at + from.len()..]].concat();
            whole(kind, &changed)
        }
    };
    vec![
        fault("five megabytes of text", |kind| whole(kind, &kind.answer(&"five megabytes ".repeat(350_000)))),
        fault("broken UTF-8", with("scripted", b"scrip\xff\xfeted")),
        fault("half a surrogate", with("scripted", b"scrip\\ud83dted")),
        fault("a raw control character", with("scripted", b"scrip\x01ted")),
        fault("a byte order mark before it", |kind| whole(kind, &[b"\xEF\xBB\xBF", &kind.usual()[..]].concat())),
        fault("blank lines before it", |kind| whole(kind, &[b"\n\n\n", &kind.usual()[..]].concat())),
        fault("text that is no JSON", |kind| match kind {
            Kind::Json => whole(kind, b"I am sorry, I cannot do that."),
            Kind::Sse => whole(kind, &[b"data: I am sorry\n\n", &kind.usual()[..]].concat()),
        }),
        fault("an array", |kind| match kind {
            Kind::Json => whole(kind, b"[1,2,3]"),
            Kind::Sse => whole(kind, &[b"data: [1,2,3]\n\n", &kind.usual()[..]].concat()),
        }),
        fault("null", |kind| match kind {
            Kind::Json => whole(kind, b"null"),
            Kind::Sse => whole(kind, &[b"data: null\n\n", &kind.usual()[..]].concat()),
        }),
        fault("nested 2,000 deep", |kind| {
            let deep = format!(r#"{{"deep":{}{},"#, "[".repeat(2_000), "]".repeat(2_000));
            whole(kind, String::from_utf8(kind.usual()).expect("text").replacen('{', &deep, 1).as_bytes())
        }),
        fault("comments, ids and retries, or spaces", |kind| match kind {
            Kind::Json => whole(kind, &[b" \t\n", &kind.usual()[..], b" \r\n"].concat()),
            Kind::Sse => {
                let events = events(&kind.usual());
                whole(kind, &events.join(&b": ping\n\nid: 7\nretry: 9\n\n"[..]))
            }
        }),
        fault("data of several lines", |kind| {
            let text = String::from_utf8(kind.usual()).expect("text");
            let broken = if kind == Kind::Sse { ",\ndata: \"" } else { ",\n\"" };
            whole(kind, text.replace(",\"", broken).as_bytes())
        }),
    ]
}

/// The end of what is said: `data: [DONE]`, or the last brace of a document.
fn ends() -> Vec<Fault> {
    let last = |kind: Kind| if kind == Kind::Sse { "data: [DONE]\n\n" } else { "}" };
    let without = move |kind: Kind| {
        let answer = kind.usual();
        answer[..answer.len() - last(kind).len()].to_vec()
    };
    vec![
        fault("the last word missing", move |kind| whole(kind, &without(kind))),
        fault("the last word twice", move |kind| whole(kind, &[&kind.usual()[..], last(kind).as_bytes()].concat())),
        fault("the last word followed by more", move |kind| whole(kind, &[kind.usual(), kind.answer("more")].concat())),
        fault("the last word without a space or a line end", move |kind| {
            let end: &[u8] = if kind == Kind::Sse { b"data:[DONE]" } else { b"}" };
            whole(kind, &[&without(kind)[..], end].concat())
        }),
        fault("no blank line before the end", |kind| {
            let answer = kind.usual();
            let blank = if kind == Kind::Sse { 2 } else { 0 };
            Play::new().send(kind.head_with("")).body(&answer[..answer.len() - blank]).close()
        }),
        fault("no blank line before the end, cut", move |kind| {
            let begun = without(kind);
            let blank = if kind == Kind::Sse { 2 } else { 0 };
            Play::new().send(kind.head_with("")).body(&begun[..begun.len() - blank]).close()
        }),
        fault("nothing", |kind| Play::new().send(kind.chunked_head()).send(END)),
        fault("an empty document, or a lone last word", move |kind| {
            whole(kind, if kind == Kind::Sse { b"data: [DONE]\n\n" } else { b"{}" })
        }),
        fault("half a document, ended cleanly", |kind| {
            let answer = kind.usual();
            whole(kind, &answer[..answer.len() / 2])
        }),
    ]
}

fn usages() -> Vec<Fault> {
    let using = |name: &str, usage: &'static str| {
        fault(name, move |kind| kind.framed(&kind.answer_using("A scripted answer.", usage)))
    };
    let negative = r#"{"completion_tokens":-4,"prompt_tokens":-21,"total_tokens":-25}"#;
    let absurd = r#"{"completion_tokens":4e18,"prompt_tokens":99999999999999999999,"total_tokens":1e300}"#;
    let worded = r#"{"completion_tokens":"4","prompt_tokens":"21","total_tokens":"25"}"#;
    let zeros = r#"{"completion_tokens":0,"prompt_tokens":0,"total_tokens":0}"#;
    vec![
        using("usage null", "null"),
        using("usage empty", "{}"),
        using("usage negative", negative),
        using("usage absurd", absurd),
        using("usage in words", worded),
        using("usage of zeros", zeros),
        using("usage a number", "25"),
        using("usage with fractions", r#"{"completion_tokens":4.0,"prompt_tokens":21.0,"total_tokens":25}"#),
        fault("usage absent", |kind| {
            let text = String::from_utf8(kind.usual()).expect("text");
            let begin = text.rfind(",\"usage\":").expect("usage");
            let end = begin + text[begin..].find("}").expect("its end") + 1;
            kind.framed([&text[..begin], &text[end..]].concat().as_bytes())
        }),
        fault("usage in every chunk, or twice", |kind| {
            let counted = crate::harness::wire::chat_usage();
            let text = String::from_utf8(kind.usual()).expect("text");
            let early = r#""usage":{"completion_tokens":1,"prompt_tokens":21,"total_tokens":22},"created":1"#;
            let text = text.replace(r#""created":1"#, early);
            // The one that counts is the last.
            assert!(text.contains(&counted.to_string()));
            kind.framed(text.as_bytes())
        }),
    ]
}
