//! The conversation inside a body: `messages` and the items of `input`.

use super::fields::Reader;
use super::problem::Stop;
use super::{Piece, System};
use crate::llm::endpoint::Dialect;
use crate::llm::json::{Kind, Span, Text};

/// Who speaks, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    User,
    /// `system`, or `developer` as newer OpenAI models call it.
    System,
    Other,
}

impl Reader<'_> {
    /// `messages` of the chat and messages dialects, or the items of `input`: an array of objects.
    pub(super) fn messages(&mut self, field: &'static str) -> Result<(), Stop> {
        if self.scanner.kind()? != Kind::Array {
            return Err(Stop::wrong(field, "an array"));
        }
        self.fields.messages_inside = self.scanner.here() + 1;
        let mut open = self.scanner.array()?;
        let mut index = 0_usize;
        while self.scanner.element(&mut open)? {
            if self.scanner.kind()? != Kind::Object {
                return Err(Stop::wrong(format!("{field}[{index}]"), "an object"));
            }
            self.message(field, index)?;
            index += 1;
        }
        if index == 0 && field == "messages" {
            return Err(Stop::wrong(field, "an array of at least one message"));
        }
        Ok(())
    }

    /// `input` of the responses dialect: the user's text itself, or items.
    pub(super) fn input(&mut self) -> Result<(), Stop> {
        match self.scanner.kind()? {
            Kind::String => {
                let text = self.scanner.text()?;
                self.fields.last_user = vec![piece(&text)];
                Ok(())
            }
            Kind::Array => self.messages("input"),
            _ => Err(Stop::wrong("input", "a string or an array")),
        }
    }

    fn message(&mut self, field: &'static str, index: usize) -> Result<(), Stop> {
        let mut open = self.scanner.object()?;
        let mut role = None;
        let mut content = None;
        self.pieces.clear();
        while let Some(key) = self.scanner.member(&mut open)? {
            if key.is("role") {
                if role.is_some() {
                    return Err(Stop::twice(format!("{field}[{index}].role")));
                }
                if self.scanner.kind()? != Kind::String {
                    return Err(Stop::wrong(format!("{field}[{index}].role"), "a string"));
                }
                role = Some(Role::of(&self.scanner.text()?));
            } else if key.is("content") {
                if content.is_some() {
                    return Err(Stop::twice(format!("{field}[{index}].content")));
                }
                content = Some(self.content(field, index)?);
            } else {
                self.scanner.skip()?;
            }
        }
        match role {
            Some(Role::User) if !self.pieces.is_empty() => {
                std::mem::swap(&mut self.fields.last_user, &mut self.pieces);
            }
            Some(Role::System) if self.dialect() == Dialect::Chat && self.fields.system == System::Absent => {
                self.fields.system = content.unwrap_or_default();
            }
            _ => {}
        }
        Ok(())
    }

    fn content(&mut self, field: &'static str, index: usize) -> Result<System, Stop> {
        match self.scanner.kind()? {
            Kind::Null => Ok(System::Null(self.scanner.skip()?)),
            Kind::String => {
                let text = self.scanner.text()?;
                if !text.raw().is_empty() {
                    self.pieces.push(piece(&text));
                }
                Ok(System::Text(text.span()))
            }
            Kind::Array => {
                let start = self.scanner.here();
                let mut open = self.scanner.array()?;
                let mut empty = true;
                while self.scanner.element(&mut open)? {
                    empty = false;
                    self.part()?;
                }
                Ok(System::Parts { span: Span { start, end: self.scanner.offset() }, empty })
            }
            // An item of the responses dialect may be of a kind that did not exist when this was written.
            _ if field == "input" => {
                self.scanner.skip()?;
                Ok(System::Absent)
            }
            _ => Err(Stop::wrong(format!("{field}[{index}].content"), "a string or an array")),
        }
    }

    /// A content part: its text is kept where it is text, its bytes are counted where it is an attachment.
    fn part(&mut self) -> Result<(), Stop> {
        let start = self.scanner.here();
        if self.scanner.kind()? != Kind::Object {
            self.scanner.skip()?;
            return Ok(());
        }
        let mut open = self.scanner.object()?;
        let (mut text, mut is_text, mut is_attachment) = (None, true, false);
        while let Some(key) = self.scanner.member(&mut open)? {
            if key.is("type") && self.scanner.kind()? == Kind::String {
                let kind = self.scanner.text()?;
                is_text = kind.is("text") || kind.is("input_text");
                is_attachment = ATTACHMENTS.iter().any(|name| kind.is(name));
            } else if key.is("text") && self.scanner.kind()? == Kind::String {
                text = Some(self.scanner.text()?);
            } else {
                self.scanner.skip()?;
            }
        }
        if is_attachment {
            self.fields.attachment_bytes += self.scanner.offset() - start;
        }
        if let Some(text) = text.filter(|text| is_text && !text.raw().is_empty()) {
            self.pieces.push(piece(&text));
        }
        Ok(())
    }
}

/// Part types whose bytes say nothing of their tokens (chat, responses, messages).
const ATTACHMENTS: [&str; 8] =
    ["image_url", "input_image", "image", "input_file", "file", "document", "input_audio", "audio"];

impl Role {
    fn of(text: &Text<'_>) -> Self {
        if text.is("user") {
            Role::User
        } else if text.is("system") || text.is("developer") {
            Role::System
        } else {
            Role::Other
        }
    }
}

fn piece(text: &Text<'_>) -> Piece {
    let quoted = text.span();
    Piece { span: Span { start: quoted.start + 1, end: quoted.end - 1 }, escaped: text.is_escaped() }
}
