//! What came of a fault, told in the words of `docs/faults.md`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::play::{INNER, Play};
use crate::harness::client::PATIENCE;
use crate::harness::{Answer, Client, Harness, Request, Row};

/// The counters that a fault may move, by series.
#[derive(Clone, Default)]
pub struct Counters(BTreeMap<String, f64>);

impl Counters {
    pub fn read(edge: &Harness) -> Self {
        let request = Request::get("/metrics").instead("Host", &edge.admin.to_string());
        let text = Client::plain(edge.admin).ask(&request).text();
        let counters = [
            "cfx_requests_total{",
            "cfx_refusals_total{",
            "cfx_upstream_attempts_total{",
            "cfx_breaker_failures_total{",
        ];
        let series = text.lines().filter(|line| counters.iter().any(|name| line.starts_with(name)));
        let read = series.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_string(), value.parse().ok()?))
        });
        Self(read.collect())
    }

    /// The counters once `count` more requests were accounted for, which is a moment after their answers.
    pub fn after(&self, edge: &Harness, count: usize) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Self::read(edge);
            let moved = now.moved_since(self, "cfx_requests_total", "code");
            if moved.len() >= count {
                // One page is not one moment: what was counted just before the requests may stand above them on it.
                return Self::read(edge);
            }
            assert!(Instant::now() < deadline, "{count} requests were made, {moved:?} counted");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What a breaker held something against since then: a `target`, a `model`, nothing.
    pub fn held_against(&self, before: &Self) -> String {
        let named = |label: &'static str| {
            let values = self.moved_since(before, "cfx_breaker_failures_total", label);
            values.into_iter().filter(|value| !value.is_empty()).map(move |_| label)
        };
        let held: Vec<_> = named("target").chain(named("model")).collect();
        if held.is_empty() { "not counted".to_string() } else { held.join(", ") }
    }

    /// The values of `label` in the series of `name` that moved, each as often as it was counted.
    pub fn moved_since(&self, before: &Self, name: &str, label: &str) -> Vec<String> {
        let mut moved = Vec::new();
        for (series, value) in self.0.iter().filter(|(series, _)| series.starts_with(name)) {
            let mut left = value - before.0.get(series).copied().unwrap_or(0.0);
            let from = series.split_once(&format!("{label}=\"")).map_or("", |(_, rest)| rest);
            while left >= 1.0 {
                moved.push(from.split('"').next().unwrap_or_default().to_string());
                left -= 1.0;
            }
        }
        moved
    }
}

/// The answer in a few words; `play` says what of the upstream's body may stand in it.
pub fn client(answer: &Answer, play: &Play) -> String {
    if answer.text().contains(INNER) || answer.headers.iter().any(|(_, value)| value.contains("10.0.0.7")) {
        return format!("INNER WORDS: {answer}");
    }
    let wait = answer.header("retry-after").map(|wait| format!(", retry-after {wait}")).unwrap_or_default();
    let end = if answer.complete { ", whole" } else { ", cut" };
    if let Some(code) = refusal(&answer.body) {
        let end = if answer.complete { "" } else { ", cut" };
        return format!("{} `{code}`{wait}{end}", answer.status);
    }
    let told = match answer.body.strip_prefix(&play.passed[..]).map(|rest| without(rest, &play.again)) {
        Some(b"") => String::new(),
        Some(rest) => match in_band(rest) {
            Some(code) => format!(", told `{code}`"),
            None => format!(", then {:?}", String::from_utf8_lossy(rest)),
        },
        None => {
            let common = answer.body.iter().zip(&play.passed).take_while(|(have, wanted)| have == wanted).count();
            format!(", {common} of {} bytes, then {} others", play.passed.len(), answer.body.len() - common)
        }
    };
    format!("{}{wait}{told}{end}", answer.status)
}

/// What is left behind any number of `again`.
fn without<'a>(mut rest: &'a [u8], again: &[u8]) -> &'a [u8] {
    while let Some(more) = rest.strip_prefix(again).filter(|_| !again.is_empty()) {
        rest = more;
    }
    rest
}

/// The code of a refusal of cfx's own.
fn refusal(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body.get("request_id")?;
    Some(body["error"]["code"].as_str()?.to_string())
}

/// The code of one event of cfx's own, with the blank line that may have to end another's before it.
pub fn in_band(rest: &[u8]) -> Option<String> {
    refusal(rest.trim_ascii_start().strip_prefix(b"data: ")?.strip_suffix(b"\n\n")?)
}

/// Why cfx itself says that an answer failed; empty where it does not.
pub fn reason(row: &Row) -> &str {
    Some(row.text("error_message")).filter(|reason| *reason != BY_THE_UPSTREAM).unwrap_or_default()
}

/// What a row says of an answer that the upstream meant as no success.
const BY_THE_UPSTREAM: &str = "answered by the upstream";

pub fn row(row: &Row) -> String {
    let error = match row.text("error_message") {
        "" => String::new(),
        BY_THE_UPSTREAM => format!(" {BY_THE_UPSTREAM}"),
        code => format!(" `{code}`"),
    };
    let metered = match (row.is_null("input_tokens"), row.flag("estimated")) {
        (true, false) => "not metered".to_string(),
        (false, true) if row.number("input_tokens") > 0 => "estimated".to_string(),
        (false, false) if row.tokens() == (21, 4, 25) => "counted".to_string(),
        (_, estimated) => format!("estimated: {estimated}, {row:?}"),
    };
    let attempts =
        if row.number("attempts") == 1 { String::new() } else { format!(", {} attempts", row.number("attempts")) };
    format!("{} {}{error}, {metered}{attempts}", row.text("status"), row.number("http_status"))
}
