//! Asking targets how they are, beside the requests: a GET on a fresh connection, dialled as theirs are.
//!
//! A target is well until its checks say otherwise, so that a start waits for none. What requests find out on their own
//! is the breaker's.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::{sleep, timeout};

use super::connect::{Dialer, Dialled, Io};
use super::http2;
use super::member::Member;
use super::wire::{Outbox, Wire, WireProblem};
use crate::config::{Health, Target};

/// What the checks of one target have come to.
#[derive(Debug)]
struct Pulse {
    healthy: u32,
    unhealthy: u32,
    well: bool,
    /// Checks in a row that said the opposite.
    against: u32,
}

/// Why a check was not passed.
#[derive(Debug, thiserror::Error)]
enum Ill {
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    #[error("no answer: {0}")]
    Broken(#[from] WireProblem),
    #[error("it answered {0}")]
    Status(u16),
    #[error("no answer within {0:?}")]
    Late(Duration),
}

impl Pulse {
    /// Of a target that was found to be well, or not, before.
    fn of(health: &Health, well: bool) -> Self {
        Self { healthy: health.healthy, unhealthy: health.unhealthy, well, against: 0 }
    }

    /// Whether the target turned with this check, and to what.
    fn note(&mut self, passed: bool) -> Option<bool> {
        if passed == self.well {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < if passed { self.healthy } else { self.unhealthy } {
            return None;
        }
        self.against = 0;
        self.well = passed;
        Some(passed)
    }
}

/// Checks one target of an upstream again and again. `nobody_is_well` tells whether that is so of all its targets.
pub(super) async fn watch(
    dialer: &Dialer,
    upstream: &str,
    member: &Member,
    health: &Health,
    nobody_is_well: impl Fn() -> bool,
) {
    let mut pulse = Pulse::of(health, member.is_well());
    sleep(health.interval / 10 * share() / WHOLE).await; // all at once would be a burst
    loop {
        let outcome = match timeout(health.timeout, check(dialer, member, &health.path)).await {
            Ok(outcome) => outcome,
            Err(_late) => Err(Ill::Late(health.timeout)),
        };
        if let Some(well) = pulse.note(outcome.is_ok()) {
            member.set_well(well);
            let target = &member.target;
            match outcome {
                Ok(()) => tracing::info!(%upstream, %target, "a target passes its health checks again"),
                Err(error) => {
                    tracing::warn!(%upstream, %target, %error, "a target fails its health checks: it is left out");
                    if nobody_is_well() {
                        tracing::error!(%upstream, "no target passes its health checks: all are asked as if they did");
                    }
                }
            }
        }
        sleep(jittered(health.interval)).await;
    }
}

async fn check(dialer: &Dialer, member: &Member, path: &str) -> Result<(), Ill> {
    let Dialled { stream, http2 } = dialer.dial(member).await?;
    let status = if http2 {
        http2::status_of(stream, &member.target, path).await.map_err(WireProblem::Io)?
    } else {
        status_of(stream, &member.target, path).await?
    };
    if status.is_success() { Ok(()) } else { Err(Ill::Status(status.as_u16())) }
}

/// The status that a GET is answered with over HTTP/1.1.
async fn status_of(stream: Box<dyn Io>, target: &Target, path: &str) -> Result<StatusCode, WireProblem> {
    let head = [
        b"GET ",
        path.as_bytes(),
        b" HTTP/1.1\r\nhost: ",
        target.authority.as_bytes(),
        b"\r\naccept: */*\r\nuser-agent: cfx/",
        env!("CARGO_PKG_VERSION").as_bytes(),
        b"\r\nconnection: close\r\n\r\n",
    ];
    let mut outbox = Outbox::new(std::iter::once(Bytes::from(head.concat())));
    let mut wire = Wire::new(stream, Duration::ZERO);
    let mut heard = false;
    let answer = poll_fn(|context| wire.poll_head(context, &mut outbox, &mut heard)).await?;
    Ok(answer.head.status)
}

const WHOLE: u32 = 1 << 16;

/// Anything from nothing to [`WHOLE`]. Without randomness all keep step, which is no harm to a single edge.
fn share() -> u32 {
    let mut bytes = [0; 2];
    let _ = getrandom::fill(&mut bytes);
    u16::from_le_bytes(bytes).into()
}

/// An interval, give or take a tenth: edges that were started together do not go on asking together.
pub(super) fn jittered(interval: Duration) -> Duration {
    interval / 10 * 9 + interval / 5 * share() / WHOLE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse(healthy: u32, unhealthy: u32) -> Pulse {
        let second = Duration::from_secs(1);
        Pulse::of(&Health { path: "/".to_owned(), interval: second, timeout: second, healthy, unhealthy }, true)
    }

    #[test]
    fn a_target_turns_after_so_many_checks_in_a_row() {
        let mut pulse = pulse(2, 3);
        let turns: Vec<_> = [false, false, true, false, false, false, false, true, false, true, true, true]
            .map(|passed| pulse.note(passed))
            .into_iter()
            .enumerate()
            .filter_map(|(n, turn)| Some((n, turn?)))
            .collect();
        assert_eq!(turns, [(5, false), (10, true)]);
    }

    #[test]
    fn an_interval_is_kept_within_a_tenth() {
        let interval = Duration::from_secs(10);
        for _ in 0..1_000 {
            let jittered = jittered(interval);
            assert!(jittered >= interval / 10 * 9 && jittered <= interval / 10 * 11, "{jittered:?}");
        }
    }
}
