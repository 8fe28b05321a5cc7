//! Numbers, money, days and times as each language writes them.

use maud::{Markup, html};

use super::texts::{Language, Texts};
use crate::units::{Day, NanoUsd, Timestamp};

/// `1,234,567`.
pub(super) fn count(language: Language, number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(language.thousands());
        }
        out.push(digit);
    }
    out
}

/// `$12.34`; below a dollar as many digits as tell something: `$0.0042`.
pub(super) fn money(language: Language, amount: NanoUsd) -> String {
    let nanos = amount.0.unsigned_abs();
    let sign = if amount.0 < 0 { "−" } else { "" };
    let digits: u32 = match nanos {
        0 => 2,
        1..10_000 => 9,
        10_000..1_000_000 => 6,
        1_000_000..1_000_000_000 => 4,
        _ => 2,
    };
    let unit = 10_u64.pow(9 - digits);
    let rounded = nanos.saturating_add(unit / 2) / unit;
    let whole = count(language, rounded / 10_u64.pow(digits));
    let fraction = rounded % 10_u64.pow(digits);
    let width = digits as usize;
    format!("{sign}${whole}{}{fraction:0width$}", language.decimal())
}

/// Dollars as the control API tells them.
pub(super) fn price(language: Language, dollars: f64) -> String {
    let text = format!("{dollars:.2}");
    format!("${}", text.replace('.', language.decimal()))
}

/// `412 ms`, `3.2 s`, `1 min 5 s`.
pub(super) fn duration(language: Language, milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => {
            format!("{}{}{} s", milliseconds / 1_000, language.decimal(), milliseconds % 1_000 / 100)
        }
        _ => format!("{} min {} s", milliseconds / 60_000, milliseconds % 60_000 / 1_000),
    }
}

/// `12.5 %`. None where there is nothing to take a part of.
pub(super) fn share(language: Language, part: u64, whole: u64) -> Option<String> {
    let permille = part.saturating_mul(1_000).saturating_add(whole / 2).checked_div(whole)?;
    let number = format!("{}{}{}", permille / 10, language.decimal(), permille % 10);
    Some(language.percent(&number))
}

/// `4.2 kB`.
pub(super) fn bytes(language: Language, number: u64) -> String {
    match number {
        0..1_000 => format!("{number} B"),
        1_000..1_000_000 => format!("{}{}{} kB", number / 1_000, language.decimal(), number % 1_000 / 100),
        _ => format!("{}{}{} MB", number / 1_000_000, language.decimal(), number % 1_000_000 / 100_000),
    }
}

/// `21 Nov 2026`.
pub(super) fn day(texts: &Texts, day: Day) -> String {
    let iso = day.iso();
    let part = |range: std::ops::Range<usize>| iso.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().ok().and_then(|month| texts.months.split(' ').nth(month.checked_sub(1)?));
    format!("{} {} {}", part(8..10).trim_start_matches('0'), month.unwrap_or_default(), part(0..4))
}

/// An instant, in UTC until the script turns it into the reader's own time.
pub(super) fn instant(texts: &Texts, at: Timestamp) -> Markup {
    let iso = at.rfc3339();
    let clock = iso.get(11..19).unwrap_or_default();
    html! { time datetime=(iso) data-local { (day(texts, at.day())) ", " (clock) " UTC" } }
}

/// The same of a text of the control API; the text itself where it is none.
pub(super) fn instant_text(texts: &Texts, at: &str) -> Markup {
    match Timestamp::parse(at) {
        Some(at) => instant(texts, at),
        None => html! { (at) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EN: Language = Language::English;
    const TR: Language = Language::Turkish;

    #[test]
    fn numbers_are_written_as_each_language_does() {
        assert_eq!(
            (count(EN, 0), count(EN, 999), count(EN, 1_234_567)),
            ("0".into(), "999".into(), "1,234,567".into())
        );
        assert_eq!(count(TR, 1_234_567), "1.234.567");
        assert_eq!((share(EN, 1, 8), share(TR, 1, 8)), (Some("12.5%".into()), Some("%12,5".into())));
        assert_eq!(share(EN, 1, 0), None);
        assert_eq!(
            (duration(EN, 412), duration(TR, 3_240), duration(EN, 65_000)),
            ("412 ms".into(), "3,2 s".into(), "1 min 5 s".into())
        );
    }

    #[test]
    fn money_has_as_many_digits_as_tell_something() {
        for (nanos, english, turkish) in [
            (0, "$0.00", "$0,00"),
            (1, "$0.000000001", "$0,000000001"),
            (42_000, "$0.000042", "$0,000042"),
            (4_200_000, "$0.0042", "$0,0042"),
            (999_999_999, "$1.0000", "$1,0000"),
            (1_234_567_890_000, "$1,234.57", "$1.234,57"),
            (-2_500_000_000, "−$2.50", "−$2,50"),
            (i64::MAX, "$9,223,372,036.85", "$9.223.372.036,85"),
        ] {
            assert_eq!((money(EN, NanoUsd(nanos)).as_str(), money(TR, NanoUsd(nanos)).as_str()), (english, turkish));
        }
    }

    #[test]
    fn days_have_their_months_name() {
        let last = Timestamp::parse("2026-01-31T23:59:59Z").unwrap();
        assert_eq!(day(EN.texts(), last.day()), "31 Jan 2026");
        assert_eq!(day(TR.texts(), last.day()), "31 Oca 2026");
        let said = instant(EN.texts(), last).into_string();
        assert_eq!(said, r#"<time datetime="2026-01-31T23:59:59Z" data-local>31 Jan 2026, 23:59:59 UTC</time>"#);
    }
}
