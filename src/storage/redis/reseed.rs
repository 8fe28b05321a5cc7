//! How a day's counter begins in Redis, and how the durable store follows what Redis counts. `mod.rs` says what this
//! guarantees.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::books::{Amount, DayKey, Known, Needs, Standing, chunk_id};
use super::day::Answer;
use super::words::{self, Said};
use super::{Redis, scripts};
use crate::admission::{Posting, Settlement};
use crate::units::{EdgeId, StoreError};

/// How long a day that was lost is not seeded, so that every edge can first store what it still carries of it and say
/// which leases it holds. Shorter than a request waits for the store.
const PAUSE: Duration = Duration::from_millis(120);
/// Between turns of the background task: with the second between reports, the durable count lags by less than two.
const TURN: Duration = Duration::from_millis(300);
/// Days worked on at once.
const AT_ONCE: usize = 16;
/// Times that a day may change under one call before it fails: the outage stance of admission is next.
const ROUNDS: usize = 8;

impl Redis {
    /// Runs a script on a day, which is opened first where Redis does not know it.
    pub(super) async fn on_day(
        &self,
        key: DayKey,
        command: impl Fn() -> redis::Cmd,
    ) -> Result<(Standing, Vec<i64>), StoreError> {
        for _ in 0..ROUNDS {
            match self.read(key, self.link.ask(command()).await?)? {
                Answer::Standing(standing, rest) => {
                    self.heard(key, &standing).await;
                    return Ok((standing, rest));
                }
                Answer::Unborn => {}
                Answer::Older(life) => self.disown(&life).await?,
            }
            self.open(key).await?;
        }
        Err(self.unsettled(key))
    }

    /// Takes in where a day stands. What of it other lives knew is said in this one at once, as best it goes: what
    /// fails is tried again by the background task.
    pub(super) async fn heard(&self, key: DayKey, standing: &Standing) {
        if self.books.with(key, |book| book.hear(standing, self.edge))
            && let Err(error) = Box::pin(self.rejoin(key)).await
        {
            tracing::warn!(%error, "what Redis lost could not be told to it yet");
        }
    }

    /// Begins a day's counter in Redis, as the first edge to miss it.
    pub(super) async fn open(&self, key: DayKey) -> Result<(), StoreError> {
        let epoch = self.link.refresh_epoch().await?;
        // A day that is merely new has nothing to wait for, nor has an edge that is alone.
        let pause = if epoch.young && !self.is_alone() { PAUSE } else { Duration::ZERO };
        let mut command = self.call(&scripts::OPEN, key);
        command.arg(Uuid::new_v4().simple().to_string()).arg(u64::try_from(pause.as_micros()).unwrap_or(u64::MAX));
        let answer: Vec<redis::Value> = self.link.ask(command).await?;
        let [_, _, new] = answer.as_slice() else { return Err(self.link.foreign(&self.day_key(key))) };
        if redis::from_redis_value_ref::<u8>(new).is_ok_and(|new| new == 1) && !pause.is_zero() {
            tracing::warn!(
                day = words::write_day(key),
                "Redis has lost its counts; they are rebuilt from the durable store"
            );
            self.say(Said::Lost(key)).await?;
        }
        Ok(())
    }

    /// Puts what the durable store has counted into a life that has just begun.
    pub(super) async fn seed(&self, key: DayKey) -> Result<(), StoreError> {
        self.rejoin(key).await?;
        let mut count = -1;
        for _ in 0..ROUNDS {
            let life = self.books.look(key, |book| book.known().life).unwrap_or_default();
            let mut command = self.call(&scripts::SEED, key);
            command.arg(&life).arg(count);
            let answer: Vec<redis::Value> = self.link.ask(command).await?;
            let [_, _, seeded, wait] = answer.as_slice() else { return self.open(key).await };
            let told = |error: redis::ParsingError| self.link.unreadable(&error.to_string());
            if redis::from_redis_value_ref::<u8>(seeded).map_err(told)? == 1 {
                self.books.look(key, |book| book.seeded(&life));
                return Ok(());
            }
            match redis::from_redis_value_ref::<u64>(wait).map_err(told)? {
                // Read after the pause, when the others have stored what they carried.
                0 => count = i64::from(self.durable.used(key.0, key.1).await?),
                wait => tokio::time::sleep(Duration::from_micros(wait)).await,
            }
        }
        Err(self.unsettled(key))
    }

    /// Tells a new life of this edge's leases, and the durable store of what was counted before it.
    pub(super) async fn rejoin(&self, key: DayKey) -> Result<(), StoreError> {
        let lost = self.books.look(key, |book| book.lost_leases()).unwrap_or_default();
        if !lost.is_empty() {
            self.note_days(&lost.iter().map(|(_, held)| held.holder).collect::<Vec<_>>(), key).await?;
            let settlement = |lease, used| Settlement { lease, subject: key.0, day: key.1, used, closes: false };
            let settlements: Vec<Settlement> = lost.iter().map(|(lease, held)| settlement(*lease, held.used)).collect();
            let mut command = self.call(&scripts::SETTLE, key);
            self.add_settlements(&mut command, key, &settlements);
            if let Answer::Standing(standing, _) = self.read(key, self.link.ask(command).await?)? {
                self.books.with(key, |book| {
                    book.hear(&standing, self.edge);
                    settlements.iter().for_each(|one| book.settled(one.lease, one.used, false, &standing.life));
                });
            }
        }
        self.store(key).await
    }

    /// Tells the durable store what it does not have of a day.
    pub(super) async fn store(&self, key: DayKey) -> Result<(), StoreError> {
        let parts = self.books.look(key, |book| book.unstored(self.edge)).unwrap_or_default();
        for part in parts {
            self.store_part(key, part).await?;
            self.books.look(key, |book| book.stored(part, self.edge));
        }
        Ok(())
    }

    async fn store_part(&self, key: DayKey, part: Amount) -> Result<(), StoreError> {
        let count = u32::try_from(part.amount.unsigned_abs()).unwrap_or(u32::MAX);
        let posting = Posting { id: part.id, subject: key.0, day: key.1, count };
        match part.amount {
            0.. => self.durable.post(posting).await,
            _ => self.durable.release(posting).await,
        }
    }

    /// Tells the durable store what an edge that is dead counted of a day, part by part, as it would have done itself.
    pub(super) async fn store_for(&self, edge: EdgeId, key: DayKey) -> Result<(), StoreError> {
        let mut known = Known { stored: -1, ..Known::default() };
        loop {
            let mut command = self.call_of(&scripts::SETTLE, key, edge, &known);
            command.arg(0);
            let Answer::Standing(standing, _) = self.read(key, self.link.ask(command).await?)? else { return Ok(()) };
            let Standing { life, seeded, chunk, from, to, .. } = standing;
            if !seeded || (*life == *known.life && chunk <= known.stored) {
                return Ok(());
            }
            if chunk > 0 {
                self.store_part(key, Amount { id: chunk_id(&life, edge, chunk), amount: to - from }).await?;
            }
            known = Known { life: life.to_string(), stored: chunk, turn: 0 };
        }
    }

    /// Has every day counted anew, because Redis was found to have gone back to older data in `life` or its epoch.
    pub(super) async fn disown(&self, life: &str) -> Result<(), StoreError> {
        tracing::warn!(life, "Redis has gone back to older data; its counts are rebuilt from the durable store");
        self.link.end_epoch(life.split('/').next().unwrap_or_default()).await
    }

    /// Works through what the books have to say; for the life of the process.
    pub(super) async fn keep_books(&self) {
        let mut turn = tokio::time::interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            turn.tick().await;
            let outcome = self.work_through().await;
            match &outcome {
                Err(error) if !failing => tracing::warn!(%error, "the durable count lags behind Redis'"),
                Ok(()) if failing => tracing::info!("the durable count has caught up with Redis'"),
                _ => {}
            }
            failing = outcome.is_err();
        }
    }

    /// One turn. The last error, where there was one; the other days are worked on all the same.
    pub(super) async fn work_through(&self) -> Result<(), StoreError> {
        let outcomes = stream::iter(self.books.needs()).map(|(key, needs)| self.meet(key, needs));
        let outcomes: Vec<_> = outcomes.buffer_unordered(AT_ONCE).collect().await;
        outcomes.into_iter().rfind(Result::is_err).unwrap_or(Ok(()))
    }

    async fn meet(&self, key: DayKey, needs: Needs) -> Result<(), StoreError> {
        if needs.durable {
            self.store(key).await?;
        }
        if needs.rejoin {
            self.rejoin(key).await?;
        }
        if needs.seed {
            self.seed(key).await?;
        }
        if needs.late {
            for part in self.books.look(key, |book| book.late()).unwrap_or_default() {
                self.post_amount(key, part, true).await?;
                self.books.look(key, |book| book.told(part));
            }
        }
        if needs.nudge || needs.seed {
            self.nudge(key).await?;
            self.store(key).await?;
        }
        Ok(())
    }

    /// Hears where a day stands, and has Redis cut the next part for the durable store. A day that is not there stays so.
    pub(super) async fn nudge(&self, key: DayKey) -> Result<(), StoreError> {
        for again in [true, false] {
            let mut command = self.call(&scripts::SETTLE, key);
            command.arg(0);
            match self.read(key, self.link.ask(command).await?)? {
                Answer::Standing(standing, _) => {
                    self.heard(key, &standing).await;
                    break;
                }
                // It may be there in an epoch that this edge has not heard of.
                Answer::Unborn if again => drop(self.link.refresh_epoch().await?),
                Answer::Unborn => {}
                // Whoever asks for a lease next opens it anew.
                Answer::Older(life) => return self.disown(&life).await,
            }
        }
        Ok(())
    }

    /// Changes a day's count by `part`. `aside`: the durable store hears of it otherwise.
    pub(super) async fn post_amount(&self, key: DayKey, part: Amount, aside: bool) -> Result<(), StoreError> {
        let command = || {
            let mut command = self.call(&scripts::POST, key);
            command.arg(part.id.0.to_string()).arg(part.amount).arg(u8::from(aside));
            command
        };
        self.on_day(key, command).await.map(drop)
    }

    /// Hears of days that other edges found lost, and says at once what this one holds of them.
    pub(super) async fn answer_losses(self: Arc<Self>) {
        let mut words = self.words.listen();
        loop {
            match words.recv().await {
                Ok((Some(from), Said::Lost(key))) if from != self.edge => {
                    if self.books.look(key, |_| ()).is_some() {
                        let redis = Arc::clone(&self);
                        tokio::spawn(async move {
                            if let Err(error) = redis.nudge(key).await {
                                tracing::warn!(%error, "what Redis lost could not be told to it yet");
                            }
                        });
                    }
                }
                Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    pub(super) fn unsettled(&self, key: DayKey) -> StoreError {
        StoreError(format!(
            "Redis ({}) loses the count of {} again and again; is its memory full, or is another program emptying it?",
            self.link.address.shown,
            words::write_day(key)
        ))
    }
}
