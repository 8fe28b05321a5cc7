//! One event of each dialect: what it adds to usage, to what was said and to the end of the stream.

use super::mould::Mould;
use crate::llm::endpoint::Dialect;
use crate::llm::finder::Finder;
use crate::llm::json::{JsonError, Kind, Scanner, Span};
use crate::llm::sse;
use crate::llm::tally::Tally;
use crate::llm::usage::Reported;
use crate::units::Usage;

/// What the events so far have said.
#[derive(Debug)]
pub(super) struct Reading {
    dialect: Dialect,
    /// The last usage that made sense; in the messages dialect all reports joined.
    usage: Option<Usage>,
    /// Messages only: usage comes in two parts, at the beginning and at the end.
    joined: Reported,
    said: Tally,
    /// What had been said when usage came last.
    said_before: Tally,
    pub saw_event: bool,
    pub saw_end: bool,
    pub error: bool,
    /// What counts of the event that is being read.
    counts: Counts,
    mould: Mould,
}

/// What of one event would count once more if it came again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    Nothing,
    /// One text, and where it lies in the event's data.
    Text(Span),
    More,
}

/// What one chat or completions chunk holds besides usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Nothing,
    Something,
}

impl Reading {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            usage: None,
            joined: Reported::default(),
            said: Tally::default(),
            said_before: Tally::default(),
            saw_event: false,
            saw_end: false,
            error: false,
            counts: Counts::Nothing,
            mould: Mould::default(),
        }
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// What was said, and what of it behind the last usage. `under_way`: an event too long to be read whole, of which what
    /// has come counts, for it has been passed on.
    pub(super) fn said(&self, under_way: Option<&Finder>) -> (Tally, Tally) {
        let mut said = self.said;
        said.unread(under_way.map_or(0, |event| self.chars_said(event)));
        (said, said.since(&self.said_before))
    }

    /// Reads the event that `bytes` begins with, if it is the last one but for its text; its length. It brings no usage.
    pub(super) fn alike(&mut self, bytes: &[u8]) -> Option<usize> {
        let (text, length) = self.mould.fits(bytes)?;
        self.said.count(text);
        Some(length)
    }

    /// Reads a whole event; whether it brings usage and nothing else. What cannot be read is passed over.
    pub(super) fn event(&mut self, event: &[u8]) -> bool {
        self.counts = Counts::Nothing;
        let only_usage = self.parse(event);
        match (self.counts, sse::only_data_start(event)) {
            (Counts::Text(Span { start, end }), Some(data)) => {
                self.mould.remember(event, Span { start: data + start, end: data + end });
            }
            _ => self.mould.forget(),
        }
        only_usage
    }

    /// The same of one that no empty line ended. Where its data broke off as well, nobody can read that it was the last, or
    /// an error.
    pub(super) fn unended(&mut self, event: &[u8]) -> bool {
        let before = (self.saw_end, self.error);
        let only_usage = self.event(event);
        if !sse::data(event).is_some_and(|data| sse::is_done(&data) || Finder::is_whole(&data)) {
            (self.saw_end, self.error) = before;
        }
        only_usage
    }

    fn parse(&mut self, event: &[u8]) -> bool {
        // Anthropic's SDKs raise on the name alone, whatever the data say.
        self.error |= self.dialect == Dialect::Messages && sse::name(event) == Some(b"error");
        let Some(data) = sse::data(event) else { return false };
        self.saw_event = true;
        if sse::is_done(&data) {
            self.saw_end = true;
            return false;
        }
        let mut scanner = Scanner::new(&data);
        match self.dialect {
            Dialect::Responses => self.response_event(&mut scanner).is_err(),
            Dialect::Messages => self.message_event(&mut scanner).is_err(),
            Dialect::Chat | Dialect::Completions | Dialect::Embeddings => {
                return self.chunk(&mut scanner).unwrap_or(false);
            }
        };
        false
    }

    /// Takes what was found in an event too long to be read whole.
    pub(super) fn long(&mut self, event: &Finder) {
        self.said.unread(self.chars_said(event));
        if let Some(reported) = event.reported {
            self.reported(reported);
        }
        self.saw_event |= event.complete;
        if event.complete {
            self.error |= event.error;
            self.named(event.kind());
        }
    }

    fn chars_said(&self, event: &Finder) -> u64 {
        match self.dialect {
            // The long ones of this dialect repeat what its deltas have said.
            Dialect::Responses if !event.kind().ends_with(b".delta") => 0,
            _ => event.chars,
        }
    }

    fn reported(&mut self, reported: Reported) {
        self.counts = Counts::More;
        let reported = match self.dialect {
            Dialect::Messages => {
                self.joined = self.joined.joined(reported);
                self.joined
            }
            _ => reported,
        };
        if let Some(usage) = reported.usage(self.dialect) {
            self.usage = Some(usage);
            self.said_before = self.said;
        }
    }

    /// What the `type` of an event says of the stream as a whole.
    fn named(&mut self, kind: &[u8]) {
        match (self.dialect, kind) {
            (Dialect::Responses, b"response.completed" | b"response.incomplete") => self.saw_end = true,
            (Dialect::Responses, b"response.failed") => {
                self.saw_end = true;
                self.error = true;
            }
            (Dialect::Messages, b"message_stop") => self.saw_end = true,
            (Dialect::Responses | Dialect::Messages, b"error") => self.error = true,
            _ => {}
        }
    }

    /// A chunk of chat or completions; whether it brings usage and nothing else.
    fn chunk(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
        let mut open = scanner.object()?;
        let mut content = Content::Nothing;
        let mut reported = None;
        while let Some(key) = scanner.member(&mut open)? {
            match key.raw() {
                b"choices" => {
                    if self.choices(scanner)? == Content::Something {
                        content = Content::Something;
                    }
                }
                b"usage" => reported = Reported::read(scanner)?,
                b"error" => {
                    if is_error(scanner)? {
                        self.error = true;
                        content = Content::Something;
                    }
                }
                _ => {
                    scanner.skip()?;
                }
            }
        }
        let Some(reported) = reported else { return Ok(false) };
        self.reported(reported);
        Ok(content == Content::Nothing)
    }

    fn choices(&mut self, scanner: &mut Scanner<'_>) -> Result<Content, JsonError> {
        let mut content = Content::Nothing;
        if scanner.kind()? != Kind::Array {
            scanner.skip()?;
            return Ok(content);
        }
        let mut choices = scanner.array()?;
        while scanner.element(&mut choices)? {
            let mut choice = scanner.object()?;
            while let Some(key) = scanner.member(&mut choice)? {
                let something = match key.raw() {
                    b"delta" | b"message" => self.delta(scanner)?,
                    b"text" => self.counted(scanner)?,
                    b"finish_reason" => says_something(scanner)?,
                    _ => {
                        scanner.skip()?;
                        false
                    }
                };
                if something {
                    content = Content::Something;
                }
            }
        }
        Ok(content)
    }

    /// `choices[].delta`; whether any of its members says something.
    fn delta(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
        if scanner.kind()? != Kind::Object {
            return says_something(scanner);
        }
        let mut something = false;
        let mut open = scanner.object()?;
        while let Some(key) = scanner.member(&mut open)? {
            something |= match key.raw() {
                b"content" | b"reasoning_content" | b"reasoning" | b"refusal" => self.counted(scanner)?,
                b"tool_calls" => self.tool_calls(scanner)?,
                b"function_call" => self.function(scanner)?,
                _ => says_something(scanner)?,
            };
        }
        Ok(something)
    }

    fn tool_calls(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
        if scanner.kind()? != Kind::Array {
            return says_something(scanner);
        }
        let mut calls = scanner.array()?;
        let mut any = false;
        while scanner.element(&mut calls)? {
            any = true;
            let mut call = scanner.object()?;
            while let Some(key) = scanner.member(&mut call)? {
                if key.raw() == b"function" {
                    self.function(scanner)?;
                } else {
                    scanner.skip()?;
                }
            }
        }
        Ok(any)
    }

    fn function(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
        if scanner.kind()? != Kind::Object {
            return says_something(scanner);
        }
        let mut function = scanner.object()?;
        while let Some(key) = scanner.member(&mut function)? {
            if key.raw() == b"arguments" {
                self.counted(scanner)?;
            } else {
                scanner.skip()?;
            }
        }
        Ok(true)
    }

    fn response_event(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let mut open = scanner.object()?;
        while let Some(key) = scanner.member(&mut open)? {
            match key.raw() {
                b"type" if scanner.kind()? == Kind::String => {
                    let kind = scanner.text()?;
                    self.named(kind.raw());
                }
                b"delta" => {
                    self.counted(scanner)?;
                }
                b"response" => self.usage_inside(scanner)?,
                b"error" => self.error |= is_error(scanner)?,
                _ => {
                    scanner.skip()?;
                }
            }
        }
        Ok(())
    }

    fn message_event(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let mut open = scanner.object()?;
        while let Some(key) = scanner.member(&mut open)? {
            match key.raw() {
                b"type" if scanner.kind()? == Kind::String => {
                    let kind = scanner.text()?;
                    self.named(kind.raw());
                }
                b"delta" => self.block_delta(scanner)?,
                b"message" => self.usage_inside(scanner)?,
                b"usage" => {
                    if let Some(reported) = Reported::read(scanner)? {
                        self.reported(reported);
                    }
                }
                b"error" => self.error |= is_error(scanner)?,
                _ => {
                    scanner.skip()?;
                }
            }
        }
        Ok(())
    }

    fn block_delta(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.kind()? != Kind::Object {
            scanner.skip()?;
            return Ok(());
        }
        let mut open = scanner.object()?;
        while let Some(key) = scanner.member(&mut open)? {
            match key.raw() {
                b"text" | b"thinking" | b"partial_json" => {
                    self.counted(scanner)?;
                }
                _ => {
                    scanner.skip()?;
                }
            }
        }
        Ok(())
    }

    /// The usage of a whole response or message inside an event.
    fn usage_inside(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.kind()? != Kind::Object {
            scanner.skip()?;
            return Ok(());
        }
        let mut open = scanner.object()?;
        while let Some(key) = scanner.member(&mut open)? {
            if key.raw() != b"usage" {
                scanner.skip()?;
            } else if let Some(reported) = Reported::read(scanner)? {
                self.reported(reported);
            }
        }
        Ok(())
    }

    /// Counts a string's text; whether there is any.
    fn counted(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
        if scanner.kind()? != Kind::String {
            return says_something(scanner);
        }
        let text = scanner.text()?;
        self.counts = match self.counts {
            Counts::Nothing => Counts::Text(text.span()),
            _ => Counts::More,
        };
        Ok(self.said.count(text))
    }
}

/// Passes over a value; whether it is anything but null, an empty string, array or object.
fn says_something(scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
    let kind = scanner.kind()?;
    let length = scanner.skip()?.len();
    Ok(match kind {
        Kind::Null => false,
        Kind::String | Kind::Array | Kind::Object => length > 2,
        Kind::Number | Kind::Bool => true,
    })
}

/// Passes over the value of `error`; whether there is one.
fn is_error(scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
    let kind = scanner.kind()?;
    scanner.skip()?;
    Ok(matches!(kind, Kind::Object | Kind::String))
}
