//! Where requests go.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::super::problem::Checked;
use super::super::snapshot::Upstream;
use super::super::target::{Http2, Target};
use super::super::timeouts::{CommitAfter, TimeoutOverrides, Timeouts};
use super::names::Names;
use super::quantity;
use super::read::{At, Named, all};
use super::watching;

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(10),
    first_byte: Duration::from_secs(120),
    between_chunks: Duration::from_secs(120),
    total: Duration::from_secs(30 * 60),
    commit_after: None,
};

/// Under the idle limits of the proxies and clients that stand between, of which 30 s is the shortest in common use.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A target stands in the round of its upstream this often.
const MOST_WEIGHT: u16 = 1000;

pub(super) fn upstreams(section: &At) -> Names<Upstream> {
    Names::read(section.entries(), upstream)
}

fn upstream(named: &Named) -> Checked<Upstream> {
    let fields = named.value.fields(&["targets", "api_key", "http2", "timeouts", "keep_alive", "breaker", "health"])?;
    let targets = fields.required("targets", "write for example targets: [\"http://litellm:4000\"]");
    let http2 = fields.or("http2", Http2::default(), |at| at.parsed("auto, off or always", http2));
    // Read whatever became of the other: all mistakes are told at once.
    let targets = targets.and_then(|at| targets_of(&at, *http2.as_ref().unwrap_or(&Http2::default())));
    let authorization = fields.optional("api_key", |at| bearer(&at));
    let timeouts = fields.optional("timeouts", |at| timeouts(&at));
    let timeouts = timeouts?.unwrap_or_default().over(TIMEOUTS);
    let keep_alive = fields.optional("keep_alive", |at| at.parsed("a duration, or off", keep_alive));
    let breaker = fields.optional("breaker", |at| watching::breaker(&at));
    let health = fields.optional("health", |at| watching::health(&at));
    http2?;
    Ok(Upstream {
        name: named.name.to_owned(),
        targets: targets?,
        authorization: authorization?,
        timeouts,
        keep_alive: keep_alive?.unwrap_or(Some(KEEP_ALIVE)),
        breaker: breaker?.unwrap_or_default(),
        health: health?,
    })
}

fn keep_alive(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    quantity::duration(text).map(Some)
}

fn http2(text: &str) -> Result<Http2, String> {
    match text {
        "auto" => Ok(Http2::Auto),
        "off" => Ok(Http2::Off),
        "always" => Ok(Http2::Always),
        _ => Err("auto, off or always".to_owned()),
    }
}

fn bearer(at: &At) -> Checked<HeaderValue> {
    let value = HeaderValue::try_from(format!("Bearer {}", at.text()?));
    let mut value = value.map_err(|_not_text| at.problem("has a character that no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn targets_of(at: &At, http2: Http2) -> Checked<Vec<Arc<Target>>> {
    let places: Vec<At> = at.items()?.collect();
    if places.is_empty() {
        return Err(at.problem_with("no target", "write for example [\"http://litellm:4000\"]"));
    }
    let read: Vec<Checked<Target>> = places.iter().map(weighted_target).collect();
    let twin = |target: &Checked<Target>, before: &[Checked<Target>]| {
        let Ok(target) = target else { return false };
        before.iter().flatten().any(|other| (&other.host, other.port) == (&target.host, target.port))
    };
    let factor = read.iter().flatten().map(|target| target.weight).fold(0, common_factor).max(1);
    all(read.iter().enumerate().map(|(index, target)| match target {
        Ok(_) if twin(target, &read[..index]) => {
            Err(places[index].problem_with("the same target twice", "leave one out, or give one a weight"))
        }
        _ => target.clone().map(|target| Arc::new(Target { http2, weight: target.weight / factor, ..target })),
    }))
}

fn common_factor(one: u16, other: u16) -> u16 {
    if other == 0 { one } else { common_factor(other, one % other) }
}

/// A URL, or a URL and its weight.
fn weighted_target(place: &At) -> Checked<Target> {
    if !place.is_mapping() {
        return target_at(place);
    }
    let fields = place.fields(&["url", "weight"])?;
    let remedy = "write for example { url: \"http://app:3000\", weight: 3 }";
    let target = fields.required("url", remedy).and_then(|at| target_at(&at));
    let weight = fields.or("weight", 1, |at| at.whole(1..=MOST_WEIGHT));
    Ok(Target { weight: weight?, ..target? })
}

fn target_at(place: &At) -> Checked<Target> {
    // What is wrong with any other is told with what was found: not with a password in it.
    if place.parsed("a URL", |text| Ok(text.contains('@')))? {
        return Err(place.problem_with("a user or a password in a URL", "say who asks by api_key"));
    }
    place.parsed("a URL", target)
}

/// `http://host:port` or `https://host`, nothing more: paths are cfx's own, and a password in a URL ends up in logs.
pub(super) fn target(text: &str) -> Result<Target, String> {
    let wanted = || "a URL such as \"http://litellm:4000\"".to_owned();
    let url: http::Uri = text.parse().map_err(|_| wanted())?;
    let tls = match url.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        // `litellm:4000` is one, too: of the scheme `litellm`.
        _ => return Err(format!("{}, with http:// or https:// in front", wanted())),
    };
    let authority = url.authority().ok_or_else(wanted)?;
    if authority.as_str().contains('@') {
        return Err("a URL without user and password".to_owned());
    }
    if url.query().is_some() || !matches!(url.path(), "" | "/") {
        return Err("a URL without a path, which comes from the request".to_owned());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    // `http::Uri` takes a port that is no number for no port at all.
    let port = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => Some(if tls { 443 } else { 80 }),
        Some(port) => port.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port != 0),
        None => None,
    };
    match port {
        _ if host.is_empty() => Err(wanted()),
        Some(port) => Target::new(tls, host, port).ok_or_else(wanted),
        None => Err(format!("{}, its port from 1 to 65535", wanted())),
    }
}

pub(super) fn timeouts(at: &At) -> Checked<TimeoutOverrides> {
    let fields = at.fields(&["connect", "first_byte", "between_chunks", "total", "commit_after"])?;
    let read = |key| fields.optional(key, |at| at.parsed("a duration", quantity::duration));
    let [connect, first_byte, between_chunks, total] = ["connect", "first_byte", "between_chunks", "total"].map(read);
    let commit_after = fields.optional("commit_after", |at| at.parsed("a duration, or off", commit_after));
    Ok(TimeoutOverrides {
        connect: connect?,
        first_byte: first_byte?,
        between_chunks: between_chunks?,
        total: total?,
        commit_after: commit_after?,
    })
}

fn commit_after(text: &str) -> Result<CommitAfter, String> {
    if text == "off" {
        return Ok(CommitAfter::Off);
    }
    quantity::duration(text).map(CommitAfter::Silence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_a_scheme_a_host_and_a_port() {
        for (text, tls, host, port) in [
            ("http://litellm:4000", false, "litellm", 4000),
            ("http://LiteLLM", false, "litellm", 80),
            ("https://api.example.org/", true, "api.example.org", 443),
            ("http://[::1]:8080", false, "::1", 8080),
            ("http://127.0.0.1:1", false, "127.0.0.1", 1),
        ] {
            assert_eq!(target(text), Ok(Target::new(tls, host.to_owned(), port).unwrap()), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "litellm:4000",
            "litellm",
            "/v1",
            "ftp://a",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:99999",
            "http://a:",
            "http://a:b",
            "http://a/v1",
            "http://a?x=1",
            "http://user:pass@a",
            "http://a b",
            "",
        ] {
            assert!(target(text).is_err(), "{text}: {:?}", target(text));
        }
    }
}
