//! The tables of `docs/guards.md`.

use std::collections::BTreeMap;

/// What a table says of one input.
#[derive(Debug, Clone)]
pub struct Row {
    /// None: served, reset or closed.
    pub status: Option<u16>,
    pub answer: String,
    pub reason: Option<String>,
}

/// The rows under a heading, by their first cell.
pub fn rows(heading: &str) -> BTreeMap<String, Row> {
    let text = std::fs::read_to_string("docs/guards.md").expect("the page of guards");
    let section = text.split(&format!("\n## {heading}\n")).nth(1).expect("a heading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let lines = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let rows: BTreeMap<_, _> = lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [name, answer, reason] = cells[..] else { panic!("three cells: {line}") };
            let reason = Some(reason.trim_matches('`').to_string()).filter(|reason| !reason.is_empty());
            (name.to_string(), Row { status: answer.parse().ok(), answer: answer.to_string(), reason })
        })
        .collect();
    assert!(rows.len() > 3, "the table was read");
    rows
}
