//! How an upstream's targets are watched.

use std::time::Duration;

use super::super::problem::Checked;
use super::super::watching::{Breaker, Health};
use super::quantity;
use super::read::At;

/// Failures in a row that open a breaker, and checks in a row that turn a target: more would never be seen.
const MOST_IN_A_ROW: u32 = 1_000;

/// A check that takes as long as the pause between two finds out too late.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn breaker(at: &At) -> Checked<Breaker> {
    let default = Breaker::default();
    let fields = at.fields(&["failures", "open_for"])?;
    let failures = fields.optional("failures", |at| at.whole(1..=MOST_IN_A_ROW));
    let open_for = fields.or("open_for", default.open_for, |at| at.parsed("a duration", quantity::duration));
    let failures = failures?.and_then(|failures| usize::try_from(failures).ok()).unwrap_or(default.failures);
    Ok(Breaker { failures, open_for: open_for? })
}

pub(super) fn health(at: &At) -> Checked<Health> {
    let fields = at.fields(&["path", "interval", "timeout", "healthy", "unhealthy"])?;
    let path = fields.required("path", "write for example path: /health/liveliness");
    let path = path.and_then(|at| at.parsed("a path", path_of));
    let duration = |key, default| fields.or(key, default, |at| at.parsed("a duration", quantity::duration));
    let in_a_row = |key, default| fields.or(key, default, |at| at.whole(1..=MOST_IN_A_ROW));
    let interval = duration("interval", Duration::from_secs(10));
    // Read whatever became of the others: all mistakes are told at once.
    let timeout = fields.optional("timeout", |at| {
        let timeout = at.parsed("a duration", quantity::duration)?;
        match interval {
            Ok(interval) if timeout > interval => Err(at.problem_with(
                "longer than the interval",
                "a check has to end before the next begins: shorten it, or check less often",
            )),
            _ => Ok(timeout),
        }
    });
    let (healthy, unhealthy) = (in_a_row("healthy", 2), in_a_row("unhealthy", 3));
    let (interval, timeout) = (interval?, timeout?);
    let timeout = timeout.unwrap_or(TIMEOUT.min(interval));
    Ok(Health { path: path?, interval, timeout, healthy: healthy?, unhealthy: unhealthy? })
}

/// What can stand in a request line as it is.
pub(super) fn path_of(text: &str) -> Result<String, String> {
    let sound = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if sound { Ok(text.to_owned()) } else { Err("a path such as /health/liveliness".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn a_path_fits_into_a_request_line() {
        for text in ["/", "/health/liveliness", "/health?deep=1"] {
            assert_eq!(path_of(text).as_deref(), Ok(text));
        }
        for text in ["", "health", "http://a/health", "/a b", "/a\r\nx: y", "/a#b", "/ä"] {
            assert!(path_of(text).is_err(), "{text}");
        }
    }
}
