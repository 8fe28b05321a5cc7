//! YAML text to a tree of nodes, by the events of serde-saphyr's own parser.

use std::collections::HashMap;

use serde_yaml::granit_parser::{self, Event, Marker, Parser, ScalarStyle, ScanError, StrInput};

use super::super::problem::Mark;
use super::{Entry, Node, Scalar, Value};

/// Why a text is no YAML that cfx reads, and where that shows.
#[derive(Debug)]
pub(in crate::config) struct SyntaxError {
    pub mark: Mark,
    pub message: String,
}

/// Nodes of one file, those that aliases copy included. A configuration has hundreds; past this it is an alias bomb.
const MOST_NODES: usize = 100_000;

/// Parses one document. How deep the tree can be is bounded by the parser: 255 levels of either kind.
pub(in crate::config) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let options = granit_parser::options! { emit_comments: false };
    let parser = Parser::new_from_str_with_options(text, options);
    Builder { parser, anchors: HashMap::new(), nodes: 0 }.document()
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// Finished nodes by the number the parser gave their `&anchor`.
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// What stands at one place: a node, or the end of the collection around it.
enum Next {
    Node(Node, Option<String>),
    End,
}

impl<'a> Builder<'a> {
    /// The one document of the file; an empty file is a null.
    fn document(&mut self) -> Result<Node, SyntaxError> {
        let mut root = None;
        while let Some((event, mark)) = self.event()? {
            match event {
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(SyntaxError { mark, message: "a second document in one file".to_owned() });
                }
                Event::DocumentStart(..) => {
                    if let Next::Node(node, _) = self.next()? {
                        root = Some(node);
                    }
                }
                _ => {}
            }
        }
        Ok(root.unwrap_or(Node { mark: Mark { line: 1, column: 1 }, value: Value::Null }))
    }

    fn event(&mut self) -> Result<Option<(Event<'a>, Mark)>, SyntaxError> {
        match self.parser.next() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, mark_of(&span.start)))),
            Some(Err(error)) => Err(syntax_error(&error)),
        }
    }

    /// The next node with all that is in it, and its text where it can be a key.
    fn next(&mut self) -> Result<Next, SyntaxError> {
        let Some((event, mark)) = self.event()? else { return Ok(Next::End) };
        self.count(1, mark)?;
        let (value, anchor, tag) = match event {
            Event::SequenceEnd | Event::MappingEnd | Event::DocumentEnd | Event::StreamEnd => return Ok(Next::End),
            Event::Alias(anchor) => return self.alias(anchor, mark),
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style), anchor, tag),
            Event::SequenceStart(_, anchor, tag) => (self.list()?, anchor, tag),
            Event::MappingStart(_, anchor, tag) => (self.map()?, anchor, tag),
            // Comments and the like, which the options above keep the parser from sending.
            _ => return self.next(),
        };
        if tag.is_some() {
            return Err(SyntaxError { mark, message: "tags such as !x have no meaning here".to_owned() });
        }
        let node = Node { mark, value };
        if anchor != 0 {
            self.count(size(&node), mark)?;
            self.anchors.insert(anchor, node.clone());
        }
        let key = key_text(&node);
        Ok(Next::Node(node, key))
    }

    fn alias(&mut self, anchor: usize, mark: Mark) -> Result<Next, SyntaxError> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(SyntaxError { mark, message: "an alias inside the value it stands for".to_owned() });
        };
        let node = Node { mark, value: node.value.clone() };
        self.count(size(&node), mark)?;
        let key = key_text(&node);
        Ok(Next::Node(node, key))
    }

    fn list(&mut self) -> Result<Value, SyntaxError> {
        let mut items = Vec::new();
        while let Next::Node(item, _) = self.next()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn map(&mut self) -> Result<Value, SyntaxError> {
        let mut entries = Vec::new();
        while let Next::Node(Node { mark, .. }, key) = self.next()? {
            let Some(key) = key else {
                return Err(SyntaxError { mark, message: "a key that is no plain text".to_owned() });
            };
            if let Next::Node(value, _) = self.next()? {
                entries.push(Entry { key, mark, value });
            }
        }
        Ok(Value::Map(entries))
    }

    fn count(&mut self, nodes: usize, mark: Mark) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MOST_NODES {
            return Err(SyntaxError { mark, message: format!("more than {MOST_NODES} values in one file") });
        }
        Ok(())
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    let plain = style == ScalarStyle::Plain;
    match text {
        "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
        _ => Value::Scalar(Scalar { text: text.to_owned(), written: None, plain }),
    }
}

fn key_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) => Some(scalar.text.clone()),
        _ => None,
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|entry| 1 + size(&entry.value)).sum(),
        Value::Null | Value::Scalar(_) | Value::Broken(_) => 0,
    }
}

/// The parser counts lines from 1 and columns from 0.
fn mark_of(marker: &Marker) -> Mark {
    Mark { line: marker.line(), column: marker.col() + 1 }
}

fn syntax_error(error: &ScanError) -> SyntaxError {
    SyntaxError { mark: mark_of(error.marker()), message: format!("not YAML: {}", error.info()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(node: &'a Node, key: &str) -> &'a Entry {
        let Value::Map(entries) = &node.value else { panic!("no mapping: {node:?}") };
        entries.iter().find(|entry| entry.key == key).unwrap()
    }

    #[test]
    fn keys_and_values_know_their_places() {
        let root = parse("# head\na:\n  b: [1, 'zwei']\n  ü: { x: y }\n").unwrap_or_else(|e| panic!("{e:?}"));
        let a = entry(&root, "a");
        assert_eq!(a.mark, Mark { line: 2, column: 1 });
        assert_eq!(a.value.mark, Mark { line: 3, column: 3 });
        let Value::List(items) = &entry(&a.value, "b").value.value else { panic!() };
        assert_eq!(items[1].mark, Mark { line: 3, column: 10 });
    }

    #[test]
    fn flow_mappings_need_quotes_around_a_variable() {
        assert!(parse("a: { b: ${C} }").is_err());
        assert!(parse("a: { b: \"${C}\" }").is_ok());
    }

    #[test]
    fn an_alias_stands_where_it_is_written() {
        let root = parse("a: &t { x: 1 }\nb: *t\n").unwrap();
        assert_eq!(entry(&root, "b").value.mark, Mark { line: 2, column: 4 });
        assert!(matches!(entry(&entry(&root, "b").value, "x").value.value, Value::Scalar(_)));
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let copies = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{copies}]\n"));
        }
        assert!(parse(&text).unwrap_err().message.contains("more than"));
    }

    #[test]
    fn what_is_no_yaml_names_its_place() {
        for text in ["a: [1, 2", "a: b: c", "a:\n\tb: 1", "a: *nowhere", "? [a]\n: b", "a: 1\n---\nb: 2", "a: !x 1"] {
            let error = parse(text).unwrap_err();
            assert!(error.mark.line >= 1 && error.mark.column >= 1, "{text}: {error:?}");
        }
    }

    #[test]
    fn an_empty_file_is_null() {
        assert!(matches!(parse("").unwrap().value, Value::Null));
        assert!(matches!(parse("# nothing\n").unwrap().value, Value::Null));
    }
}
