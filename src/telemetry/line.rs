//! The text of an access line: a JSON object for programs, aligned columns for people. One pass into one buffer.

use std::cell::RefCell;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use crate::telemetry::Format;
use crate::telemetry::access::AccessLine;
use crate::telemetry::fields::{Field, Fields};
use crate::telemetry::{escape, redact};
use crate::units::{NanoUsd, Stage, StageSource, Usage};

/// Calls `take` with the line as text, its newline included. The buffer is the thread's own and is used again.
pub(super) fn formatted<T>(line: &AccessLine<'_>, format: Format, take: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<String> = const { RefCell::new(String::new()) };
    }
    SCRATCH.with_borrow_mut(|text| {
        text.clear();
        match format {
            Format::Json => json(text, line),
            Format::Human { colour } => human(text, line, colour),
        }
        text.push('\n');
        take(text)
    })
}

fn json(text: &mut String, line: &AccessLine<'_>) {
    text.push_str("{\"at\":\"");
    line.at.write_micros(text);
    text.push_str("\",\"request_id\":");
    push_uuid(text, line.request.0);
    let mut object = Object { text, fields: line.fields };
    if let Some(client) = line.client {
        object.address(Field::Client, client);
    }
    object.text(Field::Method, line.method);
    object.text(Field::Host, line.host);
    object.text(Field::Path, &redact::keys(line.path));
    if let Some(query) = line.query
        && line.fields.has(Field::Query)
    {
        object.text(Field::Query, &redact::query(query));
    }
    if let Some(agent) = line.user_agent {
        object.text(Field::UserAgent, &redact::keys(agent));
    }
    object.number(Field::Status, line.status.into());
    object.text(Field::Route, line.route);
    object.optional(Field::Reason, line.reason);
    if let Some(user) = line.user {
        object.uuid(Field::User, user.0);
    }
    if let Some(key) = line.key {
        object.uuid(Field::Key, key.0);
    }
    object.optional(Field::Stage, line.stage.map(Stage::as_str));
    object.optional(Field::StageSource, line.stage_source.map(StageSource::as_str));
    object.optional(Field::Model, line.model);
    object.boolean(Field::Stream, line.stream);
    object.number(Field::BytesIn, line.bytes_in);
    object.number(Field::BytesOut, line.bytes_out);
    if let Some(usage) = line.usage {
        object.usage(usage, line.estimated);
        object.decimal(Field::CostUsd, u64::try_from(line.cost.0).unwrap_or(0), 9);
    }
    object.milliseconds(Field::DurationMs, line.duration);
    if let Some(first_token) = line.first_token {
        object.milliseconds(Field::FirstTokenMs, first_token);
    }
    if let Some(overhead) = line.overhead {
        object.milliseconds(Field::OverheadMs, overhead);
    }
    object.number(Field::Attempts, line.attempts.into());
    object.text.push('}');
}

/// `12:30:05  200    1.52s  POST    /v1/chat/completions      code    deepseek       1204→512 tok  $0.003120`, and
/// what else there is to know at its end.
fn human(text: &mut String, line: &AccessLine<'_>, colour: bool) {
    // Hours, minutes and seconds, UTC.
    text.push_str(line.at.rfc3339().get(11..19).unwrap_or_default());
    let (paint, reset) = if colour { (colour_of(line.status), "\x1b[0m") } else { ("", "") };
    let _ = write!(text, "  {paint}{}{reset}  {:>7}  ", line.status, Human(line.duration).to_string());
    column(text, line.method, 6);
    column(text, &redact::keys(line.path), 26);
    column(text, line.stage.map_or("", Stage::as_str), 6);
    column(text, line.model.unwrap_or_default(), 16);
    if let Some(usage) = line.usage {
        let about = if line.estimated { "~" } else { "" };
        let _ = write!(text, "{}→{about}{} tok  ${}", usage.input, usage.output, Dollars(line.cost));
    }
    if let Some(first_token) = line.first_token {
        let _ = write!(text, "  first {}", Human(first_token));
    }
    if line.attempts > 1 {
        let _ = write!(text, "  {} attempts", line.attempts);
    }
    if let Some(reason) = line.reason {
        let _ = write!(text, "  {paint}{reason}{reset}");
    }
    let kept = text.trim_end().len();
    text.truncate(kept);
}

/// Members of a JSON object that has one already, as far as they are asked for.
struct Object<'a> {
    text: &'a mut String,
    fields: Fields,
}

impl Object<'_> {
    /// The text, with the field's name written, where the field is asked for.
    fn begun(&mut self, field: Field) -> Option<&mut String> {
        let wanted = self.fields.has(field);
        wanted.then(|| {
            self.text.push_str(field.member());
            &mut *self.text
        })
    }

    fn text(&mut self, field: Field, value: &str) {
        if let Some(text) = self.begun(field) {
            escape::json_string(text, value);
        }
    }

    fn optional(&mut self, field: Field, value: Option<&str>) {
        if let Some(value) = value {
            self.text(field, value);
        }
    }

    fn uuid(&mut self, field: Field, value: uuid::Uuid) {
        if let Some(text) = self.begun(field) {
            push_uuid(text, value);
        }
    }

    fn address(&mut self, field: Field, value: IpAddr) {
        let Some(text) = self.begun(field) else { return };
        text.push('"');
        match value {
            // In nearly every line, and several times as dear by way of its Display.
            IpAddr::V4(address) => {
                for (place, octet) in address.octets().into_iter().enumerate() {
                    text.push_str(if place == 0 { "" } else { "." });
                    text.push_str(itoa::Buffer::new().format(octet));
                }
            }
            IpAddr::V6(address) => {
                let _ = write!(text, "{address}");
            }
        }
        text.push('"');
    }

    fn number(&mut self, field: Field, value: u64) {
        if let Some(text) = self.begun(field) {
            text.push_str(itoa::Buffer::new().format(value));
        }
    }

    fn boolean(&mut self, field: Field, value: bool) {
        if let Some(text) = self.begun(field) {
            text.push_str(if value { "true" } else { "false" });
        }
    }

    fn usage(&mut self, usage: &Usage, estimated: bool) {
        self.number(Field::InputTokens, usage.input);
        self.number(Field::CachedInputTokens, usage.cached_input);
        self.number(Field::CacheWriteTokens, usage.cache_write);
        self.number(Field::OutputTokens, usage.output);
        self.number(Field::ReasoningTokens, usage.reasoning);
        self.boolean(Field::Estimated, estimated);
    }

    fn milliseconds(&mut self, field: Field, value: Duration) {
        self.decimal(field, u64::try_from(value.as_micros()).unwrap_or(u64::MAX), 3);
    }

    /// `value` / 10^`places`, exactly.
    fn decimal(&mut self, field: Field, value: u64, places: u8) {
        if let Some(text) = self.begun(field) {
            push_decimal(text, value, places);
        }
    }
}

fn push_uuid(out: &mut String, value: uuid::Uuid) {
    out.push('"');
    out.push_str(value.hyphenated().encode_lower(&mut [0; 36]));
    out.push('"');
}

fn push_decimal(out: &mut String, value: u64, places: u8) {
    let scale = 10u64.pow(places.into());
    out.push_str(itoa::Buffer::new().format(value / scale));
    out.push('.');
    let mut digits = itoa::Buffer::new();
    let fraction = digits.format(value % scale);
    for _ in fraction.len()..places.into() {
        out.push('0');
    }
    out.push_str(fraction);
}

/// `text`, made safe, in a column of `width` characters, with two spaces after it.
fn column(out: &mut String, text: &str, width: usize) {
    let start = out.len();
    escape::plain(out, text);
    let written = out[start..].chars().count();
    let gap = (width + 2).saturating_sub(written).max(2);
    out.extend(std::iter::repeat_n(' ', gap));
}

fn colour_of(status: u16) -> &'static str {
    match status {
        ..=299 => "\x1b[32m",
        300..=399 => "\x1b[36m",
        400..=499 => "\x1b[33m",
        _ => "\x1b[31m",
    }
}

/// Three figures or so, in the unit that fits.
struct Human(Duration);

impl std::fmt::Display for Human {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds {
            ..0.001 => write!(formatter, "{}µs", self.0.as_micros()),
            ..0.1 => write!(formatter, "{:.1}ms", seconds * 1e3),
            ..1.0 => write!(formatter, "{:.0}ms", seconds * 1e3),
            ..60.0 => write!(formatter, "{seconds:.2}s"),
            _ => write!(formatter, "{}m{:02}s", self.0.as_secs() / 60, self.0.as_secs() % 60),
        }
    }
}

struct Dollars(NanoUsd);

impl std::fmt::Display for Dollars {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        // Millionths are enough for the eye; the JSON line has all nine digits.
        push_decimal(&mut text, u64::try_from(self.0.0).unwrap_or(0) / 1_000, 6);
        formatter.write_str(&text)
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
