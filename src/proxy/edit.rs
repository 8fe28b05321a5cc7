//! What a route changes of a request and of its answer. The same functions serve `cfx explain`.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, LAST_MODIFIED, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::{Error, ErrorSource, ErrorType, Result};

use crate::config::{Edits, HeaderEdits, Page, PathEdits, normal_path};
use crate::entry::claims::X_FORWARDED_PREFIX;

/// Digests of a body (RFC 9530, and the two that came before it), which do not hold of one that was changed.
pub const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// An answer of the upstream whose place a page of the route's takes, and which has no body to put it into.
pub const REPLACED: ErrorType = ErrorType::new("Replaced");

/// Anything with headers.
pub trait Headers {
    fn remove(&mut self, name: &HeaderName);
    fn set(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<()>;
    fn add(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<()>;
}

/// Edits headers: taken away, set, added.
pub fn headers(edits: &HeaderEdits, headers: &mut impl Headers) -> Result<()> {
    edits.remove.iter().for_each(|name| headers.remove(name));
    edits.set.iter().try_for_each(|(name, value)| headers.set(name, value))?;
    edits.add.iter().try_for_each(|(name, value)| headers.add(name, value))
}

/// The path and query that go upstream.
pub fn target(edits: &PathEdits, path: &str, query: Option<&str>) -> String {
    let path = normal_path(path);
    let path = edits.apply(&path);
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    }
}

/// The prefix that this path loses.
pub fn stripped<'edits>(edits: &'edits PathEdits, path: &str) -> Option<&'edits str> {
    let prefix = edits.strip_prefix.as_deref()?;
    normal_path(path)
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        .then_some(prefix)
}

/// A web request, dressed already, as the route wants it.
pub fn request(edits: &Edits, request: &mut RequestHeader) -> Result<()> {
    if let Some(path) = &edits.path {
        if !request.raw_path_is_utf8() {
            let mut error = Error::explain(ErrorType::InvalidHTTPHeader, "a path that is to be edited is no text");
            error.esource = ErrorSource::Downstream;
            return Err(error);
        }
        if let Some(prefix) = stripped(path, request.uri.path()) {
            request.insert_header(X_FORWARDED_PREFIX, prefix)?;
        }
        let target = target(path, request.uri.path(), request.uri.query());
        request.set_raw_path(target.as_bytes())?;
    }
    edits.request.as_ref().map_or(Ok(()), |edits| headers(edits, request))
}

/// The body that takes the place of an answer's own.
pub struct Replacement {
    pub body: Bytes,
    /// The answer has no body, so that none will pass whose place it could take.
    pub of_nothing: bool,
}

/// An answer of the upstream, dressed already, as the route wants it.
pub fn response(edits: &Edits, response: &mut ResponseHeader, asked: &Method) -> Result<Option<Replacement>> {
    if let Some(edits) = &edits.response {
        headers(edits, response)?;
    }
    let Some(page) = edits.page_for(response.status.as_u16()) else { return Ok(None) };
    let empty = response.headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
    put_page(page, response)?;
    Ok(Some(Replacement { body: page.body.clone(), of_nothing: empty && asked != Method::HEAD }))
}

fn put_page(page: &Page, response: &mut ResponseHeader) -> Result<()> {
    for name in [CONTENT_ENCODING, TRANSFER_ENCODING, ETAG, LAST_MODIFIED].iter().chain(&DIGESTS) {
        response.remove_header(name);
    }
    response.insert_header(CONTENT_TYPE, page.kind.clone())?;
    response.insert_header(CONTENT_LENGTH, page.body.len())
}

/// The page of a route for an answer of cfx's own.
pub fn page_of(edits: Option<&Edits>, status: StatusCode) -> Option<&Page> {
    edits?.page_for(status.as_u16())
}

impl Headers for HeaderMap {
    fn remove(&mut self, name: &HeaderName) {
        Self::remove(self, name);
    }

    fn set(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<()> {
        self.insert(name, value.clone());
        Ok(())
    }

    fn add(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<()> {
        self.append(name, value.clone());
        Ok(())
    }
}

impl Headers for RequestHeader {
    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }

    fn set(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<()> {
        self.insert_header(name, value)
    }

    fn add(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<()> {
        // Two hosts are a request that nobody should send.
        if name == HOST { self.insert_header(name, value).map(drop) } else { self.append_header(name, value).map(drop) }
    }
}

impl Headers for ResponseHeader {
    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }

    fn set(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<()> {
        self.insert_header(name, value)
    }

    fn add(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<()> {
        self.append_header(name, value).map(drop)
    }
}
