//! What the connection does: it is refused, closed, reset or silent, at each place of an answer; or it answers too soon.

use super::play::{END, Fault, Kind, Play, fault, head, json_answer};

pub fn faults() -> Vec<Fault> {
    let mut faults = before_the_head();
    faults.extend(behind_the_head());
    faults.extend(silences());
    faults.extend(too_soon());
    faults
}

fn before_the_head() -> Vec<Fault> {
    let half_a_head = "HTTP/1.1 200 OK\r\ncontent-ty";
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    vec![
        fault("connection refused", |_| Play::new()).down(),
        fault("closed before the head", |_| Play::new().close()),
        fault("reset before the head", |_| Play::new().reset()),
        fault("closed mid-head", move |_| Play::new().send(half_a_head).close()),
        fault("reset mid-head", move |_| Play::new().send(half_a_head).reset()),
        fault("closed behind an interim answer", move |_| Play::new().send(hint).close()),
    ]
}

fn behind_the_head() -> Vec<Fault> {
    let half = |kind: Kind| kind.usual()[..kind.usual().len() / 2].to_vec();
    let begun = move |kind: Kind| Play::new().send(kind.chunked_head()).chunks([half(kind)]);
    let whole = |kind: Kind| Play::new().send(kind.chunked_head()).chunks([kind.usual()]);
    vec![
        fault("closed behind the head", |kind| Play::new().send(kind.chunked_head()).close()),
        fault("reset behind the head", |kind| Play::new().send(kind.chunked_head()).reset()),
        fault("closed between two chunks", move |kind| begun(kind).close()),
        fault("reset between two chunks", move |kind| begun(kind).reset()),
        fault("closed inside a chunk", move |kind| begun(kind).send("ff\r\n").body("data: {\"ch").close()),
        fault("closed inside a chunk's size", move |kind| begun(kind).send("f").close()),
        fault("closed before the last chunk", move |kind| whole(kind).close()),
        fault("reset before the last chunk", move |kind| whole(kind).reset()),
        fault("closed inside the last chunk", move |kind| whole(kind).send("0\r\n").close()),
        fault("closed behind half of its length", move |kind| {
            let lines = format!("content-length: {}\r\n", kind.usual().len());
            Play::new().send(kind.head_with(&lines)).body(half(kind)).close()
        }),
        fault("reset behind half of its length", move |kind| {
            let lines = format!("content-length: {}\r\n", kind.usual().len());
            Play::new().send(kind.head_with(&lines)).body(half(kind)).reset()
        }),
        fault("framed by its close, and cut", move |kind| {
            Play::new().send(kind.head_with("")).body(half(kind)).close()
        }),
        fault("framed by its close, and reset", move |kind| {
            Play::new().send(kind.head_with("")).body(half(kind)).reset()
        }),
        fault("framed by its close", |kind| Play::new().send(kind.head_with("")).body(kind.usual()).close()),
        fault("framed by its close, whole, and reset", |kind| {
            Play::new().send(kind.head_with("")).body(kind.usual()).reset()
        }),
        fault("closed behind a whole answer", |kind| kind.framed(&kind.usual()).close()),
        fault("reset behind a whole answer", |kind| kind.framed(&kind.usual()).reset()),
        fault("`connection: close`", |kind| kind.framed_with("connection: close\r\n", &kind.usual()).close()),
        fault("a 400, cut", |_| {
            let body = r#"{"error":{"message":"too lo"#;
            let lines = "content-type: application/json\r\ncontent-length: 100\r\n";
            Play::new().send(head("400 Bad Request", lines)).body(body).close()
        }),
    ]
}

fn silences() -> Vec<Fault> {
    let begun = |kind: Kind| {
        let answer = kind.usual();
        Play::new().send(kind.chunked_head()).chunks([&answer[..answer.len() / 2]])
    };
    let whole = |kind: Kind| Play::new().send(kind.chunked_head()).chunks([kind.usual()]);
    vec![
        fault("silent before the head", |_| Play::new().silence()).waiting_for_the_head(),
        fault("silent mid-head", |_| Play::new().send("HTTP/1.1 200 OK\r\ncontent-ty").silence())
            .waiting_for_the_head(),
        fault("silent behind the head", |kind| Play::new().send(kind.chunked_head()).silence()).waiting_for_the_rest(),
        fault("silent mid-answer", move |kind| begun(kind).silence()).waiting_for_the_rest(),
        fault("silent before the last chunk", move |kind| whole(kind).silence()).waiting_for_the_rest(),
        fault("never ends", move |kind| begun(kind).chatter(if kind == Kind::Sse { ":\n" } else { " " }))
            .waiting_for_the_rest(),
        fault("never ends behind the whole answer", move |kind| {
            whole(kind).chatter(if kind == Kind::Sse { ":\n" } else { " " })
        })
        .waiting_for_the_rest(),
    ]
}

fn too_soon() -> Vec<Fault> {
    let refusal =
        r#"{"error":{"message":"request entity too large","type":"invalid_request_error","param":null,"code":"413"}}"#;
    vec![
        fault("a large request", |kind| kind.framed(&kind.usual())).long(),
        fault("answered, then closed, the request unread", |kind| kind.framed(&kind.usual())).unread(),
        fault("half answered, then closed, the request unread", |kind| {
            let answer = kind.usual();
            Play::new().send(kind.chunked_head()).chunks([&answer[..answer.len() / 2]])
        })
        .unread(),
        fault("413, then closed, the request unread", move |_| {
            json_answer("413 Content Too Large", "connection: close\r\n", refusal)
        })
        .unread(),
        fault("closed, the request unread", |_| Play::new()).unread(),
        fault("another answer behind the answer", |kind| {
            kind.framed(&kind.usual())
                .send(Kind::Json.head_with("content-length: 18\r\n"))
                .send("{\"nobody\":\"asked\"}")
        }),
        fault("bytes behind the answer", |kind| kind.framed(&kind.usual()).send(END)),
    ]
}
