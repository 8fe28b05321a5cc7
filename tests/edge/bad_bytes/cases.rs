//! The rows of `docs/guards.md`'s tables of HTTP/1.1, as bytes.

/// One bad (or only odd) input.
pub struct Case {
    /// As the table calls it.
    pub name: &'static str,
    pub bytes: Vec<u8>,
    /// What stands behind sees of it, as `METHOD target`, beside a [`BEGUN`] that has no end.
    pub seen: &'static [&'static str],
}

/// The request whose body turns out to be none: by then its head has gone on, and what stands behind has seen it, or
/// not yet.
pub const BEGUN: &str = "POST /begun";

fn bad(name: &'static str, bytes: impl Into<Vec<u8>>) -> Case {
    Case { name, bytes: bytes.into(), seen: &[] }
}

fn odd(name: &'static str, bytes: impl Into<Vec<u8>>, seen: &'static [&'static str]) -> Case {
    Case { name, bytes: bytes.into(), seen }
}

/// A request for `/one` with these lines in its head.
fn get(lines: &str) -> String {
    format!("GET /one HTTP/1.1\r\nHost: cfx.test\r\n{lines}\r\n")
}

fn target(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: cfx.test\r\n\r\n")
}

/// A body framed by these lines.
pub fn post(lines: &str, body: &str) -> String {
    format!("POST /one HTTP/1.1\r\nHost: cfx.test\r\n{lines}\r\n{body}")
}

/// What must never be taken for a request of its own.
pub const INNER: &str = "GET /smuggled HTTP/1.1\r\nHost: cfx.test\r\n\r\n";

/// Heads.
pub fn heads() -> Vec<Case> {
    let chunked = format!("5\r\nhello\r\n0\r\n\r\n{INNER}");
    let one_chunk = format!("{:x}\r\n{INNER}\r\n0\r\n\r\n", INNER.len());
    let hello = format!("hello{INNER}");
    let both = format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked.len());
    vec![
        bad("TLS where none is spoken", b"\x16\x03\x01\x00\xee\x01\x00\x00\xea\x03\x03".to_vec()),
        bad("an SSH banner", "SSH-2.0-OpenSSH_9.6\r\n"),
        bad("HTTP/0.9", "GET /one\r\n"),
        bad("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        bad("a header line of 64 KB", get(&format!("X-Long: {}\r\n", "a".repeat(64 << 10)))),
        bad("10,000 headers", get(&"A: b\r\n".repeat(10_000))),
        bad("lines that end in a bare LF", format!("GET /one HTTP/1.1\nHost: cfx.test\n\n{INNER}")),
        bad("a folded header", get("X-Fold: a\r\n b\r\n") + INNER),
        bad("a space before the colon", get("Transfer-Encoding : chunked\r\n") + INNER),
        bad("a NUL in a header", get("X-Nul: a\0b\r\n") + INNER),
        bad("a blank in the target", target("/one /two") + INNER),
        bad("a version that there is not", format!("GET /one HTTP/1.2\r\nHost: cfx.test\r\n\r\n{INNER}")),
        bad("a header without a name", get(": a\r\n") + INNER),
        bad("two Hosts", get("Host: other.test\r\n") + INNER),
        bad("no Host", format!("GET /one HTTP/1.1\r\n\r\n{INNER}")),
        odd("no Host in HTTP/1.0", "GET /one HTTP/1.0\r\n\r\n", &["GET /one"]),
        bad("an empty Host", format!("GET /one HTTP/1.1\r\nHost:\r\n\r\n{INNER}")),
        bad("a Host that is a list", format!("GET /one HTTP/1.1\r\nHost: cfx.test, other.test\r\n\r\n{INNER}")),
        bad("a path in the Host", format!("GET /one HTTP/1.1\r\nHost: cfx.test/two\r\n\r\n{INNER}")),
        bad("a Host with two ports", format!("GET /one HTTP/1.1\r\nHost: cfx.test:80:90\r\n\r\n{INNER}")),
        bad("a Host with a port that is none", format!("GET /one HTTP/1.1\r\nHost: cfx.test:99999\r\n\r\n{INNER}")),
        bad("a Host with an empty label", format!("GET /one HTTP/1.1\r\nHost: cfx..test\r\n\r\n{INNER}")),
        bad("half an address in the Host", format!("GET /one HTTP/1.1\r\nHost: [::1\r\n\r\n{INNER}")),
        bad("an overlong slash in the path", target("/one%c0%aftwo") + INNER),
        bad("a user in the Host", format!("GET /one HTTP/1.1\r\nHost: user@cfx.test\r\n\r\n{INNER}")),
        odd("a target that names the host", target("http://cfx.test/one?a=b"), &["GET /one?a=b"]),
        bad("a target that names another host than Host", target("http://other.test/one") + INNER),
        bad("a user in a target that names the host", target("http://user@cfx.test/one") + INNER),
        bad("an authority as the target", target("cfx.test:80") + INNER),
        bad("an asterisk as the target", "OPTIONS * HTTP/1.1\r\nHost: cfx.test\r\n\r\n"),
        bad("CONNECT", format!("CONNECT cfx.test:80 HTTP/1.1\r\nHost: cfx.test:80\r\n\r\n{INNER}")),
        bad("TRACE", format!("TRACE /one HTTP/1.1\r\nHost: cfx.test\r\n\r\n{INNER}")),
        odd(
            "Upgrade: h2c",
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
            &["GET /one"],
        ),
        odd(
            "Connection that names the body's framing",
            post("Connection: close, transfer-encoding\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            &["POST /one"],
        ),
        odd(
            "Connection that names the body's length",
            post("Connection: content-length\r\nContent-Length: 5\r\n", &hello),
            &["POST /one"],
        ),
        bad("Connection that names the Host", get("Connection: close, host\r\n") + INNER),
        bad("Connection that names X-Forwarded-For", get("Connection: close, x-forwarded-for\r\n") + INNER),
        odd("Expect: 100-continue", post("Expect: 100-continue\r\nContent-Length: 5\r\n", &hello), &["POST /one"]),
        odd("Expect: 100-continue without a body", get("Expect: 100-continue\r\n"), &["GET /one"]),
        bad("Expect of anything else", post("Expect: y 100-continue\r\nContent-Length: 5\r\n", &hello)),
        bad("Content-Length, then Transfer-Encoding", post(&both, &chunked)),
        bad(
            "Transfer-Encoding, then Content-Length",
            post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &one_chunk),
        ),
        bad("two Transfer-Encodings", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", &chunked)),
        bad(
            "two equal Transfer-Encodings",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &chunked),
        ),
        bad("a Transfer-Encoding behind a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", &chunked)),
        odd("Transfer_Encoding", post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", &hello), &["POST /one"]),
        bad("Transfer-Encoding: chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", &chunked)),
        bad("Transfer-Encoding: xchunked", post("Transfer-Encoding: xchunked\r\n", &chunked)),
        bad(
            "Transfer-Encoding in HTTP/1.0",
            format!("POST /one HTTP/1.0\r\nHost: cfx.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        ),
        bad("two Content-Lengths", post("Content-Length: 5\r\nContent-Length: 50\r\n", &hello)),
        bad("two equal Content-Lengths", post("Content-Length: 5\r\nContent-Length: 5\r\n", &hello)),
        bad("a Content-Length that is a list", post("Content-Length: 5, 5\r\n", &hello)),
        bad("a negative Content-Length", post("Content-Length: -5\r\n", &hello)),
        bad("a Content-Length with a sign", post("Content-Length: +5\r\n", &hello)),
        bad("a Content-Length of nothing", post("Content-Length:\r\n", &hello)),
        bad("a huge Content-Length", post("Content-Length: 99999999999999999999\r\n", &hello)),
        bad("a Content-Length of 64 bits", post("Content-Length: 18446744073709551615\r\n", &hello)),
        odd("a request behind a request", get("") + INNER, &["GET /one"]),
        odd("a request behind a body", post("Content-Length: 5\r\n", &hello), &["POST /one"]),
        odd("a request within a body", post(&format!("Content-Length: {}\r\n", INNER.len()), INNER), &["POST /one"]),
        bad("dots in the path", target("/a/../one")),
        bad("encoded dots in the path", target("/a/%2e%2E/one")),
        odd("an encoded letter in the path", target("/%6Fne"), &["GET /%6Fne"]),
        bad("an encoded slash in the path", target("/a%2Fone")),
        bad("a backslash in the path", target("/a\\one")),
        bad("an encoded NUL in the path", target("/one%00")),
        bad("a fragment in the target", target("/one#two")),
        odd("slashes side by side", target("//one///two"), &["GET //one///two"]),
    ]
}

/// Bodies.
pub fn bodies() -> Vec<Case> {
    let framed = "Transfer-Encoding: chunked\r\n";
    let served = |name, body: &str| odd(name, post(framed, body) + INNER, &["POST /one"]);
    let broken = |name, body: &str| {
        let bytes = post(framed, body) + INNER;
        bad(name, bytes.replacen("POST /one", BEGUN, 1))
    };
    let around = |size: &str| format!("{size}\r\nhello\r\n0\r\n\r\n");
    vec![
        served("chunk extensions", "5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n"),
        served("a blank behind a chunk's size", &around("5 ")),
        served("zeros before a chunk's size", &around("00005")),
        served("chunks of one byte", "1\r\nh\r\n1\r\ne\r\n1\r\nl\r\n1\r\nl\r\n1\r\no\r\n0\r\n\r\n"),
        served("trailers", "5\r\nhello\r\n0\r\nX-Trailer: a\r\nContent-Length: 50\r\n\r\n"),
        served("trailers that are none", "5\r\nhello\r\n0\r\nno colon here\r\n:\r\n\r\n"),
        served("no size where a chunk begins", "\r\n\r\n"),
        broken("a chunk's size that is no number", &around("five")),
        broken("a negative chunk size", &around("-5")),
        broken("a chunk's size with a sign", &around("+5")),
        broken("a chunk's size with a prefix", &around("0x5")),
        broken("a blank before a chunk's size", &around(" 5")),
        broken("a chunk's size that would wrap around", &around("10000000000000005")),
        broken("a chunk's size of 64 bits", &around("FFFFFFFFFFFFFFFF")),
        broken("a chunk longer than its size", &around("3")),
        broken("a chunk's size before a bare LF", "5\nhello\n0\n\n"),
        broken("a chunk before a bare LF", "5\r\nhello\n0\r\n\r\n"),
        broken("a chunk extension of 64 KB", &around(&format!("5;{}", "a".repeat(64 << 10)))),
        broken("a bare LF among trailers", "5\r\nhello\r\n0\r\nX-Trailer: a\n\r\n"),
        broken("128 KB of trailers", &format!("5\r\nhello\r\n0\r\nX-Trailer: {}\r\n\r\n", "a".repeat(128 << 10))),
    ]
}
