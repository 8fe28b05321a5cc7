//! Which keys go with which kind of route.

use super::super::problem::Checked;
use super::read::{Fields, all};

/// What a route does; each has exactly one.
pub(super) const ACTIONS: [&str; 6] = ["llm", "upstream", "redirect", "respond", "control", "dashboard"];

pub(super) const ALL: [&str; 26] = [
    "name",
    "match",
    "client_certificate",
    "llm",
    "upstream",
    "redirect",
    "respond",
    "control",
    "dashboard",
    "strip_prefix",
    "add_prefix",
    "rewrite",
    "request_headers",
    "response_headers",
    "errors",
    "sticky",
    "compress",
    "allow",
    "rate_limit",
    "in_flight",
    "maintenance",
    "cors",
    "basic_auth",
    "forward_auth",
    "body",
    "timeouts",
];

/// What an llm route takes beside its match: what turns requests away. What it sends upstream is built from the body
/// that was admitted, under a path of cfx's own; there is nothing to edit, and nothing that could lead around keys,
/// quotas and the ledger.
const OF_LLM: [&str; 6] = ["client_certificate", "allow", "rate_limit", "in_flight", "maintenance", "cors"];
/// What cfx serves itself speaks for itself; what turns requests away goes with it, but nothing that would have them show
/// credentials of another kind.
const OF_INSIDE: [&str; 7] =
    ["client_certificate", "allow", "rate_limit", "in_flight", "maintenance", "body", "response_headers"];
/// A redirect has the path to edit, and no upstream.
const OF_REDIRECT: [&str; 4] = ["strip_prefix", "add_prefix", "rewrite", "response_headers"];
const OF_RESPOND: [&str; 1] = ["response_headers"];
/// What turns requests away goes with every answer of cfx's own.
const OF_BOTH: [&str; 7] = ["allow", "rate_limit", "in_flight", "maintenance", "cors", "basic_auth", "forward_auth"];

/// Reports every key that does not go with the route's action.
pub(super) fn refuse_unfit(fields: &Fields) -> Checked<()> {
    let (fit, also): (&[&str], &[&str]) = match ACTIONS.into_iter().find(|key| fields.get(key).is_some()) {
        Some("llm") => (&OF_LLM, &[]),
        Some("redirect") => (&OF_REDIRECT, &OF_BOTH),
        Some("respond") => (&OF_RESPOND, &OF_BOTH),
        Some("control" | "dashboard") => (&OF_INSIDE, &[]),
        _ => return Ok(()),
    };
    let why = match fields.get("llm") {
        Some(_) => {
            "is not for llm routes, whose requests are built by cfx alone and which nothing may lead around admission"
        }
        None => "is for routes to an upstream",
    };
    let free = |key: &&str| !["name", "match"].contains(key) && !ACTIONS.contains(key);
    let unfit = ALL.into_iter().filter(free).filter(|key| !fit.contains(key) && !also.contains(key));
    all(unfit.filter_map(|key| fields.get(key)).map(|at| Err::<(), _>(at.problem_with(why, "leave it out")))).map(drop)
}
