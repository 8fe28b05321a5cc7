use super::*;

fn parsed(text: &str) -> Result<Option<Parsed>, HeadProblem> {
    let mut inbox = BytesMut::from(text);
    let parsed = take(&mut inbox, &mut 0);
    if let Ok(Some(_)) = parsed {
        assert_eq!(&inbox[..], b"BODY", "{text:?}");
    }
    parsed
}

fn of(lines: &str) -> Result<(Length, bool), HeadProblem> {
    let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\nBODY");
    parsed(&text).map(|parsed| parsed.map(|parsed| (parsed.length, parsed.keeps_alive)).unwrap())
}

#[test]
fn a_body_is_framed_as_rfc_9112_says() {
    assert_eq!(of("content-length: 5\r\n"), Ok((Length::Known(5), true)));
    assert_eq!(of("Content-Length: 5\r\ncontent-length: 5\r\n"), Ok((Length::Known(5), true)));
    assert_eq!(of("Transfer-Encoding:  Chunked \r\n"), Ok((Length::Chunked, true)));
    assert_eq!(of(""), Ok((Length::UntilClose, false)));
    assert_eq!(of("connection: close\r\ncontent-length: 0\r\n"), Ok((Length::Known(0), false)));
    assert_eq!(of("connection: x, Close\r\n"), Ok((Length::UntilClose, false)));
    // Chunks win, and nobody sends another request behind such an answer.
    assert_eq!(of("transfer-encoding: chunked\r\ncontent-length: 5\r\n"), Ok((Length::Chunked, false)));
}

#[test]
fn what_could_be_read_two_ways_is_refused() {
    for lines in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: +5\r\n",
        "content-length: 5, 5\r\n",
        "content-length: \r\n",
        "content-length: 99999999999999999999\r\n",
    ] {
        assert_eq!(of(lines), Err(HeadProblem::Length), "{lines:?}");
    }
    for lines in [
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    ] {
        assert_eq!(of(lines), Err(HeadProblem::Coding), "{lines:?}");
    }
    for text in [
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        "HTTP/1.1 200 OK\r\n spaced: x\r\n\r\n",
        "\u{16}\u{3}\u{1}",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 99 X\r\n\r\n",
    ] {
        assert!(matches!(parsed(text), Err(HeadProblem::Malformed(_))), "{text:?}");
    }
    assert_eq!(parsed("HTTP/1.1 101 X\r\n\r\n").unwrap_err(), HeadProblem::Upgrade);
}

#[test]
fn answers_without_a_body_have_none() {
    for status in [204, 304] {
        let answer = parsed(&format!("HTTP/1.1 {status} X\r\ncontent-length: 9\r\n\r\nBODY")).unwrap().unwrap();
        assert_eq!((answer.length, answer.head.content_length), (Length::Known(0), None));
    }
}

#[test]
fn only_what_may_pass_is_kept() {
    let text = "HTTP/1.1 429 Slow\r\nx-litellm-model-id: secret\r\nretry-after: 7\r\nRetry-After-Ms: 7000\r\n\
        content-type: application/json\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nBODY";
    let head = parsed(text).unwrap().unwrap().head;
    assert_eq!(head.status, StatusCode::TOO_MANY_REQUESTS);
    let values = [head.content_type, head.retry_after, head.retry_after_ms];
    assert_eq!(values.map(|value| value.unwrap()), ["application/json", "7", "7000"]);
    assert_eq!(head.content_length, Some(4));
    let by_litellm = "HTTP/1.1 429 Slow\r\nllm_provider-retry-after: 9\r\nllm_provider-x: secret\r\n\r\nBODY";
    assert_eq!(parsed(by_litellm).unwrap().unwrap().head.retry_after.unwrap(), "9");
}

#[test]
fn a_coding_of_the_content_is_noted() {
    for (lines, encoded) in
        [("", false), ("content-encoding: Identity\r\n", false), ("Content-Encoding: gzip\r\n", true)]
    {
        let head = parsed(&format!("HTTP/1.1 200 OK\r\n{lines}\r\nBODY")).unwrap().unwrap().head;
        assert_eq!(head.encoded, encoded, "{lines}");
    }
}

#[test]
fn interim_answers_are_passed_over_and_an_old_peer_closes() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n";
    let whole = format!("{interim}HTTP/1.1 200 OK\r\nretry-after: 7\r\n\r\n");
    assert_eq!(parsed(&format!("{whole}BODY")).unwrap().unwrap().head.status, 200);
    for cut in 0..whole.len() {
        let (mut inbox, mut count) = (BytesMut::from(&whole[..cut]), 0);
        assert!(take(&mut inbox, &mut count).unwrap().is_none(), "cut at {cut}");
        inbox.extend_from_slice(&whole.as_bytes()[cut..]);
        let head = take(&mut inbox, &mut count).unwrap().unwrap().head;
        assert_eq!((head.status.as_u16(), head.retry_after.unwrap().as_bytes(), count), (200, &b"7"[..], 2));
    }
    assert_eq!(parsed(&interim.repeat(MOST_INTERIM)).unwrap_err(), HeadProblem::Interim);
    let old = |lines: &str| {
        parsed(&format!("HTTP/1.0 200 OK\r\ncontent-length: 4\r\n{lines}\r\nBODY")).unwrap().unwrap().keeps_alive
    };
    assert!(!old(""));
    assert!(old("connection: keep-alive\r\n"));
    assert!(!old("connection: keep-alive\r\ntransfer-encoding: chunked\r\n"));
}

#[test]
fn a_head_is_awaited_up_to_its_bound() {
    assert!(parsed("HTTP/1.1 200 OK\r\ncontent-le").unwrap().is_none());
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(LONGEST));
    assert_eq!(parsed(&endless).unwrap_err(), HeadProblem::TooLong);
    let ended = format!("{endless}\r\n\r\nBODY");
    assert_eq!(parsed(&ended).unwrap_err(), HeadProblem::TooLong, "though one read brought it whole");
    let many = "a: b\r\n".repeat(MOST_LINES + 1);
    assert!(matches!(of(&many), Err(HeadProblem::Malformed(httparse::Error::TooManyHeaders))));
}

fn of_http2(lines: &[(&'static str, &'static str)]) -> Result<Head, HeadProblem> {
    let line = |(name, value): &(&'static str, &'static str)| {
        (http::HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().map(line) {
        headers.append(name, value);
    }
    Head::of_http2(StatusCode::OK, &headers)
}

#[test]
fn http_2_says_the_same_in_its_own_way() {
    for lines in [
        &[][..],
        &[("content-type", "application/json"), ("content-length", "12"), ("set-cookie", "a=b")],
        &[("content-type", "text/event-stream"), ("content-type", "application/json")],
        &[("content-length", "7"), ("content-length", "7"), ("content-encoding", "identity")],
        &[("content-encoding", "identity"), ("content-encoding", "gzip")],
        &[("retry-after", "7"), ("retry-after-ms", "7000"), ("llm_provider-retry-after", "9")],
        &[("llm_provider-retry-after", "9"), ("llm_provider-retry-after-ms", "9000")],
    ] {
        let text: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let wanted = parsed(&format!("HTTP/1.1 200 OK\r\n{text}\r\nBODY")).unwrap().unwrap().head;
        assert_eq!(format!("{:?}", of_http2(lines).unwrap()), format!("{wanted:?}"), "{lines:?}");
    }
    for lengths in [&["7", "8"][..], &["7", "x"], &["-1"], &["7, 7"], &[""]] {
        let lines: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
        assert_eq!(of_http2(&lines).unwrap_err(), HeadProblem::Length, "{lengths:?}");
    }
}
