//! What a route changes: paths, headers, pages; and the answers that it gives itself.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use regex::Regex;

use super::super::edits::{
    Compress, Edits, ErrorPage, Fixed, HeaderEdits, Page, PathEdits, Pattern, Redirect, Rewrite, Sticky,
};
use super::super::problem::Checked;
use super::super::source::Source;
use super::read::{At, Fields, Named, all};
use super::{pattern, quantity, routes_match};

/// A page is held in memory, once for each configuration that is in use.
const LARGEST_PAGE: usize = 1 << 20;
/// What fits into one packet is there no sooner for being smaller.
const WORTH_COMPRESSING: u64 = 1024;

/// What belongs to one connection, or frames a message: nothing but trouble in other hands (RFC 9110, 7.6.1).
const OF_THE_CONNECTION: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
];

pub(super) fn edits(fields: &Fields, source: &Source) -> Checked<Option<Box<Edits>>> {
    let path = path_edits(fields);
    let request = fields.optional("request_headers", |at| header_edits(&at, false));
    let response = fields.optional("response_headers", |at| header_edits(&at, true));
    let errors = fields.or("errors", Vec::new(), |at| errors(&at, source));
    let sticky = fields.optional("sticky", |at| sticky(&at));
    let compress = fields.optional("compress", |at| compress(&at)).map(Option::flatten);
    let (path, request, response) = (path?, request?, response?);
    let edits = Edits { path, request, response, errors: errors?, sticky: sticky?, compress: compress? };
    Ok((edits != Edits::default()).then(|| Box::new(edits)))
}

fn compress(at: &At) -> Checked<Option<Compress>> {
    if !at.is_mapping() {
        return at.flag().map(|on| on.then_some(Compress { at_least: WORTH_COMPRESSING }));
    }
    let fields = at.fields(&["at_least"])?;
    let at_least = fields.or("at_least", WORTH_COMPRESSING, |at| {
        at.parsed("a size", quantity::size).map(|size| u64::try_from(size).unwrap_or(u64::MAX))
    });
    Ok(Some(Compress { at_least: at_least? }))
}

fn sticky(at: &At) -> Checked<Sticky> {
    let fields = at.fields(&["cookie", "max_age"])?;
    let cookie = fields.or("cookie", "cfx_target".to_owned(), |at| {
        at.parsed("a cookie's name", |text| {
            // A name is a token, as a header's is (RFC 6265, 4.1.1).
            let token = HeaderName::from_bytes(text.as_bytes()).is_ok();
            if token { Ok(text.to_owned()) } else { Err("a cookie's name such as cfx_target".to_owned()) }
        })
    });
    let max_age = fields.optional("max_age", |at| at.parsed("a duration", quantity::duration));
    Ok(Sticky { cookie: cookie?, max_age: max_age? })
}

fn path_edits(fields: &Fields) -> Checked<Option<PathEdits>> {
    let strip_prefix = fields.optional("strip_prefix", |at| prefix(&at));
    let add_prefix = fields.optional("add_prefix", |at| prefix(&at));
    let rewrite = fields.optional("rewrite", |at| rewrite(&at));
    let edits = PathEdits { strip_prefix: strip_prefix?, rewrite: rewrite?, add_prefix: add_prefix? };
    Ok((edits != PathEdits::default()).then_some(edits))
}

fn prefix(at: &At) -> Checked<String> {
    let path = at.parsed("a path", routes_match::path)?;
    match path.trim_end_matches('/') {
        "" => Err(at.problem_with("changes nothing", "leave it out, or write a prefix such as /app")),
        stem => Ok(stem.to_owned()),
    }
}

fn rewrite(at: &At) -> Checked<Rewrite> {
    let fields = at.fields(&["pattern", "to"])?;
    let remedy = "write for example { pattern: '^/old/(.*)$', to: '/new/$1' }";
    let pattern = fields.required("pattern", remedy).and_then(|at| pattern::pattern(&at));
    let to = fields.required("to", remedy);
    let (pattern, at) = (pattern?, to?);
    let to = at.text()?.to_owned();
    if let Some(group) = unknown_group(&to, &pattern) {
        return Err(at.problem_with(format!("the pattern has no group ${group}"), "name one that it has, such as $1"));
    }
    if to.contains(['?', '#', ' ']) {
        return Err(at.problem("is no path: the query stays as it is"));
    }
    Ok(Rewrite { pattern: Pattern(pattern), to })
}

/// The first group that `to` names and the pattern has not: the engine would put nothing in its place.
fn unknown_group(to: &str, pattern: &Regex) -> Option<String> {
    let mut rest = to;
    while let Some((_, behind)) = rest.split_once('$') {
        if let Some(literal) = behind.strip_prefix('$') {
            rest = literal;
            continue;
        }
        let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(behind.len());
        let name = behind.get(..end).unwrap_or_default();
        let numbered = name.parse::<usize>().is_ok_and(|number| number < pattern.captures_len());
        if !numbered && !pattern.capture_names().flatten().any(|known| known == name) {
            return Some(name.to_owned());
        }
        rest = behind;
    }
    None
}

fn header_edits(at: &At, of_response: bool) -> Checked<HeaderEdits> {
    let fields = at.fields(&["set", "add", "remove"])?;
    let lines = |key| fields.or(key, Vec::new(), |at| all(at.entries()?.iter().map(|line| header(line, of_response))));
    let (set, add) = (lines("set"), lines("add"));
    let remove = fields.or("remove", Vec::new(), |at| {
        all(at.items()?.map(|at| {
            let name = at.parsed("a header's name", |text| name(text, of_response))?;
            Ok(name)
        }))
    });
    let edits = HeaderEdits { remove: remove?, set: set?, add: add? };
    if edits == HeaderEdits::default() {
        return Err(at.problem_with("changes nothing", "write for example { set: { x-frame-options: DENY } }"));
    }
    Ok(edits)
}

fn header(line: &Named, of_response: bool) -> Checked<(HeaderName, HeaderValue)> {
    let name = name(line.name, of_response).map_err(|wanted| line.problem("cannot be set here", wanted));
    let value = line
        .value
        .parsed("a header's value", |text| HeaderValue::from_str(text).map_err(|_| "what a header can say".to_owned()));
    let name = name?;
    let value = routes_match::hidden_if_secret(&name, &line.value, value?);
    Ok((name, value))
}

/// A header that operators may touch. cfx's own say what cfx knows, and those of the connection are not passed on.
pub(super) fn name(text: &str, of_response: bool) -> Result<HeaderName, String> {
    let name =
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| "a header's name such as x-frame-options".to_owned())?;
    let own = name.as_str().starts_with("x-cfx-") || name == "x-request-id";
    let own = own
        || match of_response {
            true => name == "server-timing" || name == "content-encoding" || name.as_str().starts_with("x-ratelimit-"),
            false => name == "forwarded" || name.as_str().starts_with("x-forwarded-"),
        };
    if own {
        return Err(format!("another header: {name} is cfx's own"));
    }
    if OF_THE_CONNECTION.contains(&name.as_str()) {
        return Err(format!("another header: {name} is about one connection, and not passed on"));
    }
    Ok(name)
}

/// A page for each status or range of them.
fn errors(at: &At, source: &Source) -> Checked<Vec<ErrorPage>> {
    let read = at.entries()?.into_iter().map(|entry| {
        let statuses = statuses(entry.name)
            .ok_or_else(|| entry.problem("is no status of an error", "write for example \"404\" or \"500-599\""));
        let page = page(&entry.value, source);
        Ok(ErrorPage { statuses: statuses?, page: page? })
    });
    all(read)
}

fn statuses(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.trim().parse().ok().filter(|status| (400..600).contains(status));
    let (first, last) = (status(first)?, status(last)?);
    (first <= last).then_some((first, last))
}

/// A page in a file beside `cfx.yaml`. Its ending says what it is.
pub(super) fn page(at: &At, source: &Source) -> Checked<Page> {
    let name = at.text()?;
    let kind = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => return Err(at.problem_with("is no page", "name a file that ends in .html, .json or .txt")),
    };
    let body = Bytes::from(at.file(source)?);
    if body.len() > LARGEST_PAGE {
        return Err(at.problem("is larger than 1 MiB, which is held in memory"));
    }
    Ok(Page { kind: HeaderValue::from_static(kind), body })
}

pub(super) fn redirect(at: &At) -> Checked<Redirect> {
    let fields = at.fields(&["to", "status"])?;
    let remedy = "write for example { to: \"https://www.example.org{path}{query}\", status: 308 }";
    let to = fields.required("to", remedy).and_then(|at| at.parsed("a place", place));
    let statuses = ["301", "302", "303", "307", "308"].map(|text| (text, text));
    let status = fields.or("status", "308", |at| at.one_of("status of a redirect", &statuses));
    let (to, status) = (to?, status?);
    Ok(Redirect { to, status: status.parse().unwrap_or(StatusCode::PERMANENT_REDIRECT) })
}

fn place(text: &str) -> Result<String, String> {
    let wanted = "an address such as https://www.example.org{path}{query}, or a path".to_owned();
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once('{') {
        match behind.split_once('}') {
            Some(("host" | "path" | "query", after)) => rest = after,
            _ => return Err("no braces but {host}, {path} and {query}".to_owned()),
        }
    }
    // Two slashes in front would lead to a host that the client names.
    let own = text.starts_with('/') && !text.starts_with("/{") && !text.starts_with("//");
    let path = own || text.starts_with("{path}");
    let named = |rest: &str| rest.starts_with("{host}") || !rest.starts_with(['/', '{', '?']) && !rest.is_empty();
    let address = ["https://", "http://"].iter().any(|scheme| text.strip_prefix(scheme).is_some_and(named));
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if (path || address) && plain { Ok(text.to_owned()) } else { Err(wanted) }
}

pub(super) fn respond(at: &At, source: &Source) -> Checked<Fixed> {
    let fields = at.fields(&["status", "body", "file", "content_type"])?;
    let status = fields.or("status", 200, |at| at.whole(200..=599u16));
    let page = match (fields.get("body"), fields.get("file")) {
        (Some(_), Some(at)) => Err(at.problem_with("beside body", "keep one of the two")),
        (Some(at), None) => at.text().map(|text| Page {
            kind: HeaderValue::from_static("text/plain; charset=utf-8"),
            body: Bytes::copy_from_slice(text.as_bytes()),
        }),
        (None, Some(at)) => page(&at, source),
        (None, None) => Ok(Page { kind: HeaderValue::from_static("text/plain; charset=utf-8"), body: Bytes::new() }),
    };
    let kind = fields.optional("content_type", |at| {
        at.parsed("a media type", |text| {
            HeaderValue::from_str(text).map_err(|_| "a media type such as text/plain".to_owned())
        })
    });
    let (mut page, status) = (page?, status?);
    if let Some(kind) = kind? {
        page.kind = kind;
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
        && !page.body.is_empty()
    {
        return Err(at.problem_with(format!("{} carries no body", status.as_u16()), "leave out body and file"));
    }
    Ok(Fixed { status, page })
}
