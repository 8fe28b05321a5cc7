//! [`QuotaStore`] over Redis.
//!
//! Failure stance: an error at once where Redis is away, so that admission takes its own stance (`on_store_outage`).
//! Never the durable store in its place: an edge that counted there while others count here would admit too many.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::Value;
use tokio::time::Instant;

use super::books::{Amount, DayKey, Held};
use super::day::{self, Answer};
use super::link::millis;
use super::words::{self, Said};
use super::{Redis, scripts};
use crate::admission::{
    Ask, Grant, OpenLease, Posting, PostingId, QuotaStore, Remembered, Settlement, Subject, Word, largest_lease,
};
use crate::units::{Day, EdgeId, LeaseId, StoreError};

/// An edge that was not heard for so long no longer shares in leases.
const EDGE_LIFE: Duration = Duration::from_secs(15);
/// How long an edge's list of days is kept after the last was added.
const LIST_LIFE: Duration = Duration::from_secs(3 * 86_400);
/// How long the end of this edge waits for the durable store.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long a heartbeat waits for the durable store.
const BEAT_THERE: Duration = Duration::from_secs(2);
/// Who keeps counts in Redis has several edges, or will have: leases are those of edges that share.
const SHARING: u32 = 2;
/// Times that a day may have to be seeded before a grant.
const ROUNDS: usize = 4;

#[async_trait]
impl QuotaStore for Redis {
    async fn grant(&self, ask: Ask) -> Result<Grant, StoreError> {
        let key = (ask.subject, ask.day);
        let command = || {
            let mut command = self.call(&scripts::GRANT, key);
            self.add_settlements(&mut command, key, &ask.settled);
            command.arg(ask.lease.0.to_string()).arg(ask.edge.0.to_string()).arg(ask.limit);
            command.arg(self.live()).arg(ask.most.clamp(1, largest_lease(ask.limit, SHARING)));
            command
        };
        // Before the lease itself, so that a restarted edge finds every one of its leases.
        self.list(ask.edge, key).await?;
        // Read apart, since it lies in another slot; a lease of a moment ago's size does no harm.
        let live: u32 = self.link.ask(redis::cmd("ZCARD").arg(self.edges_key()).take()).await?;
        self.note_live(live);
        for _ in 0..ROUNDS {
            let (standing, rest) = self.on_day(key, command).await?;
            self.acknowledge(key, &ask.settled, &standing.life);
            let [granted, counted, elsewhere] = rest[..] else {
                self.seed(key).await?;
                continue;
            };
            let number = |value: i64| u32::try_from(value).unwrap_or(0);
            if granted > 0 {
                // The list may have been lost on the way.
                self.list(ask.edge, key).await?;
                let held = Held { life: standing.life, holder: ask.edge, granted: number(granted), used: 0 };
                self.books.with(key, |book| book.hold(ask.lease, held));
            }
            let (granted, counted, elsewhere) = (number(granted), number(counted), number(elsewhere));
            return Ok(Grant { granted, counted, live_edges: self.live(), elsewhere });
        }
        Err(self.unsettled(key))
    }

    /// Every day by itself, all in one go. One that fails does not hold up the others.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), StoreError> {
        let days = day::by_day(settlements);
        let command = |(key, settlements): &(DayKey, Vec<Settlement>)| {
            let mut command = self.call(&scripts::SETTLE, *key);
            self.add_settlements(&mut command, *key, settlements);
            command
        };
        let answers = self.link.ask_all(days.iter().map(command).collect()).await?;
        let mut outcome = Ok(());
        for ((key, settlements), answer) in days.into_iter().zip(answers) {
            if let Err(error) = self.settled(key, &settlements, answer).await {
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn release(&self, posting: Posting) -> Result<(), StoreError> {
        self.change(posting, -i64::from(posting.count)).await
    }

    async fn post(&self, posting: Posting) -> Result<(), StoreError> {
        self.change(posting, i64::from(posting.count)).await
    }

    /// Of a day that Redis does not know, what the durable store says.
    async fn used(&self, subject: Subject, day: Day) -> Result<u32, StoreError> {
        let key = (subject, day);
        let mut command = redis::cmd("HMGET");
        command.arg(self.day_key(key)).arg(&["born", "seeded", "used"]);
        let (born, seeded, used): (Option<String>, Option<u8>, Option<i64>) = self.link.ask(command).await?;
        let of_epoch = |epoch: &str| born.as_deref().is_some_and(|born| born.starts_with(&format!("{epoch}/")));
        let known =
            of_epoch(&self.link.epoch()) || (born.is_some() && of_epoch(&self.link.refresh_epoch().await?.name));
        let count = match known && seeded.is_some() {
            true => used.unwrap_or_default(),
            false => {
                let missing = self.books.look(key, |book| book.missing_there()).unwrap_or_default();
                i64::from(self.durable.used(subject, day).await?) + missing
            }
        };
        Ok(u32::try_from(count).unwrap_or_default())
    }

    /// Said in both places, so that the edges know of each other there too where Redis does not answer.
    async fn beat(&self, edge: EdgeId) -> Result<u32, StoreError> {
        let live = match tokio::join!(self.beat_here(edge), self.beat_there(edge)) {
            (Ok(live), _) => live,
            (Err(error), there) => there.ok_or(error)?,
        };
        self.note_live(live);
        Ok(live)
    }

    /// Also tells the durable store the last of it.
    async fn depart(&self, edge: EdgeId) -> Result<(), StoreError> {
        let stored = async {
            while !self.books.needs().is_empty() {
                self.work_through().await?;
            }
            Ok(())
        };
        let stored = tokio::time::timeout(LAST_WORDS, stored).await;
        // Where this fails, the heartbeat runs out by itself.
        let _ = tokio::time::timeout(BEAT_THERE, self.durable.depart(edge)).await;
        let mut command = redis::cmd("ZREM");
        command.arg(self.edges_key()).arg(edge.0.to_string());
        self.link.ask::<Value>(command).await?;
        stored.unwrap_or_else(|_| Err(StoreError("the durable store did not take the last counts".to_owned())))
    }

    async fn open_leases(&self, edge: EdgeId) -> Result<Vec<OpenLease>, StoreError> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(self.list_key(edge));
        let days: Vec<String> = self.link.ask(command).await?;
        let mut open = Vec::new();
        for key in days.iter().filter_map(|day| words::read_day(day)) {
            // What this edge counted and did not store before it was started again comes with the standing.
            self.nudge(key).await?;
            if edge != self.edge {
                self.store_for(edge, key).await?;
            }
            let mut command = redis::cmd("HGETALL");
            command.arg(self.day_key(key));
            let fields: Vec<(String, String)> = self.link.ask(command).await?;
            open.extend(self.leases_of(edge, key, &fields));
        }
        open.sort_by_key(|open| open.lease);
        Ok(open)
    }

    async fn recall(&self, _edge: EdgeId, subject: Subject, day: Day) -> Result<(), StoreError> {
        self.say(Said::Recall((subject, day))).await
    }

    async fn hear(&self, _edge: EdgeId) -> Word {
        self.words.next(self.edge).await
    }

    fn hears(&self) -> bool {
        self.words.hears()
    }

    /// What the durable store has of the day, and which edges beat there.
    async fn remembered(&self, edge: EdgeId, subject: Subject, day: Day) -> Option<Remembered> {
        let there = self.durable.used(subject, day).await.ok()?;
        let missing = self.books.look((subject, day), |book| book.missing_there()).unwrap_or_default();
        let used = u32::try_from(i64::from(there) + missing).unwrap_or_default();
        // Before the first heartbeat was answered nobody is known.
        if self.live.load(Ordering::Relaxed) == 0 {
            self.note_live(self.beat_there(edge).await?);
        }
        Some(Remembered { used, live_edges: self.live() })
    }
}

impl Redis {
    /// Where Redis knows an earlier heartbeat than it has told of, it has gone back to older data.
    async fn beat_here(&self, edge: EdgeId) -> Result<u32, StoreError> {
        let mut command = scripts::BEAT.over(&[&self.edges_key()]);
        command.arg(edge.0.to_string()).arg(millis(EDGE_LIFE));
        let epoch = self.link.epoch();
        let (before, now, living): (String, f64, Vec<String>) = self.link.ask(command).await?;
        let last = self.beaten.lock().unwrap_or_else(PoisonError::into_inner).replace((now, epoch));
        if let (Ok(before), Some((last, epoch))) = (before.parse::<f64>(), last)
            && before < last
        {
            self.disown(&epoch).await?;
        }
        Ok(u32::try_from(living.len()).unwrap_or(u32::MAX).max(1))
    }

    async fn beat_there(&self, edge: EdgeId) -> Option<u32> {
        let beat = tokio::time::timeout(BEAT_THERE, self.durable.beat(edge)).await;
        beat.ok()?.ok()
    }

    fn note_live(&self, live: u32) {
        self.live.store(live, Ordering::Relaxed);
        if live > 1 {
            *self.accompanied.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + EDGE_LIFE);
        }
    }

    async fn change(&self, posting: Posting, amount: i64) -> Result<(), StoreError> {
        let Posting { id, subject, day, .. } = posting;
        self.post_amount((subject, day), Amount { id: PostingId(id.0), amount }, false).await
    }

    /// What came of one day's part of a batch.
    async fn settled(
        &self,
        key: DayKey,
        settlements: &[Settlement],
        answer: Result<Value, StoreError>,
    ) -> Result<(), StoreError> {
        if let Answer::Standing(standing, _) = self.read(key, answer?)? {
            self.acknowledge(key, settlements, &standing.life);
            self.heard(key, &standing).await;
            return Ok(());
        }
        // Of leases nobody knows there is nothing to say, and no day to open for it.
        let known = |settlement: &Settlement| {
            self.books.look(key, |book| book.held(settlement.lease).is_some()).unwrap_or_default()
        };
        if !settlements.iter().any(known) {
            return Ok(());
        }
        let command = || {
            let mut command = self.call(&scripts::SETTLE, key);
            self.add_settlements(&mut command, key, settlements);
            command
        };
        let (standing, _) = self.on_day(key, command).await?;
        self.acknowledge(key, settlements, &standing.life);
        Ok(())
    }

    fn acknowledge(&self, key: DayKey, settlements: &[Settlement], life: &Arc<str>) {
        self.books.look(key, |book| {
            settlements.iter().for_each(|one| book.settled(one.lease, one.used, one.closes, life));
        });
    }

    /// The leases of `edge` among a day's fields, remembered as this edge's own where they are.
    fn leases_of(&self, edge: EdgeId, key: DayKey, fields: &[(String, String)]) -> Vec<OpenLease> {
        let epoch = format!("{}/", self.link.epoch());
        let born = fields.iter().find(|(name, _)| name == "born").map(|(_, born)| born.as_str());
        let Some(life) = born.filter(|born| born.starts_with(&epoch)) else { return Vec::new() };
        let holder = edge.0.to_string();
        let lease = |(name, value): &(String, String)| {
            let id = uuid::Uuid::try_parse(name.strip_prefix("l:")?).ok()?;
            let mut parts = value.strip_prefix(&holder)?.split_whitespace();
            let (granted, used) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some(OpenLease { lease: LeaseId(id), subject: key.0, day: key.1, granted, used })
        };
        let open: Vec<OpenLease> = fields.iter().filter_map(lease).collect();
        for OpenLease { lease, granted, used, .. } in &open {
            let held = Held { life: life.into(), holder: edge, granted: *granted, used: *used };
            self.books.with(key, |book| book.hold(*lease, held));
        }
        open
    }

    /// Sees to it that a day is on the list of `edge`, in the present epoch.
    async fn list(&self, edge: EdgeId, key: DayKey) -> Result<(), StoreError> {
        let epoch = self.link.epoch();
        if self.books.with(key, |book| book.listed.as_ref() != Some(&epoch)) {
            self.note_days(&[edge], key).await?;
            self.books.with(key, |book| book.listed = Some(epoch));
        }
        Ok(())
    }

    /// Adds a day to the list that each of `edges` finds its leases by after a restart.
    pub(super) async fn note_days(&self, edges: &[EdgeId], key: DayKey) -> Result<(), StoreError> {
        let mut commands = Vec::new();
        for edge in edges {
            let list = self.list_key(*edge);
            commands.push(redis::cmd("SADD").arg(&list).arg(words::write_day(key)).take());
            commands.push(redis::cmd("PEXPIRE").arg(&list).arg(millis(LIST_LIFE)).take());
        }
        self.link.ask_all(commands).await?.into_iter().try_for_each(|answer| answer.map(drop))
    }

    fn edges_key(&self) -> String {
        format!("{}edges", self.link.address.prefix)
    }

    fn list_key(&self, edge: EdgeId) -> String {
        format!("{}{{edge:{}}}:days", self.link.address.prefix, edge.0)
    }
}
