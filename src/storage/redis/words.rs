//! Words between edges: one channel, on a connection of its own, built again whenever it is lost.
//!
//! A word may be lost while the connection is away; whoever listens then hears [`Word::Missed`] once it is back.
//!
//! Failure stance: open. An edge that hears nothing leases one request at a time. Why it hears nothing is told to the
//! operator, since everything else may work: the right to a channel is one of its own in Redis.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSub;
use redis::{ErrorKind, RedisError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, broadcast};
use uuid::Uuid;

use super::books::DayKey;
use super::link::{Link, Unconnected};
use crate::admission::{Subject, Word};
use crate::units::{Day, EdgeId, KeyId, StoreError, UserId};

/// Words kept for a listener that is busy; beyond it they count as missed.
const KEPT: usize = 1024;
const CONNECT: Duration = Duration::from_secs(2);
/// Between proofs that the connection still hears.
const PROOF: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);
/// What it means for the operator that nothing is heard.
const MEANWHILE: &str = "quota is leased one request at a time, because the other edges are not heard";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Recall(DayKey),
    Freed(DayKey),
    /// A day's counter began anew: say what you hold of it.
    Lost(DayKey),
    Missed,
}

type Heard = (Option<EdgeId>, Said);

pub(super) struct Words {
    said: broadcast::Sender<Heard>,
    /// Of the one listener; from the beginning, so that nothing is missed before it listens.
    ears: Mutex<broadcast::Receiver<Heard>>,
    hears: AtomicBool,
    /// Why nothing is heard; None while something is, and before it was tried.
    problem: SyncMutex<Option<StoreError>>,
}

impl Words {
    pub(super) fn new() -> Self {
        let (said, ears) = broadcast::channel(KEPT);
        Self { said, ears: Mutex::new(ears), hears: AtomicBool::new(false), problem: SyncMutex::default() }
    }

    pub(super) fn hears(&self) -> bool {
        self.hears.load(Ordering::Acquire)
    }

    /// Why nothing is heard, for the operator.
    pub(super) fn problem(&self) -> Option<StoreError> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything that is said from now on, by whomever.
    pub(super) fn listen(&self) -> broadcast::Receiver<Heard> {
        self.said.subscribe()
    }

    /// The next word that `edge` did not say itself.
    pub(super) async fn next(&self, edge: EdgeId) -> Word {
        let mut ears = self.ears.lock().await;
        loop {
            match ears.recv().await {
                Ok((from, _)) if from == Some(edge) => {}
                Ok((_, Said::Recall((subject, day)))) => return Word::Recall { subject, day },
                Ok((_, Said::Freed((subject, day)))) => return Word::Freed { subject, day },
                Ok((_, Said::Lost(_))) => {}
                Ok((_, Said::Missed)) | Err(RecvError::Lagged(_)) => return Word::Missed,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// Listens for the life of the process.
    pub(super) async fn run(&self, link: &Link) {
        let (mut pause, mut before, mut told) = (FIRST_RETRY, false, false);
        loop {
            match subscribe(link).await {
                Ok(connection) => {
                    self.note_problem(None);
                    if std::mem::take(&mut told) {
                        tracing::info!(redis = link.address.shown, "the other edges are heard again");
                    }
                    self.hear_out(connection, before).await;
                    (pause, before) = (FIRST_RETRY, true);
                }
                // What ails the connection itself is told by the one that calls go by.
                Err(Unconnected { problem, .. }) => {
                    let problem = StoreError(format!("{}; until then {MEANWHILE}", problem.0));
                    self.note_problem(Some(problem.clone()));
                    if !told && link.problem().is_none() {
                        tracing::warn!(%problem, "the other edges are not heard");
                        told = true;
                    }
                }
            }
            self.hears.store(false, Ordering::Release);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_RETRY);
        }
    }

    fn note_problem(&self, problem: Option<StoreError>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// One connection, to its end. `before`: words may have been missed.
    async fn hear_out(&self, connection: PubSub, before: bool) {
        let (mut sink, mut stream) = connection.split();
        self.hears.store(true, Ordering::Release);
        if before {
            self.tell(None, Said::Missed);
        }
        let mut proof = tokio::time::interval(PROOF);
        loop {
            tokio::select! {
                message = stream.next() => {
                    let Some(message) = message else { return };
                    let text: String = message.get_payload().unwrap_or_default();
                    // What is no word of ours was said by another program, or by a later version.
                    if let Some((from, said)) = read(&text) {
                        self.tell(Some(from), said);
                    }
                }
                _ = proof.tick() => {
                    let answered = tokio::time::timeout(CONNECT, sink.ping::<redis::Value>()).await;
                    if !matches!(answered, Ok(Ok(_))) {
                        return;
                    }
                }
            }
        }
    }

    fn tell(&self, from: Option<EdgeId>, said: Said) {
        // Nobody may be listening yet.
        let _ = self.said.send((from, said));
    }
}

/// A connection that hears the channel.
pub(super) async fn subscribe(link: &Link) -> Result<PubSub, Unconnected> {
    let address = &link.address;
    let subscribe = async {
        let mut connection = address.client.get_async_pubsub().await?;
        connection.subscribe(&address.channel).await?;
        Ok(connection)
    };
    let silent = |_| Err(RedisError::from((ErrorKind::Io, "no answer in time")));
    tokio::time::timeout(CONNECT, subscribe).await.unwrap_or_else(silent).map_err(|error| link.unconnected(&error))
}

/// A word as it stands on the channel.
pub(super) fn write(from: EdgeId, said: Said) -> String {
    let (verb, key) = match said {
        Said::Recall(key) => ("recall", key),
        Said::Freed(key) => ("freed", key),
        Said::Lost(key) => ("lost", key),
        Said::Missed => return String::new(),
    };
    format!("{verb} {} {}", from.0, write_day(key))
}

fn read(text: &str) -> Option<(EdgeId, Said)> {
    let mut parts = text.splitn(3, ' ');
    let (verb, from, day) = (parts.next()?, Uuid::try_parse(parts.next()?).ok()?, read_day(parts.next()?)?);
    let said = match verb {
        "recall" => Said::Recall(day),
        "freed" => Said::Freed(day),
        "lost" => Said::Lost(day),
        _ => return None,
    };
    Some((EdgeId(from), said))
}

/// One subject's day, as in words and in an edge's list of days: `user UUID DAYS`.
pub(super) fn write_day((subject, day): DayKey) -> String {
    let (kind, id) = kind_and_id(subject);
    format!("{kind} {id} {}", day.0)
}

pub(super) fn read_day(text: &str) -> Option<DayKey> {
    let mut parts = text.split(' ');
    let (kind, id, day) = (parts.next()?, Uuid::try_parse(parts.next()?).ok()?, parts.next()?.parse().ok()?);
    let subject = match kind {
        "user" => Subject::User(UserId(id)),
        "key" => Subject::Key(KeyId(id)),
        _ => return None,
    };
    parts.next().is_none().then_some((subject, Day(day)))
}

pub(super) fn kind_and_id(subject: Subject) -> (&'static str, Uuid) {
    match subject {
        Subject::User(user) => ("user", user.0),
        Subject::Key(key) => ("key", key.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_it_was_written_and_others_words_are_none() {
        let (from, key) = (EdgeId(Uuid::from_u128(1)), (Subject::Key(KeyId(Uuid::from_u128(2))), Day(-3)));
        for said in [Said::Recall(key), Said::Freed(key), Said::Lost(key)] {
            assert_eq!(read(&write(from, said)), Some((from, said)));
        }
        for text in ["", "recall", "recall x y", "freed 0 user 0 1", &format!("sing {} {}", from.0, write_day(key))] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(read(&format!("{} 4", write(from, Said::Freed(key)))), None);
    }
}
