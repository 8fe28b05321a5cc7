//! What must be true once the edges have gone, asked of the servers themselves.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cfx::units::UserId;
use tokio_postgres::Client;
use uuid::Uuid;

use super::Fleet;
use super::edge::NotServed;

/// For what is on its way to Postgres.
const PATIENCE: Duration = Duration::from_secs(30);

/// A user's day as a store has it.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    used: i64,
    leased: i64,
}

impl Fleet {
    /// Holds what was counted and written against what was admitted. The edges have stopped.
    pub async fn audit(&self) {
        assert!(self.edges.is_empty(), "what an edge still holds is not counted yet");
        let client = self.servers.connect().await;
        let days = self.days_in_postgres(&client).await;
        let rows = rows_written(&client).await;
        let in_redis = match &self.servers.redis {
            Some(url) => Some(counted_in_redis(url).await),
            None => None,
        };
        for user in &self.users {
            let (spent, asked) = (user.counted(), user.asked.load(Ordering::SeqCst));
            assert!(spent <= self.limit, "{spent} requests of {} were admitted", self.limit);
            let wanted = Counted { used: i64::from(spent), leased: 0 };
            let nothing = Counted { used: 0, leased: 0 };
            assert_eq!(days.get(&user.id).unwrap_or(&nothing), &wanted, "in Postgres, of {asked} that were asked");
            if let Some(days) = &in_redis {
                assert_eq!(days.get(&user.id).unwrap_or(&nothing), &wanted, "in Redis, of {asked} that were asked");
            }
            let written = spent + user.given_back.load(Ordering::SeqCst);
            assert_eq!(rows.get(&user.id).copied().unwrap_or_default(), i64::from(written), "rows of the ledger");
        }
        let leases = client.query_one("select count(*) from cfx.quota_leases", &[]).await.expect("a number");
        assert_eq!(leases.get::<_, i64>(0), 0, "leases that nobody came back for");
    }

    /// That nothing which was set aside is lost: one edge more gets all that is left of the first users' days, and no
    /// more. Gives how much that was.
    pub async fn use_up_what_is_left(&self, users: usize) -> u32 {
        let edge = self.late_edge().await;
        let mut left = 0;
        for user in self.users.iter().take(users) {
            loop {
                match edge.admit(user, self.limit, false).await {
                    Ok(served) => {
                        assert!(user.spent.fetch_add(1, Ordering::SeqCst) < self.limit, "one more than the limit");
                        served.answered();
                        left += 1;
                    }
                    Err(NotServed::Exhausted) => break,
                    // No answer is no word on what is left.
                    Err(NotServed::Unanswered) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
            assert_eq!(user.counted(), self.limit, "what other edges held unused came back");
        }
        edge.stop().await;
        left
    }

    /// Once all is there that the edges had counted: what Redis counts is posted behind it.
    async fn days_in_postgres(&self, client: &Client) -> HashMap<UserId, Counted> {
        let all: i64 = self.users.iter().map(|user| i64::from(user.counted())).sum();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let days = counted_in_postgres(client).await;
            if days.values().map(|day| day.used).sum::<i64>() == all || Instant::now() > deadline {
                return days;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn counted_in_postgres(client: &Client) -> HashMap<UserId, Counted> {
    let text = "select user_id, request_count, leased from public.usage_counters";
    let rows = client.query(text, &[]).await.expect("counters");
    rows.iter().map(|row| (UserId(row.get(0)), Counted { used: row.get(1), leased: row.get(2) })).collect()
}

async fn rows_written(client: &Client) -> HashMap<UserId, i64> {
    let text = "select user_id, count(*) from public.request_logs where status <> 'rate_limited' group by user_id";
    let rows = client.query(text, &[]).await.expect("rows");
    rows.iter().map(|row| (UserId(row.get(0)), row.get(1))).collect()
}

async fn counted_in_redis(url: &str) -> HashMap<UserId, Counted> {
    let client = redis::Client::open(url).expect("the URL of a Redis");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*:quota").query_async(&mut connection).await.expect("keys");
    let mut days = HashMap::new();
    for key in keys {
        let id = key.split("{user:").nth(1).and_then(|rest| rest.get(..36)).expect("a user's day");
        let mut fields = redis::cmd("HMGET");
        fields.arg(&key).arg("used").arg("leased");
        let (used, leased): (Option<i64>, Option<i64>) = fields.query_async(&mut connection).await.expect("numbers");
        let counted = Counted { used: used.unwrap_or_default(), leased: leased.unwrap_or_default() };
        days.insert(UserId(Uuid::try_parse(id).expect("an id")), counted);
    }
    days
}
