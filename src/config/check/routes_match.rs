//! What a route asks of a request: host, path, method, headers.

use http::{HeaderName, HeaderValue};

use super::super::normal_path::{matched_path, normal_path};
use super::super::problem::Checked;
use super::super::routes::{HostPattern, Matching, PathPattern, ValuePattern};
use super::super::snapshot::Upstream;
use super::super::target::Http2;
use super::read::{At, all};

/// A route without `match` takes everything.
pub(super) fn everything() -> Matching {
    let path = PathPattern::Prefix("/".to_owned());
    Matching { host: HostPattern::Any, path, methods: Vec::new(), headers: Vec::new() }
}

/// A prefix on any host.
pub(super) fn below(path: &str) -> Matching {
    Matching { path: PathPattern::Prefix(path.to_owned()), ..everything() }
}

pub(super) fn matching(at: &At) -> Checked<Matching> {
    let fields = at.fields(&["host", "path", "exact", "methods", "headers"])?;
    let host = fields.or("host", HostPattern::Any, |at| at.parsed("a host name", host));
    let path = match (fields.get("path"), fields.get("exact")) {
        (Some(_), Some(exact)) => Err(exact.problem_with("beside path, which is a prefix", "keep one of the two")),
        (Some(at), None) => at.parsed("a path", matched).map(PathPattern::Prefix),
        (None, Some(at)) => at.parsed("a path", matched).map(PathPattern::Exact),
        (None, None) => Ok(everything().path),
    };
    let methods = fields.or("methods", Vec::new(), |at| methods(&at));
    let headers = fields.or("headers", Vec::new(), |at| headers(&at));
    Ok(Matching { host: host?, path: path?, methods: methods?, headers: headers? })
}

/// The stock proxy loop speaks HTTP/1.1, which a target that takes nothing but HTTP/2 would not understand.
pub(super) fn spoken_to_by_the_web(at: &At, upstream: &Upstream) -> Checked<()> {
    if upstream.targets.iter().any(|target| target.http2 == Http2::Always) {
        let message =
            format!("upstream {:?} is spoken to in HTTP/2 always, and this route speaks HTTP/1.1", upstream.name);
        return Err(at.problem_with(message, "leave http2: always to the upstreams of llm routes"));
    }
    Ok(())
}

/// A name or an address as the Host header gives it, without its port; or a star and what is behind it.
fn host(text: &str) -> Result<HostPattern, String> {
    let wanted = || "a host name without scheme or port, such as app.example.org or *.example.org".to_owned();
    let (name, under) = match text.strip_prefix('*') {
        Some(parent) if parent.starts_with('.') && parent.len() > 1 => (parent, true),
        Some(_) => return Err(wanted()),
        None => (text, false),
    };
    let bracketed = text.starts_with('[') && text.ends_with(']');
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || (bracketed && "[]:".contains(c));
    if name.is_empty() || !name.chars().all(letters) {
        return Err(wanted());
    }
    let name = name.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    Ok(if under { HostPattern::Under(name) } else { HostPattern::Exact(name) })
}

fn matched(text: &str) -> Result<String, String> {
    path(text).map(|path| matched_path(&path).into_owned())
}

/// As `normal_path` writes it.
pub(super) fn path(text: &str) -> Result<String, String> {
    let dots = normal_path(text).split('/').any(|segment| segment == "." || segment == "..");
    let plain = text.chars().all(|c| c.is_ascii_graphic() && !"?#*\\".contains(c));
    if text.starts_with('/') && plain && !dots && !text.contains("//") {
        Ok(normal_path(text).into_owned())
    } else {
        Err("a path that begins with /, such as /v1/".to_owned())
    }
}

/// At least one, each once, in alphabetical order.
pub(super) fn methods(at: &At) -> Checked<Vec<String>> {
    let mut methods = all(at.items()?.map(|at| {
        at.parsed("a method", |text| {
            let sound = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
            if sound { Ok(text.to_owned()) } else { Err("a method such as GET, in capitals".to_owned()) }
        })
    }))?;
    if methods.is_empty() {
        return Err(at.problem_with("no method", "leave it out for all of them"));
    }
    methods.sort_unstable();
    methods.dedup();
    Ok(methods)
}

/// Parts of names of headers that let their sender in.
const OF_SECRETS: [&str; 6] = ["auth", "cookie", "key", "password", "secret", "token"];

/// Marks what is to be shown to nobody: what came from the environment, and what a header says whose name tells.
pub(super) fn hidden_if_secret(name: &HeaderName, at: &At, mut value: HeaderValue) -> HeaderValue {
    let is_telling = OF_SECRETS.iter().any(|part| name.as_str().contains(part));
    value.set_sensitive(is_telling || at.is_from_environment());
    value
}

fn headers(at: &At) -> Checked<Vec<(HeaderName, ValuePattern)>> {
    let read = at.entries()?.into_iter().map(|entry| {
        let name = HeaderName::from_bytes(entry.name.as_bytes())
            .map_err(|_| entry.problem("is no name of a header", "write for example x-version"));
        let pattern = entry.value.parsed("a value, or \"*\" for any", |text| match text {
            "*" => Ok(ValuePattern::Any),
            text => {
                HeaderValue::from_str(text).map(ValuePattern::Exact).map_err(|_| "what a header can say".to_owned())
            }
        });
        let (name, pattern) = (name?, pattern?);
        let pattern = match pattern {
            ValuePattern::Exact(value) => ValuePattern::Exact(hidden_if_secret(&name, &entry.value, value)),
            ValuePattern::Any => ValuePattern::Any,
        };
        Ok((name, pattern))
    });
    let mut headers = all(read)?;
    headers.sort_unstable_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
    Ok(headers)
}
