//! Which request goes where.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::super::problem::Checked;
use super::super::routes::{Action, Matching, PathPattern, Route};
use super::super::snapshot::Upstream;
use super::super::target::{Http2, Target};
use super::names::Names;
use super::read::{At, Fields, all};
use super::routes_match;

/// A route with the places its neighbours are held against. What it matches is known even where its upstream is not.
struct Placed<'a> {
    at: At<'a>,
    matched: Option<At<'a>>,
    named: Option<At<'a>>,
    name: String,
    matching: Matching,
    action: Checked<Action>,
}

/// The routes, most specific first.
pub(super) fn routes(file: &Fields, upstreams: &Names<Upstream>) -> Checked<Vec<Arc<Route>>> {
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
    routes.sort_by_key(|route| route.matching.rank());
    Ok(routes)
}

fn route(placed: Placed) -> Checked<Arc<Route>> {
    Ok(Arc::new(Route { action: placed.action?, name: placed.name.into(), matching: placed.matching }))
}

fn placed<'a>(at: At<'a>, upstreams: &Names<Upstream>) -> Checked<Placed<'a>> {
    let fields = at.fields(&["name", "match", "llm", "upstream"])?;
    let (named, matched) = (fields.get("name"), fields.get("match"));
    let name = fields.optional("name", |at| at.text().map(str::to_owned));
    let matching = matched.as_ref().map_or_else(|| Ok(routes_match::everything()), routes_match::matching);
    let action = action(&fields, upstreams);
    let matching = matching?;
    let action = action.and_then(|action| refuse_unreachable(&at, action, matching.path.as_str()));
    let name = name?.unwrap_or_else(|| matching.path.as_str().to_owned());
    Ok(Placed { at, matched, named, name, matching, action })
}

fn refuse_unreachable(at: &At, action: Action, path: &str) -> Checked<Action> {
    let reachable = path == "/" || path == "/v1" || path.starts_with("/v1/");
    if matches!(action, Action::Llm(_)) && !reachable {
        let message = format!("an llm route answers /v1/…, which {path:?} keeps from it");
        return Err(at.problem_with(message, "match path: /v1/"));
    }
    Ok(action)
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

/// Two routes that match the same requests, of which only one could ever be asked.
fn refuse_twins(routes: &[&Placed]) -> Checked<()> {
    let mut first: HashMap<_, &At> = HashMap::new();
    let checks = routes.iter().map(|placed| {
        let Matching { host, path, methods, headers } = &placed.matching;
        let exact = matches!(path, PathPattern::Exact(_));
        match first.entry((host, path.trimmed(), exact, methods, headers)) {
            Entry::Occupied(twin) => {
                let (at, twin) = (placed.matched.as_ref().unwrap_or(&placed.at), twin.get());
                let message = format!("matches the same requests as {} in line {}", twin.path(), twin.line());
                Err(at.problem_with(message, "change or remove one of them"))
            }
            Entry::Vacant(entry) => {
                entry.insert(&placed.at);
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
    // Whatever is spoken there: neither TLS nor HTTP/2 makes it another server.
    let place = |target: &Arc<Target>| (target.host.clone(), target.port);
    let guarded: HashMap<(String, u16), &str> = routes
        .iter()
        .filter_map(|placed| match &placed.action {
            Ok(Action::Llm(upstream)) => Some(upstream),
            _ => None,
        })
        .flat_map(|upstream| upstream.targets.iter().map(move |target| (place(target), upstream.name.as_str())))
        .collect();
    let checks = routes.iter().map(|placed| {
        let Ok(Action::Proxy(upstream)) = &placed.action else { return Ok(()) };
        match upstream.targets.iter().find_map(|target| guarded.get(&place(target))) {
            Some(name) => {
                let message = format!("would let requests reach {name:?} without a key");
                Err(placed.at.problem_with(message, "route to it by llm: only"))
            }
            None => Ok(()),
        }
    });
    all(checks).map(drop)
}
