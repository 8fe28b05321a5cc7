//! `docs/faults.md` as the test reads it.

use std::collections::BTreeMap;

use super::play::Kind;

/// What is to come of one fault, in the words of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub client: String,
    pub row: String,
    pub attempt: String,
    pub code: String,
    pub breaker: String,
}

/// By fault and kind, every line of every table.
pub fn outcomes() -> BTreeMap<(String, &'static str), Outcome> {
    let text = std::fs::read_to_string("docs/faults.md").expect("docs/faults.md");
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let &[name, asked, client, row, attempt, code, breaker] = &cells[..] else { continue };
        let kinds: &[Kind] = match asked {
            "asked" => continue, // the head of a table
            "JSON" => &[Kind::Json],
            "SSE" => &[Kind::Sse],
            "both" => &[Kind::Json, Kind::Sse],
            other => panic!("{other:?} is no kind: {line}"),
        };
        for kind in kinds {
            let [client, row, attempt, code, breaker] = [client, row, attempt, code, breaker].map(str::to_string);
            let outcome = Outcome { client, row, attempt, code, breaker };
            let before = found.insert((name.to_string(), kind.name()), outcome);
            assert!(before.is_none(), "twice in the table: {line}");
        }
    }
    found
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Json => "JSON",
            Kind::Sse => "SSE",
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { client, row, attempt, code, breaker } = self;
        write!(out, "{client} | {row} | {attempt} | {code} | {breaker}")
    }
}
