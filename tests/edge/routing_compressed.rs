//! Compression of web answers: what the client takes, for what gains, and never for what has to arrive at once.

use std::io::Read as _;

use crate::harness::{Answer, Harness, Reply, Request, Streaming, gate};

fn edge() -> Harness {
    Harness::builder().route("match: { path: /app }, upstream: web, compress: true").start()
}

fn page() -> String {
    (0..400).map(|line| format!("<p>line {line} of a page that says much the same all over</p>\n")).collect()
}

/// The page under these header lines.
fn with(lines: &str) -> Reply {
    let page = page();
    Reply::raw(format!("HTTP/1.1 200 OK\r\n{lines}content-length: {}\r\n\r\n{page}", page.len()))
}

fn ask(edge: &Harness, lines: &str, accepted: &str) -> Answer {
    edge.web.then(with(lines));
    edge.ask(&Request::get("/app").header("Accept-Encoding", accepted))
}

fn decoded(coding: &str, body: &[u8]) -> String {
    let mut text = String::new();
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        "br" => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        "zstd" => zstd::stream::read::Decoder::new(body).expect("a decoder").read_to_string(&mut text),
        other => panic!("{other}"),
    };
    read.unwrap_or_else(|error| panic!("{coding}: {error}"));
    text
}

#[test]
fn each_coding_is_negotiated_and_says_what_it_changed() {
    let edge = edge();
    for (accepted, coding) in [("gzip", "gzip"), ("br, gzip;q=0.9", "br"), ("gzip, deflate, br, zstd", "zstd")] {
        let lines = "content-type: text/html\r\netag: \"a1\"\r\nvary: Cookie\r\naccept-ranges: bytes\r\n";
        let answer = ask(&edge, lines, accepted);
        assert_eq!((answer.header("content-encoding"), answer.complete), (Some(coding), true), "{accepted}");
        assert!(answer.body.len() < page().len() / 5, "{coding}: {} bytes", answer.body.len());
        assert_eq!(decoded(coding, &answer.body), page());
        assert_eq!((answer.header("etag"), answer.header("content-length")), (Some("W/\"a1\""), None));
        assert_eq!(answer.header("accept-ranges"), None);
        let vary: Vec<&str> =
            answer.headers.iter().filter(|(name, _)| name == "vary").map(|(_, value)| &**value).collect();
        assert_eq!(vary, ["Cookie", "Accept-Encoding"]);
    }
    let plain = ask(&edge, "content-type: text/html\r\netag: \"a1\"\r\n", "identity");
    assert_eq!((plain.header("content-encoding"), plain.header("etag")), (None, Some("\"a1\"")));
    assert_eq!((plain.header("vary"), plain.text()), (Some("Accept-Encoding"), page()), "a cache must know");
}

#[test]
fn what_gains_nothing_or_is_encoded_already_stays_as_it_is() {
    let edge = edge();
    for lines in [
        "content-type: image/png\r\n",
        "content-type: text/event-stream\r\n",
        "content-type: text/html\r\ncontent-encoding: br\r\n",
        "content-type: text/html\r\ncache-control: public, no-transform\r\n",
        "content-type: text/html\r\ncontent-range: bytes 0-9/10\r\n",
        "",
    ] {
        let answer = ask(&edge, lines, "gzip");
        assert_eq!((answer.text(), answer.header("vary")), (page(), None), "{lines}");
        assert_eq!(answer.header("content-encoding"), lines.contains("br").then_some("br"), "{lines}");
    }
    edge.web.then(Reply::raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nsmall"));
    let small = edge.ask(&Request::get("/app").header("Accept-Encoding", "gzip"));
    assert_eq!((small.text().as_str(), small.header("content-encoding")), ("small", None));
    edge.web.then(with("content-type: text/html\r\n"));
    let elsewhere = edge.ask(&Request::get("/other").header("Accept-Encoding", "gzip"));
    assert_eq!((elsewhere.text(), elsewhere.header("vary")), (page(), None), "another route");
}

#[test]
fn what_stands_for_a_page_names_it_as_the_page_was_named() {
    let edge = edge();
    let ask = |head: &str, asked: &[(&str, &str)]| {
        edge.web.then(Reply::raw(format!("HTTP/1.1 {head}\r\n\r\n")));
        edge.ask(&asked.iter().fold(Request::get("/app"), |request, (name, value)| request.header(name, value)))
    };
    let gzip = ("Accept-Encoding", "gzip");
    let same = "304 Same\r\netag: \"a1\"";
    for (asked, tag) in [
        (vec![gzip, ("If-None-Match", "W/\"a1\"")], "W/\"a1\""),
        (vec![("If-None-Match", "\"b\", W/\"a1\"")], "W/\"a1\""),
        (vec![gzip, ("If-None-Match", "\"a1\"")], "\"a1\""),
        (vec![gzip, ("If-Modified-Since", "Sat, 21 Nov 2026 00:00:00 GMT")], "W/\"a1\""),
        (vec![("If-Modified-Since", "Sat, 21 Nov 2026 00:00:00 GMT")], "\"a1\""),
    ] {
        let answer = ask(same, &asked);
        assert_eq!((answer.status, answer.header("etag")), (304, Some(tag)), "{asked:?}");
        assert_eq!((answer.header("vary"), answer.header("content-encoding")), (Some("Accept-Encoding"), None));
    }
    let image = ask("304 Same\r\netag: \"a1\"\r\ncontent-type: image/png", &[gzip]);
    assert_eq!((image.header("vary"), image.header("etag")), (None, Some("\"a1\"")));
    let part = "206 Part\r\netag: \"a1\"\r\ncontent-type: text/html\r\ncontent-range: bytes 0-1/9\r\ncontent-length: 2\r\n\r\nhi";
    edge.web.then(Reply::raw(format!("HTTP/1.1 {part}")));
    let part = edge.ask(&Request::get("/app").header("Accept-Encoding", "gzip").header("Range", "bytes=0-1"));
    assert_eq!((part.status, part.text().as_str(), part.header("content-encoding")), (206, "hi", None));
    assert_eq!((part.header("vary"), part.header("etag")), (Some("Accept-Encoding"), Some("\"a1\"")));
}

#[test]
fn digests_of_what_was_compressed_are_not_passed_on() {
    let edge = edge();
    let digests = ["content-digest", "repr-digest", "digest", "content-md5"];
    let lines: String = digests.iter().map(|name| format!("{name}: sha-256=:AA==:\r\n")).collect();
    for (accepted, kept) in [("gzip", 0), ("identity", 4)] {
        let answer = ask(&edge, &format!("content-type: text/html\r\n{lines}"), accepted);
        let count = answer.headers.iter().filter(|(name, _)| digests.contains(&name.as_str())).count();
        assert_eq!(count, kept, "{accepted}: {answer}");
    }
}

#[test]
fn a_page_that_is_streamed_arrives_as_it_is_made() {
    let edge = edge();
    for coding in ["gzip", "br", "zstd"] {
        let (opener, closed) = gate();
        edge.web.then(Reply::script(move |exchange| {
            exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n");
            exchange.chunk(b"<h1>first</h1>");
            closed.pass();
            exchange.chunk(b"<p>second</p>");
            exchange.end();
        }));
        let request = Request::get("/app").header("Accept-Encoding", coding);
        let mut stream: Streaming = edge.client().stream(&request);
        let mut body = stream.chunk().expect("the first piece, while the second is not made");
        opener.open();
        while let Some(piece) = stream.chunk() {
            body.extend(piece);
        }
        assert_eq!(decoded(coding, &body), "<h1>first</h1><p>second</p>", "{coding}");
    }
}

#[test]
fn events_are_sent_one_by_one_whatever_the_client_takes() {
    let edge = edge();
    let (opener, closed) = gate();
    edge.web.then(Reply::gated(vec!["data: 1".to_string(), "data: 2".to_string()], closed));
    opener.open();
    let mut stream = edge.client().stream(&Request::get("/app").header("Accept-Encoding", "gzip, br, zstd"));
    assert_eq!(stream.event(), "data: 1");
    opener.open();
    assert_eq!(stream.event(), "data: 2");
}
