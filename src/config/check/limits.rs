//! `limits.yaml`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::problem::{Checked, Report};
use super::super::raw::Node;
use super::super::snapshot::{Limits, OnStoreOutage, UserLimits};
use super::quantity;
use super::read::{At, Named, all};

/// What holds where the file is silent or absent.
pub(super) const DEFAULTS: Limits = Limits {
    daily_requests: 1000,
    concurrent_streams: 2,
    concurrent_requests: 16,
    body: 10 << 20,
    in_flight: 20_000,
    streams_in_flight: 10_000,
    body_memory: 512 << 20,
    answer_memory: 256 << 20,
    upload_stall: Duration::from_secs(30),
    read_stall: Duration::from_secs(60),
    on_store_outage: OnStoreOutage::Local,
    users: BTreeMap::new(),
};

const KNOWN: [&str; 12] = [
    "daily_requests",
    "concurrent_streams",
    "concurrent_requests",
    "body",
    "in_flight",
    "streams_in_flight",
    "body_memory",
    "answer_memory",
    "upload_stall",
    "read_stall",
    "on_store_outage",
    "users",
];

const MOST: u32 = 1_000_000_000;
const MOST_IN_FLIGHT: usize = 1_000_000;

pub(in crate::config) fn limits(root: &Node, report: &Report) -> Checked<Limits> {
    let root = At::root(root, report);
    let file = root.fields(&KNOWN)?;
    let count = |key, default| file.or(key, default, |at| at.whole(1..=MOST));
    let bytes = |key, default| file.or(key, default, |at| at.parsed("a size", quantity::size));
    let daily_requests = count("daily_requests", DEFAULTS.daily_requests);
    let concurrent_streams = count("concurrent_streams", DEFAULTS.concurrent_streams);
    let concurrent_requests = count("concurrent_requests", DEFAULTS.concurrent_requests);
    let body = bytes("body", DEFAULTS.body);
    let places = |key, default| file.or(key, default, |at| at.whole(1..=MOST_IN_FLIGHT));
    let in_flight = places("in_flight", DEFAULTS.in_flight);
    let streams_in_flight = places("streams_in_flight", DEFAULTS.streams_in_flight);
    let body_memory = bytes("body_memory", DEFAULTS.body_memory);
    let answer_memory = bytes("answer_memory", DEFAULTS.answer_memory);
    let span = |key, default| file.or(key, default, |at| at.parsed("a duration", quantity::duration));
    let upload_stall = span("upload_stall", DEFAULTS.upload_stall);
    let read_stall = span("read_stall", DEFAULTS.read_stall);
    let stances = [("local", OnStoreOutage::Local), ("refuse", OnStoreOutage::Refuse)];
    let on_store_outage =
        file.or("on_store_outage", DEFAULTS.on_store_outage, |at| at.one_of("way through an outage", &stances));
    let users = file.or("users", BTreeMap::new(), |at| users(&at));
    if let (Ok(body), Ok(memory)) = (body, body_memory)
        && body > memory
    {
        let at = file.get("body_memory").or(file.get("body")).unwrap_or(root.clone());
        let message = format!("body ({body} bytes) does not fit in body_memory ({memory} bytes)");
        return Err(at.problem_with(message, "raise body_memory or lower body"));
    }
    Ok(Limits {
        daily_requests: daily_requests?,
        concurrent_streams: concurrent_streams?,
        concurrent_requests: concurrent_requests?,
        body: body?,
        in_flight: in_flight?,
        streams_in_flight: streams_in_flight?,
        body_memory: body_memory?,
        answer_memory: answer_memory?,
        upload_stall: upload_stall?,
        read_stall: read_stall?,
        on_store_outage: on_store_outage?,
        users: users?,
    })
}

fn users(section: &At) -> Checked<BTreeMap<String, UserLimits>> {
    let named = section.entries()?;
    let checks = named.iter().enumerate().map(|(index, named_user)| {
        let email = named_user.name.to_lowercase();
        let limits = user(named_user);
        if !email.contains('@') {
            return Err(named_user.problem("no e-mail address", "users are named by theirs"));
        }
        match named[..index].iter().find(|other| other.name.to_lowercase() == email) {
            Some(_) => Err(named_user.problem("the same user twice", "capital letters make no difference")),
            None => Ok((email, limits?)),
        }
    });
    Ok(all(checks)?.into_iter().collect())
}

/// Zero is allowed here: it keeps one user out.
fn user(named: &Named) -> Checked<UserLimits> {
    let fields = named.value.fields(&["daily_requests", "concurrent_streams", "concurrent_requests"])?;
    let count = |key| fields.optional(key, |at| at.whole(0..=MOST));
    let [daily, streams, requests] = ["daily_requests", "concurrent_streams", "concurrent_requests"].map(count);
    Ok(UserLimits { daily_requests: daily?, concurrent_streams: streams?, concurrent_requests: requests? })
}
