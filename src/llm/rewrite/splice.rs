//! Replacements and insertions at known offsets of a body.

use std::ops::Range;

use bytes::Bytes;

use crate::llm::json::Span;

/// Below this a body is copied into one piece: one write is cheaper than a handful of slices.
const ONE_PIECE: usize = 16 * 1024;

/// Room for the names, numbers and brackets of all changes to an ordinary request.
const BESIDE_PROMPT: usize = 160;

/// Changes to one body, in any order; no two may overlap.
pub(super) struct Splices {
    /// The new text of all changes, end to end, so that they cost one allocation.
    text: Vec<u8>,
    changes: Vec<Change>,
    /// New members of the top-level object, each with a comma behind it.
    members: Vec<u8>,
}

struct Change {
    old: Span,
    new: Range<usize>,
}

impl Splices {
    /// `prompt`: the bytes of the longest text that will go in. What goes in beside it is a few short members.
    pub(super) fn with_room(prompt: usize) -> Self {
        let text = Vec::with_capacity(prompt + BESIDE_PROMPT);
        Self { text, changes: Vec::with_capacity(8), members: Vec::with_capacity(BESIDE_PROMPT) }
    }

    pub(super) fn replace(&mut self, old: Span, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.text.len();
        write(&mut self.text);
        self.changes.push(Change { old, new: start..self.text.len() });
    }

    pub(super) fn insert(&mut self, at: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.replace(Span { start: at, end: at }, write);
    }

    pub(super) fn number(&mut self, old: Span, value: u64) {
        self.replace(old, |out| out.extend_from_slice(value.to_string().as_bytes()));
    }

    /// A member that was absent. `name` needs no escaping.
    pub(super) fn member(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.members.push(b'"');
        self.members.extend_from_slice(name.as_bytes());
        self.members.extend_from_slice(b"\":");
        write(&mut self.members);
        self.members.push(b',');
    }

    /// The changed body. `inside` is behind its opening brace; `empty` says that it has no member of its own.
    pub(super) fn apply(mut self, body: &Bytes, inside: usize, empty: bool) -> Vec<Bytes> {
        let mut members = std::mem::take(&mut self.members);
        if empty {
            members.pop();
        }
        if !members.is_empty() {
            self.insert(inside, |out| out.append(&mut members));
        }
        self.changes.sort_by_key(|change| change.old.start);
        if body.len() < ONE_PIECE { vec![self.copied(body)] } else { self.sliced(body) }
    }

    fn copied(&self, body: &[u8]) -> Bytes {
        let mut whole = Vec::with_capacity(body.len() + self.text.len());
        let mut at = 0;
        for Change { old, new } in &self.changes {
            whole.extend_from_slice(body.get(at..old.start).unwrap_or_default());
            whole.extend_from_slice(self.text.get(new.clone()).unwrap_or_default());
            at = old.end;
        }
        whole.extend_from_slice(body.get(at..).unwrap_or_default());
        whole.into()
    }

    fn sliced(self, body: &Bytes) -> Vec<Bytes> {
        let text = Bytes::from(self.text);
        let mut segments = Vec::with_capacity(2 * self.changes.len() + 1);
        let mut at = 0;
        for Change { old, new } in self.changes {
            if at < old.start {
                segments.push(body.slice(at..old.start));
            }
            if !new.is_empty() {
                segments.push(text.slice(new));
            }
            at = old.end;
        }
        if at < body.len() {
            segments.push(body.slice(at..));
        }
        segments
    }
}
