//! Which request goes where.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::super::edits::Edits;
use super::super::problem::Checked;
use super::super::route_guards::RouteGuards;
use super::super::routes::{Action, Matching, PathPattern, Route};
use super::super::snapshot::Upstream;
use super::super::source::Source;
use super::super::target::Target;
use super::names::Names;
use super::read::{At, Fields, all};
use super::{routes_control, routes_edits, routes_guards, routes_keys, routes_match};

/// A route with the places its neighbours are held against. What it matches is known even where its upstream is not.
struct Placed<'a> {
    at: At<'a>,
    matched: Option<At<'a>>,
    named: Option<At<'a>>,
    name: String,
    matching: Matching,
    client_certificate: bool,
    action: Checked<Action>,
    edits: Option<Box<Edits>>,
    guards: Option<Box<RouteGuards>>,
}

/// The routes, most specific first.
pub(super) fn routes(file: &Fields, upstreams: &Names<Upstream>, source: &Source) -> Checked<Vec<Arc<Route>>> {
    let remedy = "write for example routes: [{ match: { path: /v1/ }, llm: litellm }]";
    let section = file.required("routes", remedy)?;
    let read: Vec<Checked<Placed>> = section.items()?.map(|item| placed(item, upstreams, source)).collect();
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
    let Placed { name, matching, action, client_certificate, edits, guards, .. } = placed;
    Ok(Arc::new(Route { name: name.into(), matching, client_certificate, action: action?, edits, guards }))
}

fn placed<'a>(at: At<'a>, upstreams: &Names<Upstream>, source: &Source) -> Checked<Placed<'a>> {
    let fields = at.fields(&routes_keys::ALL)?;
    let (named, matched) = (fields.get("name"), fields.get("match"));
    let name = fields.optional("name", |at| at.text().map(str::to_owned));
    let matching = matched.as_ref().map_or_else(|| Ok(routes_match::everything()), routes_match::matching);
    let client_certificate = fields.or("client_certificate", false, |at| {
        at.one_of("word for a client's certificate", &[("required", true), ("optional", false)])
    });
    let action = action(&fields, upstreams, source);
    let edits = routes_edits::edits(&fields, source);
    let guards = routes_guards::guards(&fields, upstreams, source);
    let fitting = routes_keys::refuse_unfit(&fields);
    let matching = matching?;
    let action = action.and_then(|action| refuse_unreachable(&at, action, matching.path.as_str()));
    let action = action.and_then(|action| routes_control::refuse_misplaced(&at, action, &matching.path));
    let (name, client_certificate) = (name?.unwrap_or_else(|| matching.path.as_str().to_owned()), client_certificate?);
    fitting?;
    let edits = routes_control::edits(&action, &matching.path, edits?);
    Ok(Placed { at, matched, named, name, matching, client_certificate, action, edits, guards: guards? })
}

fn refuse_unreachable(at: &At, action: Action, path: &str) -> Checked<Action> {
    let reachable = path == "/" || path == "/v1" || path.starts_with("/v1/");
    if matches!(action, Action::Llm(_)) && !reachable {
        let message = format!("an llm route answers /v1/…, which {path:?} keeps from it");
        return Err(at.problem_with(message, "match path: /v1/"));
    }
    Ok(action)
}

fn action(fields: &Fields, upstreams: &Names<Upstream>, source: &Source) -> Checked<Action> {
    let mut given = routes_keys::ACTIONS.into_iter().filter_map(|key| Some((key, fields.get(key)?)));
    let remedy = "add llm: or upstream: with an upstream's name, redirect:, respond:, control: true or dashboard: true";
    let (key, at) = given.next().ok_or_else(|| fields.at().problem_with("goes nowhere", remedy))?;
    if let Some((_, other)) = given.next() {
        return Err(other.problem_with(format!("beside {key}"), "keep one of the two"));
    }
    match key {
        "llm" => upstreams.resolve(&at, "upstream").map(Action::Llm),
        "redirect" => routes_edits::redirect(&at).map(Action::Redirect),
        "respond" => routes_edits::respond(&at, source).map(Action::Respond),
        "control" => routes_control::inside(&at, Action::Control),
        "dashboard" => routes_control::inside(&at, Action::Dashboard),
        _ => upstreams.resolve(&at, "upstream").and_then(|upstream| {
            routes_match::spoken_to_by_the_web(&at, &upstream)?;
            Ok(Action::Proxy(upstream))
        }),
    }
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
    let actions: Vec<&Action> = routes.iter().filter_map(|placed| placed.action.as_ref().ok()).collect();
    let guarded = guarded(&actions);
    let checks =
        routes.iter().map(|placed| match placed.action.as_ref().ok().and_then(|it| way_around(it, &guarded)) {
            Some(name) => {
                let message = format!("would let requests reach {name:?} without a key");
                Err(placed.at.problem_with(message, "route to it by llm: only"))
            }
            None => Ok(()),
        });
    all(checks).map(drop)
}

/// Upstreams that are asked for models, by where they are. Whatever is spoken there: neither TLS nor HTTP/2 makes it
/// another server.
pub(super) type Guarded<'a> = HashMap<(&'a str, u16), &'a str>;

pub(super) fn guarded<'a>(actions: &[&'a Action]) -> Guarded<'a> {
    let upstreams = actions.iter().filter_map(|action| match action {
        Action::Llm(upstream) => Some(upstream),
        _ => None,
    });
    upstreams
        .flat_map(|upstream| upstream.targets.iter().map(|target| (place(target), upstream.name.as_str())))
        .collect()
}

/// The upstream that a route leads to without a key, where it does.
pub(super) fn way_around<'a>(action: &Action, guarded: &Guarded<'a>) -> Option<&'a str> {
    let Action::Proxy(upstream) = action else { return None };
    upstream.targets.iter().find_map(|target| guarded.get(&place(target)).copied())
}

fn place(target: &Target) -> (&str, u16) {
    (target.host.as_str(), target.port)
}
