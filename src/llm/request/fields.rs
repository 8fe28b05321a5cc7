//! The top level of a body: which members we own, what they may be, and where they lie.

use super::problem::{BodyProblem, Stop};
use super::{Asked, Fields, Limit, Number, Piece, StreamOptions, System};
use crate::llm::controls;
use crate::llm::endpoint::{Dialect, Endpoint};
use crate::llm::json::{Kind, Scanner, Span};

/// The members we own or check. One of them given twice would be read differently by two parsers.
const OWNED: [&str; 20] = [
    "model",
    "messages",
    "input",
    "instructions",
    "system",
    "prompt",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
    "temperature",
    "thinking",
    "tools",
    "metadata",
    "previous_response_id",
    "conversation",
    "background",
];

/// Reads one body into [`Fields`].
pub(super) struct Reader<'a> {
    endpoint: Endpoint,
    pub(super) scanner: Scanner<'a>,
    pub(super) fields: Fields,
    /// One bit for each of [`OWNED`].
    seen: u32,
    /// Text pieces of the message being read.
    pub(super) pieces: Vec<Piece>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(endpoint: Endpoint, scanner: Scanner<'a>) -> Self {
        Self { endpoint, scanner, fields: Fields::default(), seen: 0, pieces: Vec::new() }
    }

    pub(super) fn into_fields(self) -> Fields {
        self.fields
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.endpoint.dialect()
    }

    pub(super) fn read(&mut self) -> Result<(), Stop> {
        self.fields.inside = self.scanner.here() + 1;
        self.fields.empty = true;
        let mut open = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut open)? {
            self.fields.empty = false;
            let name = key.unescape();
            match OWNED.iter().position(|owned| *owned == name) {
                Some(index) => {
                    if self.seen & (1 << index) != 0 {
                        return Err(Stop::twice(OWNED.get(index).copied().unwrap_or_default()));
                    }
                    self.seen |= 1 << index;
                    self.owned(&name)?;
                }
                None => self.other(&name)?,
            }
        }
        self.scanner.finish()?;
        self.require()
    }

    fn owned(&mut self, name: &str) -> Result<(), Stop> {
        match (name, self.dialect()) {
            ("model", _) => self.model()?,
            ("messages", Dialect::Chat | Dialect::Messages) => self.messages("messages")?,
            ("input", Dialect::Responses) => self.input()?,
            ("input", Dialect::Embeddings) => self.text_or_list("input")?,
            ("prompt", Dialect::Completions) => self.text_or_list("prompt")?,
            ("instructions", Dialect::Responses) => self.fields.system = self.system_value("instructions", false)?,
            ("system", Dialect::Messages) => self.fields.system = self.system_value("system", true)?,
            ("stream", _) => self.fields.stream = self.flag("stream")?.unwrap_or(false),
            ("stream_options", _) => self.stream_options()?,
            ("max_tokens", _) => self.fields.max_tokens = Some(self.limit("max_tokens")?),
            ("max_completion_tokens", _) => {
                self.fields.max_completion_tokens = Some(self.limit("max_completion_tokens")?);
            }
            ("max_output_tokens", _) => self.fields.max_output_tokens = Some(self.limit("max_output_tokens")?),
            ("n", _) => self.fields.n = self.number("n")?,
            ("best_of", _) => self.fields.best_of = self.number("best_of")?,
            ("temperature", _) => self.fields.temperature = self.number("temperature")?,
            ("thinking", _) => self.thinking()?,
            ("tools", _) => self.fields.has_tools |= self.holds_any()?,
            ("metadata", _) => self.metadata()?,
            ("previous_response_id", _) => self.not_owned("previous_response_id")?,
            ("conversation", _) => self.not_owned("conversation")?,
            ("background", _) => {
                if self.flag("background")? == Some(true) {
                    return Err(Stop::Problem(BodyProblem::NotOwned("background")));
                }
            }
            _ => {
                self.scanner.skip()?;
            }
        }
        Ok(())
    }

    fn other(&mut self, name: &str) -> Result<(), Stop> {
        if controls::is_control(name) {
            return Err(Stop::Problem(BodyProblem::Control(printable(name))));
        }
        if name == "functions" {
            // The older spelling of `tools`.
            self.fields.has_tools |= self.holds_any()?;
        } else {
            self.scanner.skip()?;
        }
        Ok(())
    }

    fn require(&self) -> Result<(), Stop> {
        let field = match self.dialect() {
            Dialect::Chat | Dialect::Messages => "messages",
            Dialect::Responses | Dialect::Embeddings => "input",
            Dialect::Completions => "prompt",
        };
        let index = OWNED.iter().position(|owned| *owned == field).unwrap_or_default();
        if self.seen & (1 << index) == 0 {
            return Err(Stop::Problem(BodyProblem::Missing(field)));
        }
        Ok(())
    }

    fn model(&mut self) -> Result<(), Stop> {
        if self.scanner.kind()? != Kind::String {
            return Err(Stop::wrong("model", "a string"));
        }
        let text = self.scanner.text()?;
        self.fields.model = Some(text.span());
        self.fields.model_name = Some(text.unescape().into_owned());
        Ok(())
    }

    fn text_or_list(&mut self, field: &'static str) -> Result<(), Stop> {
        match self.scanner.kind()? {
            Kind::String | Kind::Array => {
                self.scanner.skip()?;
                Ok(())
            }
            _ => Err(Stop::wrong(field, "a string or an array")),
        }
    }

    fn system_value(&mut self, field: &'static str, blocks: bool) -> Result<System, Stop> {
        match self.scanner.kind()? {
            Kind::Null => Ok(System::Null(self.scanner.skip()?)),
            Kind::String => Ok(System::Text(self.scanner.text()?.span())),
            Kind::Array if blocks => self.parts(),
            _ if blocks => Err(Stop::wrong(field, "a string or an array of text blocks")),
            _ => Err(Stop::wrong(field, "a string")),
        }
    }

    fn parts(&mut self) -> Result<System, Stop> {
        let start = self.scanner.here();
        let mut open = self.scanner.array()?;
        let mut empty = true;
        while self.scanner.element(&mut open)? {
            empty = false;
            self.scanner.skip()?;
        }
        Ok(System::Parts { span: Span { start, end: self.scanner.offset() }, empty })
    }

    fn flag(&mut self, field: &'static str) -> Result<Option<bool>, Stop> {
        match self.scanner.kind()? {
            Kind::Bool => {
                let span = self.scanner.skip()?;
                Ok(Some(span.len() == "true".len()))
            }
            Kind::Null => {
                self.scanner.skip()?;
                Ok(None)
            }
            _ => Err(Stop::wrong(field, "true or false")),
        }
    }

    fn number(&mut self, field: &'static str) -> Result<Option<Number>, Stop> {
        match self.scanner.kind()? {
            Kind::Number => {
                let span = self.scanner.skip()?;
                Ok(Some(Number { span, value: self.scanner.number_at(span) }))
            }
            Kind::Null => {
                self.scanner.skip()?;
                Ok(None)
            }
            _ => Err(Stop::wrong(field, "a number")),
        }
    }

    fn limit(&mut self, field: &'static str) -> Result<Limit, Stop> {
        if self.scanner.kind()? == Kind::Null {
            return Ok(Limit { span: self.scanner.skip()?, asked: Asked::Nothing });
        }
        match self.number(field)? {
            Some(Number { span, value }) if value < 0.0 => Ok(Limit { span, asked: Asked::Unlimited }),
            Some(Number { span, value }) => Ok(Limit { span, asked: Asked::Tokens(whole(value)) }),
            None => Err(Stop::wrong(field, "a number")),
        }
    }

    fn stream_options(&mut self) -> Result<(), Stop> {
        self.fields.stream_options = match self.scanner.kind()? {
            Kind::Null => StreamOptions::Null(self.scanner.skip()?),
            Kind::Object => self.include_usage()?,
            _ => return Err(Stop::wrong("stream_options", "an object")),
        };
        Ok(())
    }

    fn include_usage(&mut self) -> Result<StreamOptions, Stop> {
        let inside = self.scanner.here() + 1;
        let mut open = self.scanner.object()?;
        let mut found = None;
        let mut empty = true;
        while let Some(key) = self.scanner.member(&mut open)? {
            empty = false;
            if !key.is("include_usage") {
                self.scanner.skip()?;
                continue;
            }
            if found.is_some() {
                return Err(Stop::twice("stream_options.include_usage"));
            }
            let start = self.scanner.here();
            let asked = self.flag("stream_options.include_usage")? == Some(true);
            let span = Span { start, end: self.scanner.offset() };
            found = Some(if asked { StreamOptions::Asked } else { StreamOptions::Declined(span) });
        }
        Ok(found.unwrap_or(StreamOptions::Without { inside, empty }))
    }

    fn thinking(&mut self) -> Result<(), Stop> {
        if self.scanner.kind()? != Kind::Object {
            self.scanner.skip()?;
            return Ok(());
        }
        let mut open = self.scanner.object()?;
        let (mut budget, mut disabled, mut seen) = (None, false, false);
        while let Some(key) = self.scanner.member(&mut open)? {
            if key.is("budget_tokens") {
                if std::mem::replace(&mut seen, true) {
                    return Err(Stop::twice("thinking.budget_tokens"));
                }
                budget = self.number("thinking.budget_tokens")?;
            } else if key.is("type") && self.scanner.kind()? == Kind::String {
                disabled = self.scanner.text()?.is("disabled");
            } else {
                self.scanner.skip()?;
            }
        }
        self.fields.thinking_budget = budget.filter(|_| !disabled).map(|number| whole(number.value));
        Ok(())
    }

    fn holds_any(&mut self) -> Result<bool, Stop> {
        if self.scanner.kind()? != Kind::Array {
            self.scanner.skip()?;
            return Ok(false);
        }
        let mut open = self.scanner.array()?;
        let mut any = false;
        while self.scanner.element(&mut open)? {
            any = true;
            self.scanner.skip()?;
        }
        Ok(any)
    }

    /// LiteLLM reads controls from `metadata` too, and parses it where it is a string of JSON: so an object or nothing.
    fn metadata(&mut self) -> Result<(), Stop> {
        match self.scanner.kind()? {
            Kind::Null => {
                self.scanner.skip()?;
                return Ok(());
            }
            Kind::Object => {}
            _ => return Err(Stop::wrong("metadata", "an object")),
        }
        let mut open = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut open)? {
            let name = key.unescape();
            if controls::is_control_in_metadata(&name) {
                return Err(Stop::Problem(BodyProblem::Control(format!("metadata.{}", printable(&name)))));
            }
            self.scanner.skip()?;
        }
        Ok(())
    }

    fn not_owned(&mut self, field: &'static str) -> Result<(), Stop> {
        if self.scanner.kind()? != Kind::Null {
            return Err(Stop::Problem(BodyProblem::NotOwned(field)));
        }
        self.scanner.skip()?;
        Ok(())
    }
}

/// A count of tokens as a whole number: fractions go down, what is beyond u64 saturates.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates at both ends, as wanted")]
fn whole(value: f64) -> u64 {
    value as u64
}

/// A member's name, fit for a message: the start of it, without anything a terminal or a log could trip over.
fn printable(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}
