//! What can be wrong with a head, and what looks wrong and is not.

use super::play::{END, Fault, INNER, Kind, Play, fault};

pub fn faults() -> Vec<Fault> {
    let mut faults = interim();
    faults.extend(lengths());
    faults.extend(lines());
    faults.extend(versions());
    faults
}

fn interim() -> Vec<Fault> {
    let behind = |interim: String| move |kind: Kind| prefixed(&interim, kind);
    vec![
        fault("100 before the head", behind("HTTP/1.1 100 Continue\r\n\r\n".into())),
        fault("103 before the head", behind("HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n".into())),
        fault("a hundred interim heads", behind("HTTP/1.1 102 Processing\r\n\r\n".repeat(100))),
        fault("101", |_| {
            Play::new().send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        }),
    ]
}

/// The usual answer with these bytes before its head.
fn prefixed(bytes: &str, kind: Kind) -> Play {
    let answer = kind.usual();
    Play::new().send(format!("{bytes}{}", kind.chunked_head())).chunks([answer]).send(END)
}

/// The usual answer in one piece, under a head with these lines.
fn under(lines: &str, kind: Kind) -> Play {
    Play::new().send(kind.head_with(lines)).body(kind.usual())
}

fn lengths() -> Vec<Fault> {
    let length = |kind: Kind| kind.usual().len();
    vec![
        fault("two lengths that differ", move |kind| {
            under(&format!("content-length: {}\r\ncontent-length: 7\r\n", length(kind)), kind)
        }),
        fault("two lengths that agree", move |kind| {
            under(&format!("content-length: {0}\r\ncontent-length: {0}\r\n", length(kind)), kind)
        }),
        fault("a list of lengths", move |kind| under(&format!("content-length: {0}, {0}\r\n", length(kind)), kind)),
        fault("a length that is no number", |kind| under("content-length: 12abc\r\n", kind)),
        fault("a negative length", |kind| under("content-length: -1\r\n", kind)),
        fault("a length with a plus sign", move |kind| under(&format!("content-length: +{}\r\n", length(kind)), kind)),
        fault("a length beyond all numbers", |kind| under("content-length: 99999999999999999999999\r\n", kind)),
        fault("a length of zero", |kind| Play::new().send(kind.head_with("content-length: 0\r\n"))),
        fault("a length and chunks", |kind| {
            let head = kind.head_with("content-length: 7\r\ntransfer-encoding: chunked\r\n");
            Play::new().send(head).chunks([kind.usual()]).send(END)
        }),
        fault("length too long", move |kind| under(&format!("content-length: {}\r\n", length(kind) + 7), kind).close()),
        fault("length too short", move |kind| {
            let answer = kind.usual();
            let (said, more) = answer.split_at(answer.len() - 40);
            let head = kind.head_with(&format!("content-length: {}\r\n", said.len()));
            // A stream says in-band that it is cut. Of a document the last of the promised bytes is what is held back.
            let begun = Play::new().send(head);
            (if kind == Kind::Sse { begun.body(said) } else { begun.send(said) }).send(more)
        }),
        fault("length too short by what is no part of it", move |kind| {
            under(&format!("content-length: {}\r\n", length(kind)), kind).send("\n\n\n")
        }),
    ]
}

fn lines() -> Vec<Fault> {
    let whole = |lines: &'static str| {
        move |kind: Kind| {
            let head = kind.head_with(&format!("{lines}transfer-encoding: chunked\r\n"));
            Play::new().send(head).chunks([kind.usual()]).send(END)
        }
    };
    vec![
        fault("not HTTP", |_| Play::new().send("SSH-2.0-OpenSSH_9.2\r\n").close()),
        fault("a body without a head", |kind| Play::new().send(kind.usual()).close()),
        fault("a head of 70 KB", |kind| {
            under(&format!("x-long: {}\r\ncontent-length: {}\r\n", "x".repeat(70 << 10), kind.usual().len()), kind)
        }),
        fault("a head of 200 lines", |kind| {
            under(&format!("{}content-length: {}\r\n", "x-more: 1\r\n".repeat(200), kind.usual().len()), kind)
        }),
        fault("a head of 30 KB", |kind| {
            kind.framed_with(&format!("x-long: {}\r\n", "x".repeat(30 << 10)), &kind.usual())
        }),
        fault("a line without a colon", whole("this is no header\r\n")),
        fault("a folded line", whole("x-folded: one\r\n two\r\n")),
        fault("a NUL in a line", whole("x-nul: a\0b\r\n")),
        fault("a head with bare line feeds", |kind| {
            let head = kind.chunked_head().replace("\r\n", "\n");
            Play::new().send(head).chunks([kind.usual()]).send(END)
        }),
        fault("a head byte by byte", |kind| {
            let head = kind.chunked_head();
            let begun = head.as_bytes().chunks(1).fold(Play::new(), |play, byte| play.send(byte));
            begun.chunks([kind.usual()]).send(END)
        }),
        fault("transfer coding gzip", |kind| {
            Play::new().send(kind.head_with("transfer-encoding: gzip, chunked\r\n")).send(END).close()
        }),
        fault("chunked twice", |kind| {
            let head = kind.head_with("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n");
            Play::new().send(head).chunks([kind.usual()]).send(END)
        }),
        fault("gzip-encoded", |kind| kind.framed_with("content-encoding: gzip\r\n", b"\x1f\x8b\x08\0inner words\0")),
        fault("`content-encoding: identity`", whole("content-encoding: identity\r\n")),
        fault("no content type", |kind| {
            let lines = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", kind.usual().len());
            Play::new().send(lines).body(kind.usual())
        }),
        fault("a cookie and headers of its own", whole("set-cookie: a=b\r\nx-inner: 10.0.0.7\r\n")),
    ]
}

fn versions() -> Vec<Fault> {
    let under = |version: &'static str, lines: &'static str| {
        move |kind: Kind| {
            let lines =
                if lines.is_empty() { format!("content-length: {}\r\n", kind.usual().len()) } else { lines.into() };
            Play::new().send(format!("{version} 200 OK\r\n{}{lines}\r\n", kind.content_type()))
        }
    };
    vec![
        fault("HTTP/1.0", move |kind| under("HTTP/1.0", "")(kind).body(kind.usual()).close()),
        fault("HTTP/1.0, kept alive", move |kind| {
            let lines = format!("connection: keep-alive\r\ncontent-length: {}\r\n", kind.usual().len());
            Play::new().send(format!("HTTP/1.0 200 OK\r\n{}{lines}\r\n", kind.content_type())).body(kind.usual())
        }),
        fault("HTTP/1.0 in chunks", move |kind| {
            under("HTTP/1.0", "transfer-encoding: chunked\r\n")(kind).chunks([kind.usual()]).send(END).close()
        }),
        fault("HTTP/2 in the status line", move |kind| under("HTTP/2", "")(kind).send(INNER).close()),
        fault("HTTP/3.0 in the status line", move |kind| under("HTTP/3.0", "")(kind).send(INNER).close()),
    ]
}
