//! [`ConcurrencyStore`] over Redis: a sorted set of places for each user with open streams.
//!
//! Failure stance: an error at once where Redis is away; the port says what then. Emptied, it is told of every place
//! again by the next renewals; until then, four seconds at most, the cap holds on each edge alone.

use std::collections::HashMap;

use async_trait::async_trait;

use super::link::millis;
use super::{Redis, scripts};
use crate::admission::{ConcurrencyStore, PLACE_LIFE, PlaceId};
use crate::units::{StoreError, UserId};

#[async_trait]
impl ConcurrencyStore for Redis {
    async fn enter(&self, user: UserId, place: PlaceId, limit: u32) -> Result<bool, StoreError> {
        let mut command = scripts::ENTER.over(&[&self.streams_key(user)]);
        command.arg(place.0.to_string()).arg(limit).arg(millis(PLACE_LIFE));
        Ok(self.link.ask::<u8>(command).await? == 1)
    }

    async fn leave(&self, places: &[(UserId, PlaceId)]) -> Result<(), StoreError> {
        let leave =
            |(user, places): (UserId, Vec<String>)| redis::cmd("ZREM").arg(self.streams_key(user)).arg(places).take();
        self.all(by_user(places).map(leave)).await
    }

    async fn renew(&self, places: &[(UserId, PlaceId)]) -> Result<(), StoreError> {
        let held = |(user, places): (UserId, Vec<String>)| {
            let mut command = scripts::RENEW.over(&[&self.streams_key(user)]);
            command.arg(millis(PLACE_LIFE)).arg(places);
            command
        };
        self.all(by_user(places).map(held)).await
    }
}

impl Redis {
    async fn all(&self, commands: impl Iterator<Item = redis::Cmd>) -> Result<(), StoreError> {
        let answers = self.link.ask_all(commands.collect()).await?;
        answers.into_iter().try_for_each(|answer| answer.map(drop))
    }

    fn streams_key(&self, user: UserId) -> String {
        format!("{}{{open:{}}}:streams", self.link.address.prefix, user.0)
    }
}

fn by_user(places: &[(UserId, PlaceId)]) -> impl Iterator<Item = (UserId, Vec<String>)> {
    let mut users: HashMap<UserId, Vec<String>> = HashMap::new();
    for (user, place) in places {
        users.entry(*user).or_default().push(place.0.to_string());
    }
    users.into_iter()
}
