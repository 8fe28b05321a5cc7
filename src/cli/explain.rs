//! `cfx explain`: walks the route table aloud for one request.

use std::fmt::Write as _;
use std::path::PathBuf;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde_json::{Value, json};

use super::Failure;
use crate::config::{HeaderEdits, HostPattern, Miss, Overrides, PathPattern, Route, Source, ValuePattern, load};
use crate::proxy::explain::{Explanation, Outcome, Question, explain};

/// Say what would become of a request: which routes are looked at, which takes it, what is changed
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A method and a URL, such as 'GET https://app.example.org/docs'; without a method, GET
    #[arg(value_name = "REQUEST", required = true, num_args = 1..=2)]
    request: Vec<String>,
    /// A header of the request, as curl takes it; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The directory of cfx.yaml, models.yaml and limits.yaml
    #[arg(long, env = "CFX_CONF", value_name = "DIR", default_value = "conf")]
    conf: PathBuf,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let question = question(&args.request.join(" "), &args.headers).map_err(Failure::Usage)?;
    let source = Source::Directory(args.conf);
    let snapshot = load(&source, &Overrides::default(), &|name| std::env::var(name).ok())
        .map_err(|problems| Failure::Configuration(problems.to_string()))?;
    let explanation = explain(&snapshot.edge, &question);
    if args.json {
        say!("{}", as_json(&explanation));
    } else {
        say!("{}", as_text(&explanation, &question).trim_end());
    }
    Ok(())
}

fn question(request: &str, headers: &[String]) -> Result<Question, String> {
    let mut words = request.split_whitespace();
    let (method, url) = match (words.next(), words.next(), words.next()) {
        (Some(method), Some(url), None) => (method, url),
        (Some(url), None, None) => ("GET", url),
        _ => return Err("write for example 'GET https://app.example.org/docs'".to_owned()),
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("{method:?} is no method"))?;
    let wanted = || format!("{url:?} is no URL: write for example https://app.example.org/docs");
    let url: Uri = url.parse().map_err(|_| wanted())?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
        return Err(wanted());
    }
    let mut map = HeaderMap::new();
    for line in headers {
        let parsed = line.split_once(':').and_then(|(name, value)| {
            Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) = parsed.ok_or_else(|| format!("{line:?} is no header: write for example 'x-beta: yes'"))?;
        map.append(name, value);
    }
    Ok(Question { method, url, headers: map })
}

fn as_text(explanation: &Explanation, question: &Question) -> String {
    let mut text = format!("{} {}\n", question.method, question.url);
    let _ = match explanation.entrypoint {
        Some(entrypoint) => writeln!(text, "entrypoint {} at {}", entrypoint.name, entrypoint.address),
        None => writeln!(text, "no entrypoint listens there; if one did:"),
    };
    for (route, miss) in &explanation.looked_at {
        let said = miss.as_ref().map_or_else(|| "takes it".to_owned(), |miss| format!("no: {}", why(miss)));
        let _ = writeln!(text, "  {:<16} {:<40} {said}", route.name, asks_for(route));
    }
    match &explanation.outcome {
        Outcome::Web(_, sent) => {
            let _ = writeln!(text, "{}", ending(&explanation.outcome));
            let _ = writeln!(text, "sent: {} {}", question.method, sent.target);
        }
        _ => text += &format!("{}\n", ending(&explanation.outcome)),
    }
    if let Some((route, None)) = explanation.looked_at.last() {
        let lines = asks(route).into_iter().map(|ask| format!("asks: {ask}")).chain(changes(route));
        lines.for_each(|line| text += &format!("  {line}\n"));
    }
    text
}

fn ending(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Own(page) => format!("answered by cfx itself: /{page}"),
        Outcome::Redirect(status, to) => format!("redirected with {status} to {to}"),
        Outcome::Fixed(status) => format!("answered with {status} as the route says"),
        Outcome::Page(page) => format!("answered by cfx itself: {page}"),
        Outcome::Model(upstream, path) => {
            format!("a model endpoint: behind key and quota, POST {path} to upstream {upstream}")
        }
        Outcome::Web(upstream, _) => format!("upstream {upstream}"),
        Outcome::Refused(status, code) => format!("refused with {status} {code}"),
    }
}

fn why(miss: &Miss) -> String {
    match miss {
        Miss::Host => "another host".to_owned(),
        Miss::Path => "another path".to_owned(),
        Miss::Method => "another method".to_owned(),
        Miss::Header(name) => format!("the header {name} says something else, or is missing"),
    }
}

/// `GET app.example.org/docs… x-beta: yes`: a prefix ends in dots.
fn asks_for(route: &Route) -> String {
    let matching = &route.matching;
    let mut text = matching.methods.join(",");
    if !text.is_empty() {
        text.push(' ');
    }
    match &matching.host {
        HostPattern::Any => {}
        HostPattern::Exact(host) => text.push_str(host),
        HostPattern::Under(parent) => text += &format!("*{parent}"),
    }
    match &matching.path {
        PathPattern::Exact(path) => text.push_str(path),
        PathPattern::Prefix(path) => text += &format!("{}/…", path.trim_end_matches('/')),
    }
    for (name, pattern) in &matching.headers {
        text += &match pattern {
            ValuePattern::Any => format!(" {name}: *"),
            ValuePattern::Exact(value) => format!(" {name}: {}", shown(value)),
        };
    }
    text
}

/// What a route asks of a request before it goes on, in that order.
fn asks(route: &Route) -> Vec<String> {
    let Some(guards) = &route.guards else { return Vec::new() };
    let joined = |networks: &[ipnet::IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut lines = Vec::new();
    if !guards.allow.is_empty() {
        lines.push(format!("an address in {}", joined(&guards.allow)));
    }
    lines.extend(guards.rate.map(|rate| {
        format!("at most {} requests in {:?} from an address, {} at once", rate.requests, rate.per, rate.burst)
    }));
    lines.extend(guards.in_flight.map(|most| format!("at most {most} under way from an address")));
    lines.extend(guards.maintenance.as_ref().map(|maintenance| match maintenance.except.is_empty() {
        true => "is under maintenance".to_owned(),
        false => format!("is under maintenance, but for {}", joined(&maintenance.except)),
    }));
    lines.extend(guards.basic.as_ref().map(|basic| format!("the password of one of {} users", basic.users.len())));
    lines.extend(
        guards.forward.as_ref().map(|forward| format!("the word of {}{}", forward.upstream.name, forward.path)),
    );
    lines.extend(guards.body.map(|most| format!("a body of at most {most} bytes")));
    lines
}

/// Everything that a route changes, a line each.
fn changes(route: &Route) -> Vec<String> {
    let Some(edits) = &route.edits else { return Vec::new() };
    let mut lines = Vec::new();
    if let Some(path) = &edits.path {
        lines.extend(path.strip_prefix.as_ref().map(|prefix| format!("path: {prefix} is cut off")));
        lines
            .extend(path.rewrite.as_ref().map(|rewrite| format!("path: {} becomes {}", rewrite.pattern.0, rewrite.to)));
        lines.extend(path.add_prefix.as_ref().map(|prefix| format!("path: {prefix} is put in front")));
    }
    for (what, edits) in [("request", &edits.request), ("answer", &edits.response)] {
        edits.iter().for_each(|edits| header_changes(what, edits, &mut lines));
    }
    for error in &edits.errors {
        let (first, last) = error.statuses;
        lines.push(format!("answer: {first}-{last} get a page of {} bytes", error.page.body.len()));
    }
    lines.extend(edits.sticky.as_ref().map(|sticky| format!("answer: the cookie {} keeps the target", sticky.cookie)));
    lines.extend(edits.compress.map(|_| "answer: compressed where that gains and the client takes it".to_owned()));
    lines
}

/// Neither a secret nor what is no text.
fn shown(value: &HeaderValue) -> &str {
    if value.is_sensitive() { "***" } else { value.to_str().unwrap_or("(bytes)") }
}

fn header_changes(what: &str, edits: &HeaderEdits, lines: &mut Vec<String>) {
    lines.extend(edits.remove.iter().map(|name| format!("{what}: {name} is taken away")));
    lines.extend(edits.set.iter().map(|(name, set)| format!("{what}: {name} is set to {:?}", shown(set))));
    lines.extend(edits.add.iter().map(|(name, added)| format!("{what}: {name} gets {:?} as well", shown(added))));
}

fn as_json(explanation: &Explanation) -> Value {
    let looked_at: Vec<Value> = explanation
        .looked_at
        .iter()
        .map(|(route, miss)| json!({ "route": *route.name, "asks_for": asks_for(route), "why_not": miss.as_ref().map(why) }))
        .collect();
    let taken = explanation.looked_at.last().filter(|(_, miss)| miss.is_none());
    let mut answer = json!({
        "entrypoint": explanation.entrypoint.map(|entrypoint| entrypoint.name.clone()),
        "looked_at": looked_at,
        "route": taken.map(|(route, _)| (*route.name).to_owned()),
        "asks": taken.map(|(route, _)| asks(route)).unwrap_or_default(),
        "changes": taken.map(|(route, _)| changes(route)).unwrap_or_default(),
    });
    let (kind, details) = match &explanation.outcome {
        Outcome::Own(page) => ("own", json!({ "page": page })),
        Outcome::Page(page) => ("own", json!({ "page": page })),
        Outcome::Redirect(status, to) => ("redirect", json!({ "status": status, "to": to })),
        Outcome::Fixed(status) => ("fixed", json!({ "status": status })),
        Outcome::Model(upstream, path) => ("model", json!({ "upstream": upstream, "target": path })),
        Outcome::Web(upstream, sent) => {
            let line = |(name, value): (&HeaderName, &HeaderValue)| [name.to_string(), shown(value).to_owned()];
            let headers: Vec<[String; 2]> = sent.headers.iter().map(line).collect();
            ("web", json!({ "upstream": upstream, "target": sent.target, "headers": headers }))
        }
        Outcome::Refused(status, code) => ("refused", json!({ "status": status, "code": code })),
    };
    answer["outcome"] = json!(kind);
    if let (Some(answer), Some(details)) = (answer.as_object_mut(), details.as_object()) {
        answer.extend(details.clone());
    }
    answer
}
