//! The files as they were written: a tree in which every key and value knows its line and column.
//!
//! A tree, and not serde types, because serde stops at the first mistake of a document and all of them are wanted at
//! once. Everything here is untyped; `check` gives it meaning.

mod interpolate;
mod parse;

pub(super) use interpolate::{Environment, settle};
pub(super) use parse::parse;

use super::problem::{Mark, Reported};

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub mark: Mark,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `~`, `null` or nothing: the same as leaving the key out.
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Reported already; whoever reads it passes that on instead of complaining again.
    Broken(Reported),
}

#[derive(Debug, Clone)]
pub(super) struct Scalar {
    /// With every `${ENV}` replaced.
    pub text: String,
    /// As in the file, where `text` differs. Messages quote this one: what came from the environment may be a secret.
    pub written: Option<String>,
    /// Not in quotes.
    pub plain: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub mark: Mark,
    pub value: Node,
}

impl Scalar {
    /// The text for use in messages.
    pub(super) fn quoted(&self) -> String {
        const LONGEST: usize = 60;
        let text = self.written.as_ref().unwrap_or(&self.text);
        if text.chars().count() <= LONGEST {
            format!("{text:?}")
        } else {
            format!("{:?}", text.chars().take(LONGEST).chain(['…']).collect::<String>())
        }
    }

    /// Whether the text may be read as a number or a flag: in quotes it is text, unless the environment filled it in,
    /// since `${ENV}` needs quotes inside `{ }`.
    pub(super) fn typed(&self) -> bool {
        self.plain || self.written.is_some()
    }
}

/// `path.key`, with keys that hold more than names do in brackets: `users["ada@example.org"]`.
pub(super) fn join_key(path: &str, key: &str) -> String {
    let simple = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    match (path.is_empty(), simple) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

/// `path[index]`.
pub(super) fn join_index(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
