//! What a route asks of a request before it lets it pass.

use std::num::NonZeroU32;
use std::str::FromStr as _;
use std::time::Duration;

use bcrypt::HashParts;
use http::{HeaderName, HeaderValue};

use super::super::problem::Checked;
use super::super::route_guards::{BasicAuth, ForwardAuth, Hash, Maintenance, Rate, RouteGuards, User};
use super::super::snapshot::{Secret, Upstream};
use super::super::source::Source;
use super::super::timeouts::TimeoutOverrides;
use super::edge::network;
use super::names::Names;
use super::read::{At, Fields, all};
use super::{quantity, routes_cors, routes_edits, routes_match, upstreams, watching};

const MOST_REQUESTS: u32 = 1_000_000;
/// Dearer ones let a handful of clients keep the edge busy with guessing.
const DEAREST_BCRYPT: u32 = 14;
const AUTH_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn guards(
    fields: &Fields,
    upstreams: &Names<Upstream>,
    source: &Source,
) -> Checked<Option<Box<RouteGuards>>> {
    let allow = fields.or("allow", Vec::new(), |at| networks(&at));
    let rate = fields.optional("rate_limit", |at| rate(&at));
    let in_flight = fields.optional("in_flight", |at| at.whole(1..=MOST_REQUESTS));
    let maintenance = fields.optional("maintenance", |at| maintenance(&at, source));
    let cors = fields.optional("cors", |at| routes_cors::cors(&at));
    let basic = fields.optional("basic_auth", |at| basic(&at, source));
    let forward = fields.optional("forward_auth", |at| forward(&at, upstreams));
    let body = fields.optional("body", |at| at.parsed("a size", quantity::size).map(|size| size as u64));
    let timeouts = fields.optional("timeouts", |at| timeouts(&at));
    let guards = RouteGuards {
        allow: allow?,
        rate: rate?,
        in_flight: in_flight?,
        maintenance: maintenance?,
        cors: cors?,
        basic: basic?,
        forward: forward?,
        body: body?,
        timeouts: timeouts?,
    };
    Ok((guards != RouteGuards::default()).then(|| Box::new(guards)))
}

/// At least one: an empty list would let everybody in who is kept out by a longer one.
fn networks(at: &At) -> Checked<Vec<ipnet::IpNet>> {
    let networks = all(at.items()?.map(|at| network(&at)))?;
    match networks.is_empty() {
        true => Err(at.problem_with("no address", "write for example [10.0.0.0/8], or leave it out for everybody")),
        false => Ok(networks),
    }
}

fn rate(at: &At) -> Checked<Rate> {
    let fields = at.fields(&["requests", "per", "burst"])?;
    let count = |at: At| at.whole(1..=MOST_REQUESTS).map(|count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN));
    let requests =
        fields.required("requests", "write for example { requests: 10, per: 1s, burst: 20 }").and_then(count);
    let per = fields.or("per", Duration::from_secs(1), |at| at.parsed("a duration", quantity::duration));
    let burst = fields.optional("burst", count);
    let (requests, per) = (requests?, per?);
    if (per / requests.get()).is_zero() {
        return Err(at.problem("is more than a request a nanosecond"));
    }
    Ok(Rate { requests, per, burst: burst?.unwrap_or(requests) })
}

fn maintenance(at: &At, source: &Source) -> Checked<Maintenance> {
    let fields = at.fields(&["file", "retry_after", "except"])?;
    let page = fields.optional("file", |at| routes_edits::page(&at, source));
    let retry_after = fields.optional("retry_after", |at| at.parsed("a duration", quantity::duration));
    let except = fields.or("except", Vec::new(), |at| networks(&at));
    Ok(Maintenance { page: page?, retry_after: retry_after?, except: except? })
}

fn basic(at: &At, source: &Source) -> Checked<BasicAuth> {
    let fields = at.fields(&["file", "realm", "user_header"])?;
    let remedy = "name a file of lines such as ada:$2y$12$…, as htpasswd -B writes them";
    let users = fields.required("file", remedy).and_then(|at| users(&at, source));
    let challenge = fields.or("realm", HeaderValue::from_static("Basic realm=\"cfx\", charset=\"UTF-8\""), |at| {
        at.parsed("a realm", |text| {
            let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte));
            let challenge = HeaderValue::try_from(format!("Basic realm=\"{text}\", charset=\"UTF-8\""));
            challenge.ok().filter(|_| plain).ok_or_else(|| "a realm of plain letters without quotes".to_owned())
        })
    });
    let user_header = fields.optional("user_header", |at| own_header(&at));
    Ok(BasicAuth { challenge: challenge?, users: users?, user_header: user_header? })
}

fn own_header(at: &At) -> Checked<HeaderName> {
    at.parsed("a header's name", |text| routes_edits::name(text, false))
}

/// What is wrong with a line is told by its number, and never shown.
fn users(at: &At, source: &Source) -> Checked<Vec<User>> {
    let text = at.file(source)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let users = all(lines.map(|(index, line)| {
        let user = line
            .split_once(':')
            .and_then(|(name, hash)| Some(User { name: name.to_owned(), hash: hash_of(hash.trim())? }));
        user.ok_or_else(|| {
            let message = format!("line {} of {} has no password by bcrypt or argon2", index + 1, at.quoted());
            at.problem_with(message, "make it with htpasswd -B: MD5 and SHA-1 are guessed too quickly")
        })
    }))?;
    if users.is_empty() {
        return Err(at.problem_with(format!("{} names nobody", at.quoted()), "add a line with htpasswd -B"));
    }
    Ok(users)
}

fn hash_of(text: &str) -> Option<Hash> {
    let bcrypt = ["$2a$", "$2b$", "$2y$"].iter().any(|kind| text.starts_with(kind));
    if bcrypt && HashParts::from_str(text).is_ok_and(|parts| parts.get_cost() <= DEAREST_BCRYPT) {
        return Some(Hash::Bcrypt(Secret::new(text.to_owned())));
    }
    let argon2 = text.starts_with("$argon2") && argon2::PasswordHash::new(text).is_ok();
    argon2.then(|| Hash::Argon2(Secret::new(text.to_owned())))
}

fn forward(at: &At, upstreams: &Names<Upstream>) -> Checked<ForwardAuth> {
    let fields = at.fields(&["upstream", "path", "timeout", "copy"])?;
    let remedy = "write for example { upstream: auth, path: /verify, copy: [x-user] }";
    let upstream = fields.required("upstream", remedy).and_then(|at| {
        let upstream = upstreams.resolve(&at, "upstream")?;
        routes_match::spoken_to_by_the_web(&at, &upstream)?;
        Ok(upstream)
    });
    let path = fields.or("path", "/".to_owned(), |at| at.parsed("a path", watching::path_of));
    let timeout = fields.or("timeout", AUTH_TIMEOUT, |at| at.parsed("a duration", quantity::duration));
    let copy = fields.or("copy", Vec::new(), |at| all(at.items()?.map(|at| own_header(&at))));
    Ok(ForwardAuth { upstream: upstream?, path: path?, timeout: timeout?, copy: copy? })
}

/// Those that the stock proxy loop has.
fn timeouts(at: &At) -> Checked<TimeoutOverrides> {
    let fields = at.fields(&["connect", "between_chunks", "first_byte", "total", "commit_after"])?;
    let others = ["first_byte", "total", "commit_after"].into_iter().filter_map(|key| fields.get(key));
    let others = all(others.map(|at| {
        let message = "is for llm routes: a web answer has connect and between_chunks, and may go on for ever";
        Err::<(), _>(at.problem_with(message, "leave it out"))
    }));
    let timeouts = upstreams::timeouts(at);
    others?;
    timeouts
}
