//! One request body: checked whole, read only where we own a field, kept as it came.

mod fields;
mod messages;
mod problem;
mod user_text;

pub use problem::BodyProblem;
pub use user_text::UserText;

use bytes::Bytes;

use super::endpoint::Endpoint;
use super::json::{self, Kind, Scanner, Span};
use fields::Reader;

/// A body that passed every check, and where in it the fields lie that stages and the rewrite need.
#[derive(Debug)]
pub struct Request {
    endpoint: Endpoint,
    body: Bytes,
    fields: Fields,
}

/// What was found, as offsets into the body.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// Behind the opening brace.
    pub inside: usize,
    /// The object has no member at all.
    pub empty: bool,
    pub model: Option<Span>,
    pub model_name: Option<String>,
    pub stream: bool,
    pub stream_options: StreamOptions,
    pub max_tokens: Option<Limit>,
    pub max_completion_tokens: Option<Limit>,
    pub max_output_tokens: Option<Limit>,
    pub n: Option<Number>,
    pub best_of: Option<Number>,
    pub temperature: Option<Number>,
    /// `thinking.budget_tokens`, where thinking is not disabled.
    pub thinking_budget: Option<u64>,
    pub has_tools: bool,
    /// Chat: behind the opening bracket of `messages`, and whether it holds none.
    pub messages_inside: usize,
    /// Chat: the content of the first system or developer message. Responses: `instructions`. Messages: `system`.
    pub system: System,
    pub last_user: Vec<Piece>,
    /// Bytes of images, files and sounds inside message content.
    pub attachment_bytes: usize,
}

/// A number as it stands; beyond f64 it is infinite.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    pub span: Span,
    pub value: f64,
}

/// An output cap as the client gave it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub span: Span,
    pub asked: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// `null`: as good as absent.
    Nothing,
    /// A negative number, by which several clients say "as much as there is".
    Unlimited,
    Tokens(u64),
}

/// `stream_options`, as far as usage goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum StreamOptions {
    #[default]
    Absent,
    /// `null`, to be replaced whole.
    Null(Span),
    /// An object without `include_usage`: where it begins inside, and whether it has no member.
    Without {
        inside: usize,
        empty: bool,
    },
    /// `include_usage` is false or null: the value to replace.
    Declined(Span),
    Asked,
}

/// Where a system prompt stands, if there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum System {
    #[default]
    Absent,
    /// `null`, to be replaced whole.
    Null(Span),
    Text(Span),
    /// An array of parts or blocks.
    Parts {
        span: Span,
        empty: bool,
    },
}

/// A piece of text inside the body, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub span: Span,
    pub escaped: bool,
}

impl Request {
    /// Reads a whole body. Every problem is the client's to mend; the first one found is returned.
    pub fn parse(endpoint: Endpoint, body: Bytes) -> Result<Self, BodyProblem> {
        let located = |error| BodyProblem::json(error, &body);
        json::check_utf8(&body).map_err(located)?;
        let mut scanner = Scanner::new(&body);
        if scanner.kind().map_err(located)? != Kind::Object {
            scanner.skip().and_then(|_| scanner.finish()).map_err(located)?;
            return Err(BodyProblem::NotAnObject);
        }
        let mut reader = Reader::new(endpoint, scanner);
        reader.read().map_err(|stop| stop.located(&body))?;
        let fields = reader.into_fields();
        Ok(Self { endpoint, body, fields })
    }

    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The body as it came.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The `model` the client named.
    pub fn model(&self) -> Option<&str> {
        self.fields.model_name.as_deref()
    }

    pub fn is_stream(&self) -> bool {
        self.fields.stream
    }

    /// Whether any tool is offered to the model.
    pub fn has_tools(&self) -> bool {
        self.fields.has_tools
    }

    /// Tokens the model may think before it answers, where thinking is asked for and not disabled.
    pub fn thinking_budget(&self) -> Option<u64> {
        self.fields.thinking_budget
    }

    /// The text of the last user message that has any: tool results and images have none.
    pub fn last_user_text(&self) -> UserText<'_> {
        UserText::new(&self.body, &self.fields.last_user)
    }

    /// Bytes of the body without images, files and sounds: what an estimate of input tokens goes by.
    pub fn text_bytes(&self) -> usize {
        self.body.len().saturating_sub(self.fields.attachment_bytes)
    }

    pub(super) fn fields(&self) -> &Fields {
        &self.fields
    }
}

#[cfg(test)]
mod tests;
