//! A route as it can be shown, beside `shown`.

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::edits::{Compress, Edits, ErrorPage, Fixed, HeaderEdits, Page, PathEdits, Redirect, Rewrite, Sticky};
use super::route_guards::{BasicAuth, Cors, ForwardAuth, Maintenance, Rate, RouteGuards, User};
use super::routes::{Action, HostPattern, Matching, PathPattern, Route, ValuePattern};
use super::shown::{HIDDEN, overrides, span};

pub(super) fn route(route: &Route) -> Value {
    let Route { name, matching, action, edits, guards, client_certificate } = route;
    let mut shown = json!({
        "name": &**name,
        "match": self::matching(matching),
        "client_certificate": if *client_certificate { "required" } else { "optional" },
    });
    let (key, value) = match action {
        Action::Llm(upstream) => ("llm", json!(upstream.name)),
        Action::Proxy(upstream) => ("upstream", json!(upstream.name)),
        Action::Control => ("control", json!(true)),
        Action::Dashboard => ("dashboard", json!(true)),
        Action::Redirect(Redirect { to, status }) => ("redirect", json!({ "to": to, "status": status.as_u16() })),
        Action::Respond(Fixed { status, page }) => {
            ("respond", json!({ "status": status.as_u16(), "page": self::page(page) }))
        }
    };
    shown[key] = value;
    if let Some(edits) = edits {
        show_edits(edits, &mut shown);
    }
    if let Some(guards) = guards {
        show_guards(guards, &mut shown);
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
        ValuePattern::Exact(value) => header(value),
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

fn show_edits(Edits { path, request, response, errors, sticky, compress }: &Edits, shown: &mut Value) {
    if let Some(PathEdits { strip_prefix, rewrite, add_prefix }) = path {
        shown["strip_prefix"] = json!(strip_prefix);
        shown["rewrite"] =
            json!(rewrite.as_ref().map(|Rewrite { pattern, to }| json!({ "pattern": pattern.0.as_str(), "to": to })));
        shown["add_prefix"] = json!(add_prefix);
    }
    let sides = [("request_headers", request), ("response_headers", response)];
    for (key, edits) in sides.into_iter().filter_map(|(key, edits)| Some((key, edits.as_ref()?))) {
        let HeaderEdits { remove, set, add } = edits;
        let lines = |lines: &[(HeaderName, HeaderValue)]| {
            lines.iter().map(|(name, value)| json!([name.as_str(), header(value)])).collect::<Vec<_>>()
        };
        let remove: Vec<&str> = remove.iter().map(HeaderName::as_str).collect();
        shown[key] = json!({ "remove": remove, "set": lines(set), "add": lines(add) });
    }
    for ErrorPage { statuses: (from, to), page } in errors {
        shown["errors"][format!("{from}-{to}")] = self::page(page);
    }
    if let Some(Sticky { cookie, max_age }) = sticky {
        shown["sticky"] = json!({ "cookie": cookie, "max_age": max_age.map(span) });
    }
    if let Some(Compress { at_least }) = compress {
        shown["compress"] = json!({ "at_least": at_least });
    }
}

fn show_guards(guards: &RouteGuards, shown: &mut Value) {
    let RouteGuards { allow, rate, in_flight, maintenance, cors, basic, forward, body, timeouts } = guards;
    if !allow.is_empty() {
        shown["allow"] = networks(allow);
    }
    if let Some(Rate { requests, per, burst }) = rate {
        shown["rate_limit"] = json!({ "requests": requests, "per": span(*per), "burst": burst });
    }
    if let Some(in_flight) = in_flight {
        shown["in_flight"] = json!(in_flight);
    }
    if let Some(Maintenance { page, retry_after, except }) = maintenance {
        let page = page.as_ref().map(self::page);
        shown["maintenance"] =
            json!({ "file": page, "retry_after": retry_after.map(span), "except": networks(except) });
    }
    if let Some(Cors { origins, methods, headers, expose, credentials, max_age }) = cors {
        let origins = origins.as_ref().map(|origins| origins.iter().map(header).collect::<Vec<_>>());
        shown["cors"] = json!({
            "origins": origins.unwrap_or_else(|| vec![json!("*")]),
            "methods": header(methods),
            "headers": header(headers),
            "expose": expose.as_ref().map(header),
            "credentials": credentials,
            "max_age": max_age.as_ref().map(header),
        });
    }
    if let Some(BasicAuth { challenge, users, user_header }) = basic {
        let users: Vec<&str> = users.iter().map(|User { name, hash: _ }| name.as_str()).collect();
        let user_header = user_header.as_ref().map(HeaderName::as_str);
        shown["basic_auth"] = json!({ "challenge": header(challenge), "users": users, "user_header": user_header });
    }
    if let Some(ForwardAuth { upstream, path, timeout, copy }) = forward {
        let copy: Vec<&str> = copy.iter().map(HeaderName::as_str).collect();
        shown["forward_auth"] =
            json!({ "upstream": upstream.name, "path": path, "timeout": span(*timeout), "copy": copy });
    }
    if let Some(body) = body {
        shown["body"] = json!(body);
    }
    if let Some(overrides) = timeouts {
        shown["timeouts"] = self::overrides(overrides);
    }
}

fn networks(networks: &[IpNet]) -> Value {
    json!(networks.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn header(value: &HeaderValue) -> Value {
    if value.is_sensitive() { json!(HIDDEN) } else { json!(String::from_utf8_lossy(value.as_bytes())) }
}

/// Pages may be long: what they are told apart by is shown.
fn page(Page { kind, body }: &Page) -> Value {
    json!({ "type": header(kind), "bytes": body.len(), "crc32": crc32fast::hash(body) })
}
