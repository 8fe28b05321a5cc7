//! The rows of `docs/guards.md`'s table of HTTP/1.1, as bytes.

/// One bad (or only odd) input.
pub struct Case {
    /// As the table calls it.
    pub name: &'static str,
    pub bytes: Vec<u8>,
    /// What stands behind sees of it, as `METHOD target`.
    pub seen: &'static [&'static str],
}

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
fn post(lines: &str, body: &str) -> String {
    format!("POST /one HTTP/1.1\r\nHost: cfx.test\r\n{lines}\r\n{body}")
}

/// What must never be taken for a request of its own.
const INNER: &str = "GET /smuggled HTTP/1.1\r\nHost: cfx.test\r\n\r\n";

pub fn cases() -> Vec<Case> {
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
        bad("two Hosts", get("Host: other.test\r\n") + INNER),
        odd("a target that names the host", target("http://cfx.test/one?a=b"), &["GET /one?a=b"]),
        bad("a target that names another host than Host", target("http://other.test/one") + INNER),
        bad("an authority as the target", target("cfx.test:80") + INNER),
        bad("an asterisk as the target", "OPTIONS * HTTP/1.1\r\nHost: cfx.test\r\n\r\n"),
        bad("CONNECT", format!("CONNECT cfx.test:80 HTTP/1.1\r\nHost: cfx.test:80\r\n\r\n{INNER}")),
        bad("TRACE", format!("TRACE /one HTTP/1.1\r\nHost: cfx.test\r\n\r\n{INNER}")),
        odd(
            "Upgrade: h2c",
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
            &["GET /one"],
        ),
        bad("Content-Length, then Transfer-Encoding", post(&both, &chunked)),
        bad(
            "Transfer-Encoding, then Content-Length",
            post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &one_chunk),
        ),
        bad("two Transfer-Encodings", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", &chunked)),
        bad("Transfer-Encoding: chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", &chunked)),
        bad("Transfer-Encoding: xchunked", post("Transfer-Encoding: xchunked\r\n", &chunked)),
        bad(
            "Transfer-Encoding in HTTP/1.0",
            format!("POST /one HTTP/1.0\r\nHost: cfx.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        ),
        bad("two Content-Lengths", post("Content-Length: 5\r\nContent-Length: 50\r\n", &hello)),
        bad("a Content-Length that is a list", post("Content-Length: 5, 5\r\n", &hello)),
        bad("a negative Content-Length", post("Content-Length: -5\r\n", &hello)),
        bad("a huge Content-Length", post("Content-Length: 99999999999999999999\r\n", &hello)),
        odd(
            "chunk extensions",
            post("Transfer-Encoding: chunked\r\n", "5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n"),
            &["POST /one"],
        ),
        odd("a request behind a body", post("Content-Length: 5\r\n", &hello), &["POST /one"]),
        bad("dots in the path", target("/a/../one")),
        bad("encoded dots in the path", target("/a/%2e%2E/one")),
        bad("an encoded slash in the path", target("/a%2Fone")),
        bad("a backslash in the path", target("/a\\one")),
        bad("an encoded NUL in the path", target("/one%00")),
        bad("a fragment in the target", target("/one#two")),
        odd("slashes side by side", target("//one///two"), &["GET //one///two"]),
    ]
}
