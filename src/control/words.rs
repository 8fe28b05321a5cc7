//! The texts of the wire and what they mean: dates, roles, labels, money. A text that means nothing says why.

use super::refusal::Refusal;
use crate::identity::{Email, Role, unseen};
use crate::units::{Day, NanoUsd, Stage, Timestamp};

/// Requests a day that a limit may say. Beyond it is a slip of the finger.
pub const MOST_REQUESTS: u32 = 1_000_000_000;

/// Characters of a label.
pub const LONGEST_LABEL: usize = 100;
/// The years that stores and calendars agree on.
const FIRST: Timestamp = Timestamp(0);
const LAST: Timestamp = Timestamp(253_402_300_799_999_999); // 9999-12-31T23:59:59.999999Z

/// An instant of a body's field.
pub(super) fn instant_in_field(name: &'static str, text: &str) -> Result<Timestamp, Refusal> {
    instant(text).ok_or_else(|| Refusal::field(name, format!("`{name}` must be {AN_INSTANT}")))
}

/// An instant of a query. There a `+` that was not escaped reads as a blank.
pub(super) fn instant_of_query(text: &str) -> Option<Timestamp> {
    instant(text).or_else(|| instant(&text.replace(' ', "+")))
}

pub(super) const AN_INSTANT: &str = "an RFC 3339 date and time between 1970 and 9999, as in 2026-01-31T12:00:00Z";

fn instant(text: &str) -> Option<Timestamp> {
    let is_rfc3339 = text.is_ascii() && text.len() <= 40 && !text.contains('[');
    Timestamp::parse(text).filter(|instant| is_rfc3339 && (FIRST..=LAST).contains(instant))
}

pub(super) fn day_in_query(name: &'static str, text: &str) -> Result<Day, Refusal> {
    let is_date = text.len() == 10 && text.is_ascii();
    let start = is_date.then(|| instant(&format!("{text}T00:00:00Z"))).flatten();
    let message = || format!("`{name}` must be a date between 1970 and 9999, as in 2026-01-31");
    start.map(Timestamp::day).ok_or_else(|| Refusal::parameter(name, message()))
}

pub(super) fn stage(text: &str) -> Option<Stage> {
    Stage::parse(text)
}

pub(super) fn role(text: Option<&str>) -> Result<Option<Role>, Refusal> {
    let known = |text| Role::parse(text).ok_or_else(|| Refusal::field("role", "`role` must be member or operator"));
    text.map(known).transpose()
}

pub(super) fn email(text: &str) -> Result<Email, Refusal> {
    // What was sent is not repeated: it may be long, or anything.
    let why = |error: crate::identity::NotAnEmail| {
        let said = error.to_string();
        let why = said.rsplit_once(": ").map_or("it cannot be delivered to", |(_, why)| why).to_owned();
        Refusal::field("email", format!("`email` is not an e-mail address: {why}"))
    };
    Email::parse(text).map_err(why)
}

/// A label is shown in lists, on one line.
pub(super) fn label(text: &str) -> Result<String, Refusal> {
    if text.trim().is_empty() {
        return Err(Refusal::field("label", "`label` must say something"));
    }
    if text.chars().count() > LONGEST_LABEL {
        return Err(Refusal::field("label", format!("`label` must have at most {LONGEST_LABEL} characters")));
    }
    if let Some(letter) = unseen(text) {
        let which = letter.escape_unicode();
        return Err(Refusal::field(
            "label",
            format!("`label` must be one line, without characters that nobody sees ({which})"),
        ));
    }
    Ok(text.to_owned())
}

/// A limit that somebody sets, `least` or more.
pub(super) fn daily_requests(limit: Option<u32>, least: u32) -> Result<Option<u32>, Refusal> {
    match limit {
        Some(limit) if !(least..=MOST_REQUESTS).contains(&limit) => Err(Refusal::field(
            "daily_requests",
            format!("`daily_requests` must be between {least} and {MOST_REQUESTS}"),
        )),
        limit => Ok(limit),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a display of up to millions of dollars needs fewer than 53 bits")]
pub(super) fn dollars(amount: NanoUsd) -> f64 {
    amount.0 as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_dates_are_none() {
        for text in [
            "",
            "yesterday",
            "2026-01-31",
            "2026-02-30T00:00:00Z",
            "9999999-01-01T00:00:00Z",
            "-009999-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "9999-12-31T23:59:59-00:01",
            "2026-01-31T12:00:00+00:00[Europe/London]",
        ] {
            assert!(instant_in_field("expires_at", text).is_err(), "{text:?}");
        }
        for text in ["1970-01-01T00:00:00Z", "9999-12-31T00:00:00Z", "9999-12-31T23:59:59.999999Z"] {
            assert!(instant_in_field("expires_at", text).is_ok(), "{text}");
        }
        for text in
            ["2026-1-31", "2026-02-30", "0000-00-00", "1969-12-31", "9999-99-99", "２026-01-3", "2026-01-31T00:00:00Z"]
        {
            assert!(day_in_query("from", text).is_err(), "{text:?}");
        }
        for text in ["2026-01-31", "1970-01-01", "9999-12-31"] {
            assert_eq!(day_in_query("from", text).unwrap().iso(), text);
        }
    }

    #[test]
    fn a_plus_that_was_not_escaped_is_one() {
        let meant = instant_in_field("from", "2026-01-31T12:00:00+03:00").unwrap();
        assert_eq!(instant_of_query("2026-01-31T12:00:00 03:00"), Some(meant));
    }

    #[test]
    fn labels_are_lines_of_whatever_script() {
        for good in ["laptop", "dizüstü 💻", "👩\u{200d}💻", "<b>' or 1=1 --", &"é".repeat(100)] {
            assert!(label(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "  ",
            "a\nb",
            "a\0",
            "a\u{2028}b",
            "a\u{202e}b",
            "a\u{200b}b",
            "a\u{2066}b",
            "a\u{e0041}b",
            &"é".repeat(101),
        ] {
            assert!(label(bad).is_err(), "{bad:?}");
        }
    }
}
