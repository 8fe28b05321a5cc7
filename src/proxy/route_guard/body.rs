//! What a request's body may be on a web route: how large, by what it announces and by what comes, and how slow.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_LENGTH};
use pingora_core::{Error, ErrorSource, ErrorType, Result as PingoraResult};

use crate::config::RouteGuards;
use crate::proxy::refuse::{Reason, Refusal};

/// More of a body has come than its route takes.
pub const TOO_LARGE: ErrorType = ErrorType::new("BodyTooLarge");

/// A body comes so slowly that its sender means to hold a place.
pub const TOO_SLOW: ErrorType = ErrorType::new("BodyTooSlow");
/// Bytes a second that must come on the average. An application that takes a body slowly keeps its sender waiting, and
/// that is not told apart here: so it is far less than any client has.
const SLOWEST: u64 = 1 << 10;

/// What has come of a body so far.
#[derive(Debug, Default)]
pub struct Intake {
    bytes: u64,
    /// When its first piece came.
    since: Option<Instant>,
}

pub(super) fn check_length(guards: &RouteGuards, headers: &HeaderMap) -> Result<(), Refusal> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.trim().parse::<u64>().ok());
    match guards.body {
        Some(most) if length.is_some_and(|length| length > most) => Err(too_large(most)),
        _ => Ok(()),
    }
}

pub fn too_large(most: u64) -> Refusal {
    Refusal::new(Reason::BodyTooLarge, format!("the request body is over the limit of {most} bytes")).final_word()
}

pub fn too_slow(stall: Duration) -> Refusal {
    let message = format!("the body arrives too slowly: beyond {stall:?} (upload_stall), 1 KiB a second are the least");
    Refusal::new(Reason::BodyTimeout, message)
}

impl Intake {
    /// Counts one piece. What is announced and does not come is the read timeout's.
    pub fn count(&mut self, guards: Option<&RouteGuards>, stall: Duration, piece: Option<&Bytes>) -> PingoraResult<()> {
        let Some(piece) = piece else { return Ok(()) };
        self.bytes += piece.len() as u64;
        if guards.and_then(|guards| guards.body).is_some_and(|most| self.bytes > most) {
            return Err(of_the_client(TOO_LARGE, "the body is over the limit of its route"));
        }
        let now = Instant::now();
        let within = stall + Duration::from_secs(self.bytes / SLOWEST);
        if now.duration_since(*self.since.get_or_insert(now)) > within {
            return Err(of_the_client(TOO_SLOW, "the body comes too slowly"));
        }
        Ok(())
    }
}

fn of_the_client(kind: ErrorType, words: &'static str) -> Box<Error> {
    let mut error = Error::explain(kind, words);
    error.esource = ErrorSource::Downstream;
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_only_drips_runs_out_of_time_and_a_slow_one_does_not() {
        let stall = Duration::from_secs(30);
        let come = |bytes: usize, since: u64| {
            let mut intake = Intake { bytes: 0, since: Instant::now().checked_sub(Duration::from_secs(since)) };
            intake.count(None, stall, Some(&Bytes::from(vec![b'a'; bytes])))
        };
        assert_eq!(come(100, 31).unwrap_err().etype(), &TOO_SLOW);
        assert_eq!(come(10 << 10, 45).unwrap_err().etype(), &TOO_SLOW);
        assert!(come(100, 29).is_ok());
        assert!(come(16 << 10, 45).is_ok(), "a kilobyte a second is enough");
    }
}
