//! What became of a request, decided once for its row, its access line and the metrics.

use super::exchange::{Ending, Observed};
use super::refuse::Reason;
use crate::ledger::Status;

/// nginx's status for a client that closed its connection: no other was of use to it.
const CLIENT_LEFT: u16 = 499;

pub struct Outcome {
    /// The row's word for it.
    pub status: Status,
    /// The status as the client saw it; 499 where it left. An answer that broke off behind a 200 keeps the 200; where
    /// the 200 was sent ahead of any head, it is the status that would have been sent.
    pub sent: u16,
    /// The status that says how it ended: what `sent` would have been, had it been known in time. The metrics' label.
    pub code: u16,
    /// Why, where cfx knows: the error code the client saw, or would have seen.
    pub reason: Option<&'static str>,
}

impl Outcome {
    pub fn of(answer: &Observed) -> Self {
        let sent = answer.status;
        match (answer.ending, failure(answer)) {
            (Ending::Left, _) => {
                Self { status: Status::Cancelled, sent: CLIENT_LEFT, code: CLIENT_LEFT, reason: Some("cancelled") }
            }
            (_, None) => Self { status: status_of(sent), sent, code: sent, reason: None },
            (Ending::Whole | Ending::Told, Some(refusal)) => {
                Self { status: status_of(sent), sent, code: sent, reason: Some(refusal.code()) }
            }
            (_, Some(failure)) => {
                Self { status: Status::Error, sent, code: failure.status(), reason: Some(failure.code()) }
            }
        }
    }
}

/// What cfx refused the request with, or found wrong with the upstream's answer. None where the client's leaving is
/// all there is.
pub fn failure(answer: &Observed) -> Option<Reason> {
    match answer.ending {
        Ending::Left => None,
        Ending::Whole | Ending::Told => answer.refusal,
        Ending::Broken(reason) => answer.refusal.or(Some(reason)),
        Ending::ErrorInside => answer.refusal.or(Some(Reason::UpstreamError)),
    }
}

fn status_of(http_status: u16) -> Status {
    match http_status {
        429 => Status::RateLimited,
        0..=399 => Status::Success,
        _ => Status::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ending_has_one_name_everywhere() {
        for (status, refusal, ending, expected) in [
            (200, None, Ending::Whole, (Status::Success, 200, 200, None)),
            (429, None, Ending::Whole, (Status::RateLimited, 429, 429, None)),
            (422, None, Ending::Whole, (Status::Error, 422, 422, None)),
            (504, Some(Reason::UpstreamTimeout), Ending::Whole, (Status::Error, 504, 504, Some("upstream_timeout"))),
            (200, None, Ending::Broken(Reason::UpstreamTimeout), (Status::Error, 200, 504, Some("upstream_timeout"))),
            (200, None, Ending::Broken(Reason::ShuttingDown), (Status::Error, 200, 503, Some("shutting_down"))),
            (200, None, Ending::ErrorInside, (Status::Error, 200, 502, Some("upstream_error"))),
            (
                503,
                Some(Reason::UpstreamUnavailable),
                Ending::Told,
                (Status::Error, 503, 503, Some("upstream_unavailable")),
            ),
            (429, None, Ending::Told, (Status::RateLimited, 429, 429, None)),
            (200, None, Ending::Broken(Reason::ClientTooSlow), (Status::Error, 200, 408, Some("client_too_slow"))),
            (200, None, Ending::Left, (Status::Cancelled, 499, 499, Some("cancelled"))),
            (400, Some(Reason::InvalidJson), Ending::Left, (Status::Cancelled, 499, 499, Some("cancelled"))),
        ] {
            let outcome = Outcome::of(&Observed { status, refusal, ending, ..Observed::default() });
            assert_eq!((outcome.status, outcome.sent, outcome.code, outcome.reason), expected);
        }
    }
}
