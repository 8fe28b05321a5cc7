//! Reading a tree: each reader returns the value it wants, or reports what stands there instead and goes on.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::super::problem::{Checked, Mark, Place, Report, Reported};
use super::super::raw::{Node, Scalar, Value, join_index, join_key};
use super::super::source::Source;
use super::suggest::instead_of;

/// A place in a file: the node, and the way to it.
#[derive(Debug, Clone)]
pub(super) struct At<'a> {
    report: &'a Report,
    node: &'a Node,
    path: String,
}

/// A mapping whose keys are all known.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    at: At<'a>,
}

/// One entry of a mapping whose keys are names that the file gives.
#[derive(Debug, Clone)]
pub(super) struct Named<'a> {
    pub name: &'a str,
    pub value: At<'a>,
    mark: Mark,
}

impl<'a> At<'a> {
    pub(super) fn root(node: &'a Node, report: &'a Report) -> Self {
        Self { report, node, path: String::new() }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn place(&self) -> Place {
        Place { file: self.report.file().to_owned(), mark: self.node.mark, path: self.path.clone() }
    }

    pub(super) fn line(&self) -> usize {
        self.node.mark.line
    }

    pub(super) fn problem(&self, message: impl Into<String>) -> Reported {
        self.report.add(Some(self.node.mark), &self.path, message, None)
    }

    pub(super) fn problem_with(&self, message: impl Into<String>, remedy: impl Into<String>) -> Reported {
        self.report.add(Some(self.node.mark), &self.path, message, Some(remedy.into()))
    }

    /// "expected a list, found the text "x"".
    fn unexpected(&self, wanted: impl Display) -> Reported {
        match &self.node.value {
            Value::Broken(reported) => *reported,
            Value::Null => self.problem(format!("expected {wanted}, found nothing")),
            Value::List(_) => self.problem(format!("expected {wanted}, found a list")),
            Value::Map(_) => self.problem(format!("expected {wanted}, found a mapping")),
            Value::Scalar(scalar) => self.problem(format!("expected {wanted}, found {}", scalar.quoted())),
        }
    }

    fn scalar(&self, wanted: impl Display) -> Checked<&'a Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) => Ok(scalar),
            _ => Err(self.unexpected(wanted)),
        }
    }

    /// Any text, numbers and flags included: a key may well be all digits.
    pub(super) fn text(&self) -> Checked<&'a str> {
        let text = self.scalar("text")?.text.as_str();
        if text.is_empty() { Err(self.problem("is empty")) } else { Ok(text) }
    }

    /// The text of the file that is named here.
    pub(super) fn file(&self, source: &Source) -> Checked<String> {
        let name = self.text()?;
        source.read(name).map_err(|error| self.problem(format!("{} cannot be read: {error}", self.quoted())))
    }

    /// The text, as messages may show it.
    pub(super) fn quoted(&self) -> String {
        match &self.node.value {
            Value::Scalar(scalar) => scalar.quoted(),
            _ => String::new(),
        }
    }

    /// Text that `parse` understands; its error says what it wants.
    pub(super) fn parsed<T>(&self, wanted: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Checked<T> {
        let scalar = self.scalar(wanted)?;
        parse(&scalar.text).map_err(|wanted| self.unexpected(wanted))
    }

    pub(super) fn flag(&self) -> Checked<bool> {
        let wanted = "true or false";
        match self.scalar(wanted)? {
            scalar if scalar.typed() && scalar.text == "true" => Ok(true),
            scalar if scalar.typed() && scalar.text == "false" => Ok(false),
            _ => Err(self.unexpected(wanted)),
        }
    }

    /// A whole number in `range`. Quoted digits are text.
    pub(super) fn whole<T>(&self, range: RangeInclusive<T>) -> Checked<T>
    where
        T: std::str::FromStr + PartialOrd + Display,
    {
        let scalar = self.scalar("a whole number")?;
        let digits = scalar.typed() && scalar.text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            return Err(self.unexpected("a whole number"));
        }
        match scalar.text.parse::<T>() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(self.unexpected(format!("a whole number from {} to {}", range.start(), range.end()))),
        }
    }

    /// A number in `range`.
    pub(super) fn number(&self, range: RangeInclusive<f64>) -> Checked<f64> {
        let wanted = || format!("a number from {} to {}", range.start(), range.end());
        let scalar = self.scalar(wanted())?;
        match scalar.text.parse::<f64>() {
            Ok(number) if scalar.typed() && range.contains(&number) => Ok(number),
            _ => Err(self.unexpected(wanted())),
        }
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&self, what: &str, words: &[(&str, T)]) -> Checked<T> {
        let text = self.scalar(what)?.text.as_str();
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let remedy = instead_of(text, words.iter().map(|(word, _)| *word));
                Err(self.problem_with(format!("{} is no {what}", self.quoted()), remedy))
            }
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    pub(super) fn items(&self) -> Checked<impl Iterator<Item = At<'a>> + use<'a>> {
        let Value::List(items) = &self.node.value else { return Err(self.unexpected("a list")) };
        let (report, path) = (self.report, self.path.clone());
        Ok(items.iter().enumerate().map(move |(index, node)| At { report, node, path: join_index(&path, index) }))
    }

    /// A mapping from names to values.
    pub(super) fn entries(&self) -> Checked<Vec<Named<'a>>> {
        let Value::Map(entries) = &self.node.value else {
            return match &self.node.value {
                Value::Null => Ok(Vec::new()),
                _ => Err(self.unexpected("a mapping")),
            };
        };
        let entries = entries.iter().map(|entry| Named {
            name: &entry.key,
            value: At { report: self.report, node: &entry.value, path: join_key(&self.path, &entry.key) },
            mark: entry.mark,
        });
        Ok(entries.collect())
    }

    /// The values of a mapping, with no complaint where it is none.
    pub(super) fn children(&self) -> Vec<At<'a>> {
        let Value::Map(entries) = &self.node.value else { return Vec::new() };
        entries.iter().filter_map(|entry| self.child(&entry.key)).collect()
    }

    /// A mapping with these keys and no other. An unknown one is reported and passed over.
    pub(super) fn fields(&self, known: &[&str]) -> Checked<Fields<'a>> {
        #[cfg(test)]
        self.report
            .known
            .borrow_mut()
            .entry(self.path.clone())
            .or_default()
            .extend(known.iter().map(ToString::to_string));
        for entry in self.entries()? {
            if !known.contains(&entry.name) {
                entry.problem("unknown key", instead_of(entry.name, known.iter().copied()));
            }
        }
        Ok(Fields { at: self.clone() })
    }

    pub(super) fn is_mapping(&self) -> bool {
        matches!(&self.node.value, Value::Map(_))
    }

    pub(super) fn is_text(&self, text: &str) -> bool {
        matches!(&self.node.value, Value::Scalar(scalar) if scalar.text == text)
    }

    /// Whether a variable of the environment is part of it, which may be a secret.
    pub(super) fn is_from_environment(&self) -> bool {
        matches!(&self.node.value, Value::Scalar(scalar) if scalar.written.is_some())
    }

    /// The text where there is some, with no complaint where there is none.
    pub(super) fn peek(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// The value of a key, with no complaint about the others. None where it is absent or null.
    pub(super) fn child(&self, key: &str) -> Option<At<'a>> {
        let Value::Map(entries) = &self.node.value else { return None };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        let path = join_key(&self.path, key);
        (!matches!(entry.value.value, Value::Null)).then_some(At { report: self.report, node: &entry.value, path })
    }
}

impl<'a> Fields<'a> {
    pub(super) fn at(&self) -> &At<'a> {
        &self.at
    }

    /// The value of a key; None where it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<At<'a>> {
        self.at.child(key)
    }

    /// Whether the key is written there, be it with nothing behind it.
    pub(super) fn names(&self, key: &str) -> bool {
        matches!(&self.at.node.value, Value::Map(entries) if entries.iter().any(|entry| entry.key == key))
    }

    pub(super) fn required(&self, key: &str, remedy: &str) -> Checked<At<'a>> {
        self.get(key).ok_or_else(|| self.at.problem_with(format!("{key:?} is missing"), remedy))
    }

    pub(super) fn optional<T>(&self, key: &str, read: impl FnOnce(At<'a>) -> Checked<T>) -> Checked<Option<T>> {
        self.get(key).map(read).transpose()
    }

    pub(super) fn or<T>(&self, key: &str, default: T, read: impl FnOnce(At<'a>) -> Checked<T>) -> Checked<T> {
        self.get(key).map_or(Ok(default), read)
    }
}

impl Named<'_> {
    /// A problem with the name itself.
    pub(super) fn problem(&self, message: impl Into<String>, remedy: impl Into<String>) -> Reported {
        self.value.report.add(Some(self.mark), &self.value.path, message, Some(remedy.into()))
    }
}

/// Every value, or the first proof that one is missing. Unlike `collect` it does not stop there, so that all are read.
pub(super) fn all<T>(values: impl IntoIterator<Item = Checked<T>>) -> Checked<Vec<T>> {
    let mut read = Ok(Vec::new());
    for value in values {
        match (&mut read, value) {
            (Ok(values), Ok(value)) => values.push(value),
            (Ok(_), Err(reported)) => read = Err(reported),
            (Err(_), _) => {}
        }
    }
    read
}
