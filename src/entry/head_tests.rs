use super::*;

const GUARDS: Guards = Guards {
    header_timeout: Duration::from_secs(5),
    header_bytes: 1024,
    headers: 10,
    idle: Duration::from_secs(60),
    requests_per_connection: None,
    connection_age: None,
    connections: None,
    connections_per_address: None,
    http2_streams: 100,
    encoded_slash: crate::config::EncodedSlash::Refuse,
    underscores: crate::config::Underscores::Drop,
};

/// What comes of a head that is read in pieces of `step` bytes.
fn read_by(step: usize, head: &[u8]) -> Result<bool, NoHead> {
    let mut lines = Lines::default();
    let mut outcome = Ok(false);
    for end in (step..head.len()).step_by(step).chain([head.len()]) {
        outcome = lines.whole(&head[..end], &GUARDS);
        if outcome != Ok(false) {
            break;
        }
    }
    outcome
}

fn hold(head: &[u8], wanted: &Result<bool, NoHead>) {
    for step in [1, 2, 7, 4096] {
        assert_eq!(&read_by(step, head), wanted, "{step} bytes at a time: {}", head.escape_ascii());
    }
}

#[test]
fn heads_are_whole_where_their_blank_line_is() {
    for head in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost:[2001:db8::1]:443\r\nExpect: 100-Continue\r\nExpected: a\r\n\r\n",
        b"\r\n\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked \r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Lengthy: 1\r\nContent-Length: 1\r\n\r\n",
    ] {
        hold(head, &Ok(true));
    }
    for head in [&b"GET / HTTP/1.1\r\nHost: a\r\n"[..], b"G", b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r"] {
        hold(head, &Ok(false));
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let refused = |guard| Err(NoHead::Refused(guard));
    for head in [
        &b"GET / HTTP/1.1\nHost: a\n\n"[..],
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\tfolded\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: y 100-continue\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET /#a HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ] {
        hold(head, &refused(Guard::InvalidHead));
    }
    for headers in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 1",
        "Content-Length: 1\r\ncontent-length: 1",
        "Content-Length: 1, 1",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:",
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n");
        hold(head.as_bytes(), &refused(Guard::AmbiguousFraming));
    }
}

#[test]
fn a_head_has_so_many_lines_and_bytes_and_no_more() {
    let refused = Err(NoHead::Refused(Guard::HeadersTooLarge));
    let lines = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
    hold(lines(GUARDS.headers).as_bytes(), &Ok(true));
    hold(lines(GUARDS.headers + 1).as_bytes(), &refused);
    let long = |bytes: usize| format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "b".repeat(bytes - 26));
    hold(long(GUARDS.header_bytes).as_bytes(), &Ok(true));
    hold(long(GUARDS.header_bytes + 1).as_bytes(), &refused);
    hold("GET /".repeat(1000).as_bytes(), &refused);
}

#[test]
fn a_verdict_does_not_depend_on_how_much_has_come() {
    let refused = |guard| Err(NoHead::Refused(guard));
    let most = "a".repeat(GUARDS.header_bytes);
    // By its first byte none, and by no end of its line too long.
    hold(format!("\x16{most}").as_bytes(), &refused(Guard::InvalidHead));
    // None by its first byte, which the rest of its line would let pass.
    hold(b"\x16 / HTTP/1.1\r\n\r\n", &refused(Guard::InvalidHead));
    hold(b"\x16 / HTTP/1.1\r\n", &refused(Guard::InvalidHead));
    // A bare LF, behind more than a head may be.
    hold(format!("GET /{most}\n").as_bytes(), &refused(Guard::HeadersTooLarge));
    hold(
        format!("GET / HTTP/1.1\r\na: {most}\r\nContent-Length: 1, 1\r\n\r\n").as_bytes(),
        &refused(Guard::HeadersTooLarge),
    );
    // What follows a head is not its own.
    hold(format!("GET / HTTP/1.0\r\n\r\n{most}\n").as_bytes(), &Ok(true));
}

#[test]
fn a_target_that_would_be_mended_is_refused() {
    for head in [
        &b"GET /?a\x01 HTTP/1.1\r\n\r\n"[..],
        b"GET /\t HTTP/1.1\r\n\r\n",
        b"GET /?\x7f HTTP/1.1\r\n\r\n",
        b"\rGET / HTTP/1.1\r\n\r\n",
    ] {
        hold(head, &Err(NoHead::Refused(Guard::InvalidHead)));
    }
}

#[tokio::test]
async fn who_says_nothing_is_nobody_and_who_stops_in_the_middle_is_told() {
    let (mut client, mut served) = tokio::io::duplex(4096);
    let soon = Instant::now() + Duration::from_millis(30);
    assert_eq!(read(&mut served, &GUARDS, Patience::Until(soon)).await, Err(NoHead::Silent));
    tokio::io::AsyncWriteExt::write_all(&mut client, b"GET / HT").await.unwrap();
    let soon = Instant::now() + Duration::from_millis(30);
    let late = read(&mut served, &GUARDS, Patience::Until(soon)).await;
    assert_eq!(late, Err(NoHead::Refused(Guard::HeaderTimeout)));
    tokio::io::AsyncWriteExt::write_all(&mut client, b"GET / HTTP/1.0\r\n\r\nbody").await.unwrap();
    let read = read(&mut served, &GUARDS, Patience::Idle(Duration::from_secs(5))).await;
    assert_eq!(read, Ok((b"GET / HTTP/1.0\r\n\r\nbody"[..].into(), 4)));
}

#[test]
fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
    for host in ["a", "a.example", "A_b-1.example.", "192.0.2.1:80", "[2001:db8::1]", "[::1]:65535", "a:0"] {
        assert!(is_a_host(host.as_bytes()), "{host}");
    }
    for host in [
        "", ".", ".a", "a..b", ":80", "a:", "a:80:90", "a:x", "a:+1", "a:65536", "[::1", "::1", "]a", "[a]", "[::1]80",
        "a%00", "a%2eb", "a b", "a/b", "a@b", "\u{e9}",
    ] {
        assert!(!is_a_host(host.as_bytes()), "{host}");
    }
}
