//! Compression of web answers, where the route wants it, the client takes it and the type gains by it. Never of event
//! streams, of parts of a whole, or of what the application has encoded itself.
//!
//! What comes without a length is flushed piece by piece: a page that is streamed arrives as it is made.

use std::io::{self, Write};
use std::sync::Mutex;

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::{ErrorType, OrErr as _, Result};
use zstd::stream::write::Encoder as ZstdEncoder;

use super::edit::DIGESTS;
use crate::config::Compress;

const GZIP_LEVEL: u32 = 5;
const BROTLI_QUALITY: u32 = 4;
const BROTLI_WINDOW: u32 = 18;
const BROTLI_BUFFER: usize = 4096;
const ZSTD_LEVEL: i32 = 3;

/// In the order of preference among what a client takes equally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

/// A body that is compressed as it passes.
pub struct Compressor {
    encoder: Encoder,
    /// Nothing waits for what may come later.
    flushes: bool,
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    /// None once it has ended.
    Brotli(Option<Box<CompressorWriter<Vec<u8>>>>),
    /// Its context may not be shared by threads, which a mutex that is never locked sees to.
    Zstd(Mutex<ZstdEncoder<'static, Vec<u8>>>),
}

impl Compressor {
    /// Looks at the head of an answer. Where it gains, it says from now on that it depends on what the client takes; and
    /// where the client takes something, that the body is encoded, which this does to it.
    pub fn of(wanted: Compress, request: &RequestHeader, response: &mut ResponseHeader) -> Result<Option<Self>> {
        if stands_for_a_whole(response) {
            vary(response)?;
            if response.status == StatusCode::NOT_MODIFIED && has_weak_copy(&request.headers, &response.headers) {
                weaken_etag(response)?;
            }
            return Ok(None);
        }
        if !gains(wanted, response) {
            return Ok(None);
        }
        vary(response)?;
        let Some(coding) = choose(&request.headers) else { return Ok(None) };
        let flushes = response.remove_header(&CONTENT_LENGTH).is_none();
        response.remove_header(&ACCEPT_RANGES);
        for digest in &DIGESTS {
            response.remove_header(digest);
        }
        response.insert_header(CONTENT_ENCODING, coding.name())?;
        weaken_etag(response)?;
        if request.method == Method::HEAD {
            return Ok(None);
        }
        if request.version == Version::HTTP_11 {
            response.set_version(Version::HTTP_11); // the application's may have been 1.0, which has no chunks
            response.insert_header(TRANSFER_ENCODING, "chunked")?;
        }
        let encoder = Encoder::new(coding).or_err(ErrorType::InternalError, "no compressor")?;
        Ok(Some(Self { encoder, flushes }))
    }

    /// One piece; the last may be none.
    pub fn pass(&mut self, piece: &mut Option<Bytes>, end: bool) -> Result<()> {
        let taken = piece.take();
        let encoded = self.encoder.encode(taken.as_deref().unwrap_or_default(), self.flushes, end);
        let encoded = encoded.or_err(ErrorType::InternalError, "while compressing")?;
        *piece = (!encoded.is_empty()).then(|| encoded.into());
        Ok(())
    }
}

/// Whether an answer with this head is better off compressed.
fn gains(wanted: Compress, response: &ResponseHeader) -> bool {
    let headers = &response.headers;
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let whole =
        !matches!(response.status, StatusCode::PARTIAL_CONTENT | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            && !headers.contains_key(CONTENT_RANGE);
    whole
        && length.is_none_or(|length| length >= wanted.at_least)
        && headers.get(CONTENT_ENCODING).is_none_or(|coding| coding == "identity")
        && !says(headers, CACHE_CONTROL.as_str(), "no-transform")
        && headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(is_text)
}

/// Whether this speaks of an answer that may have been compressed when it went out whole, of which it is a part or says
/// that it has not changed. A cache takes its `Vary` and tag for that one's (RFC 9110, 15.4.5).
fn stands_for_a_whole(response: &ResponseHeader) -> bool {
    let headers = &response.headers;
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    matches!(response.status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED)
        && headers.get(CONTENT_ENCODING).is_none_or(|coding| coding == "identity")
        && !says(headers, CACHE_CONTROL.as_str(), "no-transform")
        && kind.is_none_or(|kind| is_text(kind) || kind.starts_with("multipart/byteranges"))
}

fn vary(response: &mut ResponseHeader) -> Result<()> {
    if says(&response.headers, VARY.as_str(), "accept-encoding") {
        return Ok(());
    }
    response.append_header(VARY, "Accept-Encoding").map(drop)
}

/// Whether what the client has is what was compressed: then it names the tag that was weakened, and not the
/// application's own. Where it names neither, the next that it is sent would be.
fn has_weak_copy(asked: &HeaderMap, answered: &HeaderMap) -> bool {
    let Some(tag) = answered.get(ETAG).and_then(|tag| tag.to_str().ok()) else { return false };
    let named = |tag: &str| {
        let lines = asked.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|have| have.trim() == tag)
    };
    !named(tag) && (named(&format!("W/{tag}")) || choose(asked).is_some())
}

/// Types that are text in one way or another. A stream of events is text as well, and has to arrive event by event.
fn is_text(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let text = essence.starts_with("text/") || essence.ends_with("+json") || essence.ends_with("+xml");
    let others = [
        "application/json",
        "application/javascript",
        "application/xml",
        "application/wasm",
        "application/x-ndjson",
        "font/ttf",
        "font/otf",
    ];
    essence != "text/event-stream" && (text || others.contains(&essence.as_str()))
}

/// Whether a header that is a list has this entry.
fn says(headers: &HeaderMap, name: &str, entry: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|have| have.trim().eq_ignore_ascii_case(entry) || have.trim() == "*")
}

/// What the client takes and prefers (RFC 9110, 12.5.3). A client that says nothing is sent nothing encoded.
fn choose(headers: &HeaderMap) -> Option<Coding> {
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let entries: Vec<(&str, u16)> = lines.flat_map(|line| line.split(',')).map(weighed).collect();
    let weight = |coding: Coding| {
        let named =
            |name: &str| entries.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, weight)| *weight);
        named(coding.name()).or_else(|| named("*")).unwrap_or(0)
    };
    // The last of equals wins: the one preferred stands last.
    let best = [Coding::Gzip, Coding::Brotli, Coding::Zstd].into_iter().max_by_key(|coding| weight(*coding))?;
    let identity =
        entries.iter().find(|(have, _)| have.eq_ignore_ascii_case("identity")).map_or(0, |(_, weight)| *weight);
    (weight(best) > 0 && weight(best) >= identity).then_some(best)
}

/// A coding and its weight in thousandths.
fn weighed(entry: &str) -> (&str, u16) {
    let mut parts = entry.split(';').map(str::trim);
    let coding = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let weight = weight.map_or(1000, |weight| {
        let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
        let thousandths = format!("{fraction:0<3}").get(..3).and_then(|digits| digits.parse::<u16>().ok());
        if whole == "1" { 1000 } else { thousandths.unwrap_or(0) }
    });
    (coding, weight)
}

/// The bytes are no longer those that the tag stood for, what they say is the same (RFC 9110, 8.8.1).
fn weaken_etag(response: &mut ResponseHeader) -> Result<()> {
    let strong = response.headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    let Some(strong) = strong else { return Ok(()) };
    let weak = [b"W/", strong.as_bytes()].concat();
    match HeaderValue::from_bytes(&weak) {
        Ok(weak) => response.insert_header(ETAG, weak),
        Err(_) => Ok(()),
    }
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

impl Encoder {
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL))),
            Coding::Brotli => {
                let writer = CompressorWriter::new(Vec::new(), BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
                Self::Brotli(Some(Box::new(writer)))
            }
            Coding::Zstd => Self::Zstd(Mutex::new(ZstdEncoder::new(Vec::new(), ZSTD_LEVEL)?)),
        })
    }

    /// What is ready behind these bytes.
    fn encode(&mut self, bytes: &[u8], flush: bool, end: bool) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => {
                write(encoder, bytes, flush && !end)?;
                if end {
                    encoder.try_finish()?;
                }
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Brotli(encoder) => {
                let Some(mut open) = encoder.take() else { return Ok(Vec::new()) };
                write(&mut *open, bytes, flush && !end)?;
                if end {
                    return Ok(open.into_inner());
                }
                let ready = std::mem::take(open.get_mut());
                *encoder = Some(open);
                Ok(ready)
            }
            Self::Zstd(encoder) => {
                let encoder = encoder.get_mut().map_err(|_| io::ErrorKind::Other)?;
                write(encoder, bytes, flush && !end)?;
                if end {
                    encoder.do_finish()?;
                }
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }
}

fn write(encoder: &mut impl Write, bytes: &[u8], flush: bool) -> io::Result<()> {
    encoder.write_all(bytes)?;
    if flush && !bytes.is_empty() { encoder.flush() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_that_the_client_takes_is_chosen() {
        for (said, expected) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, br", Some("br")),
            ("gzip", Some("gzip")),
            ("br;q=0.5, gzip;q=0.8", Some("gzip")),
            ("zstd;q=0, br;q=0, gzip;q=0.001", Some("gzip")),
            ("*", Some("zstd")),
            ("*;q=0.1, gzip;q=0.2", Some("gzip")),
            ("zstd;q=0, *", Some("br")),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip", Some("gzip")),
            ("deflate", None),
            ("gzip;q=0", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, said.parse().unwrap());
            assert_eq!(choose(&headers).map(Coding::name), expected, "{said}");
        }
        assert_eq!(choose(&HeaderMap::new()), None);
    }

    #[test]
    fn text_gains_and_events_arrive_as_they_come() {
        for (kind, gain) in [
            ("text/html; charset=utf-8", true),
            ("text/x-component", true),
            ("application/json", true),
            ("application/ld+json", true),
            ("image/svg+xml", true),
            ("Text/Event-Stream", false),
            ("text/event-stream; charset=utf-8", false),
            ("image/png", false),
            ("application/zip", false),
        ] {
            assert_eq!(is_text(kind), gain, "{kind}");
        }
    }
}
