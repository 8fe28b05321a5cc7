//! The head of an upstream's answer, by RFC 9112: what of it may be passed on, how the body behind it is framed, and
//! whether the connection can be used again.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, StatusCode};

/// A head that is longer is not waited for.
pub(super) const LONGEST: usize = 64 << 10;
const MOST_LINES: usize = 128;
/// Answers that are none yet (1xx) before the one that is.
pub(super) const MOST_INTERIM: usize = 16;

/// What is kept of a head: nothing else in it may reach a client.
#[derive(Debug)]
pub struct Head {
    pub status: StatusCode,
    pub content_type: Option<HeaderValue>,
    /// In bytes, where that is what frames the body.
    pub content_length: Option<u64>,
    /// The body is compressed, or encoded in some other way that was not asked for.
    pub encoded: bool,
    pub retry_after: Option<HeaderValue>,
    pub retry_after_ms: Option<HeaderValue>,
}

/// How a body is framed (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    Chunked,
    UntilClose,
}

/// A whole head.
#[derive(Debug)]
pub(super) struct Parsed {
    pub head: Head,
    pub length: Length,
    /// Whether the upstream will take another request on this connection.
    pub keeps_alive: bool,
}

/// Why something is no head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadProblem {
    #[error("it is malformed: {0}")]
    Malformed(httparse::Error),
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    #[error("it gives two different lengths, or one that is no number")]
    Length,
    #[error("a transfer coding other than chunked")]
    Coding,
    #[error("it changes the protocol, which nobody asked for")]
    Upgrade,
    #[error("more than {MOST_INTERIM} interim answers came before it")]
    Interim,
    #[error("it is not as HTTP/2 has it: {0}")]
    Http2(h2::Reason),
}

impl Head {
    /// Of an answer over HTTP/2, which frames its body itself and holds it to the length announced.
    pub(super) fn of_http2(status: StatusCode, headers: &HeaderMap) -> Result<Self, HeadProblem> {
        let first = |name: &str| headers.get(name).cloned();
        let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(|length| number(length.as_bytes()));
        let announced = lengths.next();
        if announced == Some(None) || lengths.any(|other| Some(other) != announced) {
            return Err(HeadProblem::Length);
        }
        let mut codings = headers.get_all(CONTENT_ENCODING).iter();
        Ok(Self {
            status,
            content_type: first("content-type"),
            content_length: announced.flatten().filter(|_| !is_bodiless(status)),
            encoded: codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")),
            retry_after: first("retry-after").or_else(|| first("llm_provider-retry-after")),
            retry_after_ms: first("retry-after-ms").or_else(|| first("llm_provider-retry-after-ms")),
        })
    }
}

/// Takes a head off the beginning of `inbox`, and every interim answer (1xx) before it, which `interim` counts. None:
/// more is to come.
pub(super) fn take(inbox: &mut BytesMut, interim: &mut usize) -> Result<Option<Parsed>, HeadProblem> {
    loop {
        let mut lines = [const { MaybeUninit::uninit() }; MOST_LINES];
        let mut response = httparse::Response::new(&mut []);
        let parsed =
            httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, inbox, &mut lines);
        let length = match parsed.map_err(HeadProblem::Malformed)? {
            // However much of it one read brought: the limit is not a matter of chance.
            httparse::Status::Complete(length) if length > LONGEST => return Err(HeadProblem::TooLong),
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial if inbox.len() > LONGEST => return Err(HeadProblem::TooLong),
            httparse::Status::Partial => return Ok(None),
        };
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(HeadProblem::Malformed(httparse::Error::Status))?;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(HeadProblem::Upgrade);
        }
        if status.is_informational() {
            inbox.advance(length);
            *interim += 1;
            if *interim > MOST_INTERIM {
                return Err(HeadProblem::Interim);
            }
            continue;
        }
        let parsed = read(status, response.version == Some(1), response.headers)?;
        inbox.advance(length);
        return Ok(Some(parsed));
    }
}

fn read(status: StatusCode, current: bool, lines: &[httparse::Header<'_>]) -> Result<Parsed, HeadProblem> {
    let (mut content_type, mut retry_after, mut retry_after_ms) = (None, None, None);
    let mut of_provider = (None, None);
    let (mut announced, mut chunked) = (None, false);
    let (mut close, mut keep_alive, mut encoded) = (false, false, false);
    for line in lines {
        let is = |name: &str| line.name.eq_ignore_ascii_case(name);
        let value = || HeaderValue::from_bytes(line.value).ok();
        match line.name.len() {
            10 if is("connection") => {
                close |= has_token(line.value, b"close");
                keep_alive |= has_token(line.value, b"keep-alive");
            }
            11 if is("retry-after") => retry_after = retry_after.or_else(value),
            12 if is("content-type") => content_type = content_type.or_else(value),
            14 if is("content-length") => {
                let length = number(line.value).ok_or(HeadProblem::Length)?;
                if announced.replace(length).is_some_and(|other| other != length) {
                    return Err(HeadProblem::Length);
                }
            }
            14 if is("retry-after-ms") => retry_after_ms = retry_after_ms.or_else(value),
            // A provider's own, as LiteLLM passes it on.
            24 if is("llm_provider-retry-after") => of_provider.0 = value(),
            27 if is("llm_provider-retry-after-ms") => of_provider.1 = value(),
            16 if is("content-encoding") => encoded |= !line.value.trim_ascii().eq_ignore_ascii_case(b"identity"),
            17 if is("transfer-encoding") => {
                // `chunked` alone, and once: any other coding would have to be undone before the tap can read.
                if chunked || !line.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadProblem::Coding);
                }
                chunked = true;
            }
            _ => {}
        }
    }
    let bodiless = is_bodiless(status);
    let length = match (bodiless, chunked, announced) {
        (true, ..) => Length::Known(0),
        (false, true, _) => Length::Chunked,
        (false, false, Some(length)) => Length::Known(length),
        (false, false, None) => Length::UntilClose,
    };
    // Who frames a body twice, or chunks it in HTTP/1.0, may mean something else by what follows (RFC 9112, 6.1).
    let doubtful = chunked && (announced.is_some() || !current);
    Ok(Parsed {
        head: Head {
            status,
            content_type,
            content_length: announced.filter(|_| !chunked && !bodiless),
            encoded,
            retry_after: retry_after.or(of_provider.0),
            retry_after_ms: retry_after_ms.or(of_provider.1),
        },
        length,
        keeps_alive: !close && (current || keep_alive) && !doubtful && length != Length::UntilClose,
    })
}

fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(token))
}

/// Digits and nothing else.
fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
