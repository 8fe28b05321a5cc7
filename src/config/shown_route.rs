//! A route as it can be shown, beside `shown`.

use serde_json::{Map, Value, json};

use super::edits::{Edits, ErrorPage, Fixed, HeaderEdits, Page, PathEdits, Redirect, Rewrite};
use super::routes::{Action, HostPattern, Matching, PathPattern, Route, ValuePattern};

pub(super) fn route(route: &Route) -> Value {
    let Route { name, matching, action, edits } = route;
    let mut shown = json!({ "name": &**name, "match": self::matching(matching) });
    let (key, value) = match action {
        Action::Llm(upstream) => ("llm", json!(upstream.name)),
        Action::Proxy(upstream) => ("upstream", json!(upstream.name)),
        Action::Welcome => ("welcome", json!(true)),
        Action::Redirect(Redirect { to, status }) => ("redirect", json!({ "to": to, "status": status.as_u16() })),
        Action::Respond(Fixed { status, page }) => {
            ("respond", json!({ "status": status.as_u16(), "page": self::page(page) }))
        }
    };
    shown[key] = value;
    if let Some(edits) = edits {
        show_edits(edits, &mut shown);
    }
    shown
}

fn matching(Matching { host, path, methods, headers }: &Matching) -> Value {
    let host = match host {
        HostPattern::Any => None,
        HostPattern::Exact(host) => Some(host.clone()),
        HostPattern::Under(parent) => Some(format!("*{parent}")),
    };
    let (prefix, exact) = match path {
        PathPattern::Prefix(prefix) => (Some(prefix), None),
        PathPattern::Exact(path) => (None, Some(path)),
    };
    let value = |pattern: &ValuePattern| match pattern {
        ValuePattern::Any => json!(true),
        ValuePattern::Exact(value) => text(value.as_bytes()),
    };
    let headers = headers.iter().map(|(name, pattern)| (name.to_string(), value(pattern)));
    json!({
        "host": host,
        "path": prefix,
        "exact": exact,
        "methods": methods,
        "headers": headers.collect::<Map<_, _>>(),
    })
}

fn show_edits(Edits { path, request, response, errors }: &Edits, shown: &mut Value) {
    if let Some(PathEdits { strip_prefix, rewrite, add_prefix }) = path {
        shown["strip_prefix"] = json!(strip_prefix);
        shown["rewrite"] =
            json!(rewrite.as_ref().map(|Rewrite { pattern, to }| json!({ "pattern": pattern.0.as_str(), "to": to })));
        shown["add_prefix"] = json!(add_prefix);
    }
    let sides = [("request_headers", request), ("response_headers", response)];
    for (key, edits) in sides.into_iter().filter_map(|(key, edits)| Some((key, edits.as_ref()?))) {
        let HeaderEdits { remove, set, add } = edits;
        let lines = |lines: &[(http::HeaderName, http::HeaderValue)]| {
            lines.iter().map(|(name, value)| json!([name.as_str(), text(value.as_bytes())])).collect::<Vec<_>>()
        };
        let remove: Vec<&str> = remove.iter().map(http::HeaderName::as_str).collect();
        shown[key] = json!({ "remove": remove, "set": lines(set), "add": lines(add) });
    }
    for ErrorPage { statuses: (from, to), page } in errors {
        shown["errors"][format!("{from}-{to}")] = self::page(page);
    }
}

/// Pages may be long: what they are told apart by is shown.
fn page(Page { kind, body }: &Page) -> Value {
    json!({ "type": text(kind.as_bytes()), "bytes": body.len(), "crc32": crc32fast::hash(body) })
}

fn text(bytes: &[u8]) -> Value {
    json!(String::from_utf8_lossy(bytes))
}
