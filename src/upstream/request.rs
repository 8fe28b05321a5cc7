//! A request as it is built here, for whichever HTTP its target speaks.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::config::Target;

/// What goes upstream: always a POST. Can be sent twice.
pub struct OutgoingRequest {
    path: &'static str,
    /// Lines as HTTP/1.1 sends them, without `host`, which is the target's, and without the length.
    lines: Vec<u8>,
    /// The body in order; sent as it stands, never joined.
    segments: Vec<Bytes>,
}

impl OutgoingRequest {
    pub fn new(path: &'static str, segments: Vec<Bytes>) -> Self {
        Self { path, lines: Vec::with_capacity(512), segments }
    }

    pub fn header(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.line(name, value.as_bytes());
    }

    /// A value of our own making.
    pub fn text(&mut self, name: &HeaderName, value: &'static str) {
        self.line(name, value.as_bytes());
    }

    fn line(&mut self, name: &HeaderName, value: &[u8]) {
        for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
            self.lines.extend_from_slice(part);
        }
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = Bytes> {
        self.segments.iter().cloned()
    }

    fn length(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }

    /// The head as HTTP/1.1 has it.
    pub(super) fn head(&self, target: &Target) -> Bytes {
        let mut digits = itoa::Buffer::new();
        let parts = [
            &b"POST "[..],
            self.path.as_bytes(),
            b" HTTP/1.1\r\nhost: ",
            target.authority.as_bytes(),
            b"\r\n",
            &self.lines,
            b"content-length: ",
            digits.format(self.length()).as_bytes(),
            b"\r\n\r\n",
        ];
        parts.concat().into()
    }

    /// The head as HTTP/2 has it. Its lines are read back: whoever speaks HTTP/1.1 is spared a map of them.
    pub(super) fn head_http2(&self, target: &Target) -> Result<Request<()>, http::Error> {
        let mut request = http2_head(Method::POST, target, self.path)?;
        let headers = request.headers_mut();
        for line in self.lines.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(colon) = memchr::memmem::find(line, b": ") else { continue };
            let (name, value) = line.split_at(colon);
            headers.append(HeaderName::from_bytes(name)?, HeaderValue::from_bytes(value.get(2..).unwrap_or_default())?);
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.length()));
        hide(headers);
        Ok(request)
    }
}

/// A head of ours without headers.
pub(super) fn http2_head(method: Method, target: &Target, path: &str) -> Result<Request<()>, http::Error> {
    let scheme = if target.tls { Scheme::HTTPS } else { Scheme::HTTP };
    let authority = Authority::try_from(target.authority.as_bytes())?;
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build()?;
    Request::builder().method(method).uri(uri).version(Version::HTTP_2).body(())
}

/// Our key is in no table of compressed headers: not in ours, and not in that of a proxy in between (RFC 7541, 7.1.3).
fn hide(headers: &mut HeaderMap) {
    if let Some(credential) = headers.get_mut(AUTHORIZATION) {
        credential.set_sensitive(true);
    }
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT;

    use super::*;

    #[test]
    fn both_heads_say_the_same() {
        let target = Target::new(true, "api.example.org".to_owned(), 443).unwrap();
        let body = [&b"{\"a\":"[..], b"1}"].map(Bytes::from_static);
        let mut request = OutgoingRequest::new("/v1/chat/completions", body.to_vec());
        request.text(&ACCEPT, "application/json");
        request.header(&AUTHORIZATION, &HeaderValue::from_static("Bearer a: b"));
        for value in ["one", "other"] {
            request.header(&HeaderName::from_static("openai-beta"), &HeaderValue::from_static(value));
        }
        let lines = "POST /v1/chat/completions HTTP/1.1\r\nhost: api.example.org\r\naccept: application/json\r\n\
                     authorization: Bearer a: b\r\nopenai-beta: one\r\nopenai-beta: other\r\ncontent-length: 7\r\n\r\n";
        assert_eq!(request.head(&target), lines);

        let head = request.head_http2(&target).unwrap();
        assert_eq!((head.method(), head.version()), (&Method::POST, Version::HTTP_2));
        assert_eq!(head.uri(), "https://api.example.org/v1/chat/completions");
        let said: Vec<String> = head.headers().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        assert_eq!(
            said,
            [
                "accept: \"application/json\"",
                "authorization: Sensitive",
                "openai-beta: \"one\"",
                "openai-beta: \"other\"",
                "content-length: \"7\""
            ]
        );
        assert_eq!(head.headers()[AUTHORIZATION], "Bearer a: b");
    }
}
