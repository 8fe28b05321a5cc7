//! The text of an access line: a JSON object for programs, aligned columns for people. One pass into one buffer.

use std::cell::RefCell;
use std::fmt::Write;
use std::time::Duration;

use crate::telemetry::Format;
use crate::telemetry::access::AccessLine;
use crate::telemetry::escape;
use crate::units::{NanoUsd, Stage, StageSource, Timestamp, Usage};

/// Calls `take` with the line as text, its newline included. The buffer is the thread's own and is used again.
pub(super) fn formatted<T>(line: &AccessLine<'_>, format: Format, take: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { text: String::new(), second: (i64::MIN, String::new()) }) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.text.clear();
        match format {
            Format::Json => scratch.json(line),
            Format::Human { colour } => scratch.human(line, colour),
        }
        scratch.text.push('\n');
        take(&scratch.text)
    })
}

struct Scratch {
    text: String,
    /// The last second written and its text: calendars cost more than the rest of the line.
    second: (i64, String),
}

impl Scratch {
    fn json(&mut self, line: &AccessLine<'_>) {
        self.text.push_str("{\"at\":\"");
        self.instant(line.at);
        self.text.push('"');
        let mut object = Object(&mut self.text);
        object.uuid("request_id", line.request.0);
        if let Some(client) = line.client {
            object.shown("client", client);
        }
        object.text("method", line.method);
        object.text("host", line.host);
        object.text("path", line.path);
        object.number("status", line.status.into());
        object.text("route", line.route);
        object.optional("reason", line.reason);
        if let Some(user) = line.user {
            object.uuid("user", user.0);
        }
        if let Some(key) = line.key {
            object.uuid("key", key.0);
        }
        object.optional("stage", line.stage.map(Stage::as_str));
        object.optional("stage_source", line.stage_source.map(StageSource::as_str));
        object.optional("model", line.model);
        object.boolean("stream", line.stream);
        object.number("bytes_in", line.bytes_in);
        object.number("bytes_out", line.bytes_out);
        if let Some(usage) = line.usage {
            object.usage(usage, line.estimated);
            object.decimal("cost_usd", u64::try_from(line.cost.0).unwrap_or(0), 9);
        }
        object.milliseconds("duration_ms", line.duration);
        if let Some(first_token) = line.first_token {
            object.milliseconds("first_token_ms", first_token);
        }
        if let Some(overhead) = line.overhead {
            object.milliseconds("overhead_ms", overhead);
        }
        object.number("attempts", line.attempts.into());
        self.text.push('}');
    }

    /// `12:30:05  200    1.52s  POST    /v1/chat/completions      code    deepseek       1204→512 tok  $0.003120`, and
    /// what else there is to know at its end.
    fn human(&mut self, line: &AccessLine<'_>, colour: bool) {
        self.clock(line.at);
        let (paint, reset) = if colour { (colour_of(line.status), "\x1b[0m") } else { ("", "") };
        let text = &mut self.text;
        let _ = write!(text, "  {paint}{}{reset}  {:>7}  ", line.status, Human(line.duration).to_string());
        column(text, line.method, 6);
        column(text, line.path, 26);
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

    /// RFC 3339 with microseconds.
    fn instant(&mut self, at: Timestamp) {
        self.remember_second(at);
        let Self { text, second } = self;
        let micros = at.0.rem_euclid(1_000_000);
        let _ = write!(text, "{}.{micros:06}Z", second.1);
    }

    /// Hours, minutes and seconds, UTC.
    fn clock(&mut self, at: Timestamp) {
        self.remember_second(at);
        let Self { text, second } = self;
        text.push_str(second.1.get(11..).unwrap_or_default());
    }

    fn remember_second(&mut self, at: Timestamp) {
        let second = at.0.div_euclid(1_000_000);
        if self.second.0 != second {
            let mut text = at.rfc3339();
            text.truncate("2026-01-31T00:00:00".len());
            self.second = (second, text);
        }
    }
}

/// Members of a JSON object that has one already.
struct Object<'a>(&'a mut String);

impl Object<'_> {
    fn member(&mut self, name: &'static str) {
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.member(name);
        escape::json_string(self.0, value);
    }

    fn optional(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn uuid(&mut self, name: &'static str, value: uuid::Uuid) {
        self.member(name);
        self.0.push('"');
        self.0.push_str(value.hyphenated().encode_lower(&mut [0; 36]));
        self.0.push('"');
    }

    /// A value whose text form needs no escape.
    fn shown(&mut self, name: &'static str, value: impl std::fmt::Display) {
        self.member(name);
        let _ = write!(self.0, "\"{value}\"");
    }

    fn number(&mut self, name: &'static str, value: u64) {
        self.member(name);
        self.0.push_str(itoa::Buffer::new().format(value));
    }

    fn boolean(&mut self, name: &'static str, value: bool) {
        self.member(name);
        self.0.push_str(if value { "true" } else { "false" });
    }

    fn usage(&mut self, usage: &Usage, estimated: bool) {
        self.number("input_tokens", usage.input);
        self.number("cached_input_tokens", usage.cached_input);
        self.number("cache_write_tokens", usage.cache_write);
        self.number("output_tokens", usage.output);
        self.number("reasoning_tokens", usage.reasoning);
        self.boolean("estimated", estimated);
    }

    fn milliseconds(&mut self, name: &'static str, value: Duration) {
        self.decimal(name, u64::try_from(value.as_micros()).unwrap_or(u64::MAX), 3);
    }

    /// `value` / 10^`places`, exactly.
    fn decimal(&mut self, name: &'static str, value: u64, places: u8) {
        self.member(name);
        push_decimal(self.0, value, places);
    }
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
