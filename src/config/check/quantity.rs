//! Numbers with a unit, from text: durations, sizes, prices. Each says what it wants where the text is something else.

use std::time::Duration;

/// No window and no cap of any model comes near it.
pub(super) const MOST_TOKENS: u64 = 1_000_000_000;

const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// A century, which no table of months outlives.
const MOST_MONTHS: u32 = 1200;

/// `13 months`, `1 month`.
pub(super) fn months(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("months").or_else(|| text.strip_suffix("month")).map(str::trim_end);
    let digits = number.filter(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.map(str::parse) {
        Some(Ok(months @ 1..=MOST_MONTHS)) => Ok(months),
        Some(_) => Err(format!("1 to {MOST_MONTHS} months")),
        None => Err("whole months such as 13 months".to_owned()),
    }
}

/// `250ms`, `10s`, `30m`, `1h30m`, `7d`; more than nothing and at most a year.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || "a duration such as 250ms, 10s, 30m or 1h30m".to_owned();
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wanted)?;
        let (number, from_unit) = rest.split_at(digits);
        let unit_length = from_unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(from_unit.len());
        let (unit, after) = from_unit.split_at(unit_length);
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wanted()),
        };
        let number: u64 = number.parse().map_err(|_| wanted())?;
        let part = number.checked_mul(milliseconds).map(Duration::from_millis);
        total = part.and_then(|part| total.checked_add(part)).unwrap_or(Duration::MAX);
        rest = after;
    }
    match total {
        Duration::ZERO => Err(format!("more than nothing, {}", wanted())),
        _ if total > LONGEST => Err("at most 365d".to_owned()),
        _ => Ok(total),
    }
}

/// Bytes: `10MiB`, `512KiB`, `1GB`, or a bare number; at least one.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let wanted = || "a size such as 512KiB, 10MiB or 1GiB".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wanted()),
    };
    let number: usize = number.parse().map_err(|_| wanted())?;
    match number.checked_mul(factor) {
        None => Err("a size that fits in memory".to_owned()),
        Some(0) => Err(format!("more than nothing, {}", wanted())),
        Some(bytes) => Ok(bytes),
    }
}

/// Dollars as written, in billionths: `3.00` is 3_000_000_000. Exact, with at most nine decimals.
pub(super) fn nano_dollars(text: &str) -> Result<u64, String> {
    const DECIMALS: usize = 9;
    const MOST_DOLLARS: u64 = 1_000_000;
    let wanted = || "dollars per million tokens, such as 3 or 0.28".to_owned();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let only_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !only_digits(whole) || !only_digits(fraction) || text.ends_with('.') {
        return Err(wanted());
    }
    if fraction.len() > DECIMALS {
        return Err("at most nine decimals".to_owned());
    }
    let dollars: u64 = whole.parse().map_err(|_| wanted())?;
    if dollars >= MOST_DOLLARS {
        return Err(format!("less than {MOST_DOLLARS} dollars per million tokens"));
    }
    let nanos: u64 = format!("{fraction:0<DECIMALS$}").parse().map_err(|_| wanted())?;
    Ok(dollars * 1_000_000_000 + nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in
            [("250ms", 250), ("10s", 10_000), ("30m", 1_800_000), ("1h30m", 5_400_000), ("2d", 172_800_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["10", "", "0s", "s", "-1s", "1.5s", "10 s", "10S", "1w", "99999999999999999999s", "400d", "٣s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("10MiB", 10 << 20), ("1 KiB", 1024), ("2GB", 2_000_000_000), ("17", 17), ("17B", 17)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "0", "10M", "10mib", "-1", "1.5MiB", "99999999999999999999", "18446744073709551615GiB"]
        {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prices_are_exact() {
        for (text, nanos) in
            [("3.00", 3_000_000_000), ("0", 0), ("0.028", 28_000_000), ("15", 15_000_000_000), ("0.000000001", 1)]
        {
            assert_eq!(nano_dollars(text), Ok(nanos), "{text}");
        }
        for text in ["", ".5", "1.", "-1", "1e3", "$3", "0.0000000001", "1000000", "1.2.3", "NaN"] {
            assert!(nano_dollars(text).is_err(), "{text}");
        }
    }
}
