//! Which request goes where.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::super::problem::Checked;
use super::super::snapshot::{Action, Route, Upstream};
use super::super::target::{Http2, Target};
use super::names::Names;
use super::read::{At, Fields, all};

/// A route with the places its neighbours are held against. What it matches is known even where its upstream is not.
struct Placed<'a> {
    at: At<'a>,
    matching: Option<At<'a>>,
    named: Option<At<'a>>,
    name: String,
    host: Option<String>,
    path: String,
    client_certificate: bool,
    action: Checked<Action>,
}

/// The routes, most specific first.
pub(super) fn routes(file: &Fields, upstreams: &Names<Upstream>) -> Checked<Vec<Route>> {
    let remedy = "write for example routes: [{ match: { path: /v1/ }, llm: litellm }]";
    let section = file.required("routes", remedy)?;
    let read: Vec<Checked<Placed>> = section.items()?.map(|item| placed(item, upstreams)).collect();
    if read.is_empty() {
        return Err(section.problem_with("no route", remedy));
    }
    let placed: Vec<&Placed> = read.iter().filter_map(|route| route.as_ref().ok()).collect();
    let together = [refuse_twins(&placed), refuse_shared_names(&placed), refuse_ways_around(&placed)];
    let routes = all(read.into_iter().map(|placed| placed.and_then(route)));
    all(together)?;
    let mut routes = routes?;
    routes.sort_by_key(|route| (route.host.is_none(), Reverse(trimmed(&route.path).len())));
    Ok(routes)
}

fn route(placed: Placed) -> Checked<Route> {
    let Placed { name, host, path, client_certificate, action, .. } = placed;
    Ok(Route { name: name.into(), host, path, client_certificate, action: action? })
}

fn placed<'a>(at: At<'a>, upstreams: &Names<Upstream>) -> Checked<Placed<'a>> {
    let fields = at.fields(&["name", "match", "client_certificate", "llm", "upstream"])?;
    let (named, matching) = (fields.get("name"), fields.get("match"));
    let name = fields.optional("name", |at| at.text().map(str::to_owned));
    let matched = matching.as_ref().map_or_else(|| Ok((None, "/".to_owned())), matching_of);
    let client_certificate = fields.or("client_certificate", false, |at| {
        at.one_of("word for a client's certificate", &[("required", true), ("optional", false)])
    });
    let action = action(&fields, upstreams);
    let (host, path) = matched?;
    let action = action.and_then(|action| refuse_unreachable(&at, action, &path));
    let (name, client_certificate) = (name?.unwrap_or_else(|| path.clone()), client_certificate?);
    Ok(Placed { at, matching, named, name, host, path, client_certificate, action })
}

fn refuse_unreachable(at: &At, action: Action, path: &str) -> Checked<Action> {
    let reachable = path == "/" || path == "/v1" || path.starts_with("/v1/");
    if matches!(action, Action::Llm(_)) && !reachable {
        let message = format!("an llm route answers /v1/…, which {path:?} keeps from it");
        return Err(at.problem_with(message, "match path: /v1/"));
    }
    Ok(action)
}

fn matching_of(at: &At) -> Checked<(Option<String>, String)> {
    let fields = at.fields(&["host", "path"])?;
    let host = fields.optional("host", |at| at.parsed("a host name", host));
    let path = fields.or("path", "/".to_owned(), |at| at.parsed("a path", path));
    Ok((host?, path?))
}

/// A name or an address as the Host header gives it, without its port.
fn host(text: &str) -> Result<String, String> {
    let bracketed = text.starts_with('[') && text.ends_with(']');
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || (bracketed && "[]:".contains(c));
    if text.chars().all(letters) && !text.is_empty() {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a host name without scheme, port or wildcard, such as app.example.org".to_owned())
    }
}

fn path(text: &str) -> Result<String, String> {
    let dots = text.split('/').any(|segment| segment == "." || segment == "..");
    let plain = text.chars().all(|c| c.is_ascii_graphic() && !"?#*\\".contains(c));
    if text.starts_with('/') && plain && !dots && !text.contains("//") {
        Ok(text.to_owned())
    } else {
        Err("a path prefix that begins with /, such as /v1/".to_owned())
    }
}

fn action(fields: &Fields, upstreams: &Names<Upstream>) -> Checked<Action> {
    match (fields.get("llm"), fields.get("upstream")) {
        (Some(at), None) => upstreams.resolve(&at, "upstream").map(Action::Llm),
        (None, Some(at)) => upstreams.resolve(&at, "upstream").and_then(|upstream| spoken_to_by_the_web(&at, upstream)),
        (Some(_), Some(at)) => Err(at.problem_with("beside llm", "keep one of the two")),
        (None, None) => Err(fields.at().problem_with("goes nowhere", "add llm: or upstream: with an upstream's name")),
    }
}

/// The stock proxy loop speaks HTTP/1.1, which a target that takes nothing but HTTP/2 would not understand.
fn spoken_to_by_the_web(at: &At, upstream: Arc<Upstream>) -> Checked<Action> {
    if upstream.targets.iter().any(|target| target.http2 == Http2::Always) {
        let message =
            format!("upstream {:?} is spoken to in HTTP/2 always, and this route speaks HTTP/1.1", upstream.name);
        return Err(at.problem_with(message, "leave http2: always to the upstreams of llm routes"));
    }
    Ok(Action::Proxy(upstream))
}

/// `/v1` and `/v1/` match the same requests.
fn trimmed(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

fn refuse_twins(routes: &[&Placed]) -> Checked<()> {
    let mut first: HashMap<(Option<&str>, &str), &str> = HashMap::new();
    let checks = routes.iter().map(|placed| {
        let key = (placed.host.as_deref(), trimmed(&placed.path));
        match first.get(&key) {
            Some(twin) => {
                let at = placed.matching.as_ref().unwrap_or(&placed.at);
                Err(at.problem_with(format!("matches the same requests as {twin}"), "change or remove one of them"))
            }
            None => {
                first.insert(key, placed.at.path());
                Ok(())
            }
        }
    });
    all(checks).map(drop)
}

/// Names label logs and metrics, where two routes would become one.
fn refuse_shared_names(routes: &[&Placed]) -> Checked<()> {
    let mut first: HashMap<&str, &str> = HashMap::new();
    let checks = routes.iter().filter_map(|placed| Some((placed, placed.named.as_ref()?))).map(|(placed, at)| {
        match first.get(placed.name.as_str()) {
            Some(other) => {
                Err(at.problem_with(format!("{} is the name of {other} already", at.quoted()), "choose another"))
            }
            None => {
                first.insert(&placed.name, placed.at.path());
                Ok(())
            }
        }
    });
    all(checks).map(drop)
}

/// What an llm route guards must not be reachable by another route without a key.
fn refuse_ways_around(routes: &[&Placed]) -> Checked<()> {
    let guarded: HashMap<&Arc<Target>, &str> = routes
        .iter()
        .filter_map(|placed| match &placed.action {
            Ok(Action::Llm(upstream)) => Some(upstream),
            _ => None,
        })
        .flat_map(|upstream| upstream.targets.iter().map(|target| (target, upstream.name.as_str())))
        .collect();
    let checks = routes.iter().map(|placed| {
        let Ok(Action::Proxy(upstream)) = &placed.action else { return Ok(()) };
        match upstream.targets.iter().find_map(|target| guarded.get(target)) {
            Some(name) => {
                let message = format!("would let requests reach {name:?} without a key");
                Err(placed.at.problem_with(message, "route to it by llm: only"))
            }
            None => Ok(()),
        }
    });
    all(checks).map(drop)
}
