//! Calls on one subject's day: how they are written, and what their answers say.

use std::sync::Arc;

use redis::{Cmd, Value};

use super::Redis;
use super::books::{DayKey, Known, Standing};
use super::scripts::Script;
use super::words::{self, Said};
use crate::admission::{Settlement, Subject};
use crate::units::{Day, EdgeId, StoreError};

/// How long a key outlives its day, in seconds.
const AFTERLIFE: i64 = 2 * 86_400;

/// What a script on a day answers.
pub(super) enum Answer {
    /// Where the day stands, and what the script adds to that.
    Standing(Standing, Vec<i64>),
    /// Redis does not know the day.
    Unborn,
    /// It knows less of this life than it has told before.
    Older(String),
}

impl Redis {
    pub(super) fn day_key(&self, (subject, day): DayKey) -> String {
        let (kind, id) = words::kind_and_id(subject);
        format!("{}{{{kind}:{id}:{}}}:quota", self.link.address.prefix, day.iso())
    }

    /// The head that every script on a day takes.
    pub(super) fn call(&self, script: &Script, key: DayKey) -> Cmd {
        let known = self.books.look(key, |book| book.known()).unwrap_or_default();
        self.call_of(script, key, self.edge, &known)
    }

    /// The same for `edge`, which knows the day so far.
    pub(super) fn call_of(&self, script: &Script, key: DayKey, edge: EdgeId, known: &Known) -> Cmd {
        let mut command = script.over(&[&self.day_key(key)]);
        command
            .arg(&*self.link.epoch())
            .arg(edge.0.to_string())
            .arg(&self.link.address.channel)
            .arg(words::write(self.edge, Said::Freed(key)))
            .arg(key.1.end().0 / 1_000_000 + AFTERLIFE)
            .arg(&known.life)
            .arg(known.stored)
            .arg(known.turn);
        command
    }

    /// Adds the settlements of one day, each with what is remembered of its lease.
    pub(super) fn add_settlements(&self, command: &mut Cmd, key: DayKey, settlements: &[Settlement]) {
        command.arg(settlements.len());
        for settlement in settlements {
            let held = self.books.look(key, |book| book.held(settlement.lease).cloned()).flatten();
            command.arg(settlement.lease.0.to_string()).arg(settlement.used).arg(u8::from(settlement.closes));
            match held {
                Some(held) => {
                    command.arg(&*held.life).arg(held.holder.0.to_string()).arg(held.granted).arg(held.used);
                }
                None => {
                    command.arg("").arg("").arg(0).arg(0);
                }
            }
        }
    }

    pub(super) fn read(&self, key: DayKey, answer: Value) -> Result<Answer, StoreError> {
        let told = |error: redis::ParsingError| self.link.unreadable(&error.to_string());
        let parts: Vec<Value> = redis::from_redis_value(answer).map_err(told)?;
        let mut parts = parts.into_iter();
        let mut text = || parts.next().map(redis::from_redis_value::<String>).transpose().map_err(told);
        let (status, life) = (text()?, text()?);
        match (status.as_deref(), life) {
            (Some("foreign"), _) => return Err(self.link.foreign(&self.day_key(key))),
            (Some("unborn"), _) => return Ok(Answer::Unborn),
            (Some("older"), Some(life)) => return Ok(Answer::Older(life)),
            (Some("ok"), Some(life)) => {
                let numbers: Result<Vec<i64>, _> = parts.map(redis::from_redis_value).collect();
                if let [seeded, turn, counted, chunk, from, to, rest @ ..] = numbers.map_err(told)?.as_slice() {
                    let (seeded, turn, counted, chunk, from, to) = (*seeded == 1, *turn, *counted, *chunk, *from, *to);
                    let standing = Standing { life: Arc::from(life), seeded, turn, counted, chunk, from, to };
                    return Ok(Answer::Standing(standing, rest.to_vec()));
                }
            }
            _ => {}
        }
        Err(self.link.unreadable("not the parts a day's script answers"))
    }
}

/// A settlement of its own for each subject's day: no script touches two slots.
pub(super) fn by_day(settlements: Vec<Settlement>) -> Vec<(DayKey, Vec<Settlement>)> {
    let mut days: std::collections::BTreeMap<(Subject, Day), Vec<Settlement>> = std::collections::BTreeMap::new();
    for settlement in settlements {
        days.entry((settlement.subject, settlement.day)).or_default().push(settlement);
    }
    days.into_iter().collect()
}
