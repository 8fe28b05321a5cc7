//! How large a request's body may be on a web route: by what it announces, and by what comes.

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_LENGTH};
use pingora_core::{Error, ErrorSource, ErrorType, Result as PingoraResult};

use crate::config::RouteGuards;
use crate::proxy::refuse::{Reason, Refusal};

/// More of a body has come than its route takes.
pub const TOO_LARGE: ErrorType = ErrorType::new("BodyTooLarge");

/// What has come of a body so far.
#[derive(Debug, Default)]
pub struct Intake(u64);

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

impl Intake {
    /// Counts one piece.
    pub fn count(&mut self, guards: Option<&RouteGuards>, piece: Option<&Bytes>) -> PingoraResult<()> {
        let (Some(most), Some(piece)) = (guards.and_then(|guards| guards.body), piece) else { return Ok(()) };
        self.0 += piece.len() as u64;
        if self.0 <= most {
            return Ok(());
        }
        let mut error = Error::explain(TOO_LARGE, "the body is over the limit of its route");
        error.esource = ErrorSource::Downstream;
        Err(error)
    }
}
