//! [`QuotaStore`] over `usage_counters`, `key_counters`, `quota_leases` and `quota_postings`.
//!
//! Every call is one `IMMEDIATE` transaction: it holds the file's write lock from its first read, so that
//! `request_count + leased ≤ limit` is judged and acted on as one, whatever other process has the file open.
//!
//! The file is made for one edge. Two may have it open while one takes over from the other; no words are carried
//! between them. Instead each knows from `quota_edges` that it is not alone, and then holds one request at a time and
//! none ahead, so that nothing lies unused where the other cannot ask for it. Until the first has noticed the second,
//! three seconds at most, the second may be refused what the first holds.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::admission::{Ask, Grant, OpenLease, Posting, QuotaStore, Settlement, Subject, Word, lease_size};
use crate::storage::sqlite::{Sqlite, text};
use crate::units::{Day, EdgeId, KeyId, LeaseId, StoreError, UserId};

/// Edges that were seen in the last ten seconds, without the asking one.
const OTHERS: &str = "select count(*) from quota_edges where edge <> ?1 and seen_at > unixepoch() - 10";

#[async_trait]
impl QuotaStore for Sqlite {
    async fn grant(&self, ask: Ask) -> Result<Grant, StoreError> {
        let grant = self.in_transaction(move |connection| grant(connection, &ask)).await?;
        self.live_edges.store(grant.live_edges, Ordering::Relaxed);
        Ok(grant)
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), StoreError> {
        self.in_transaction(move |connection| settlements.iter().try_for_each(|one| settle(connection, one))).await
    }

    async fn release(&self, posting: Posting) -> Result<(), StoreError> {
        self.in_transaction(move |connection| once(connection, &posting, -i64::from(posting.count))).await
    }

    async fn post(&self, posting: Posting) -> Result<(), StoreError> {
        self.in_transaction(move |connection| once(connection, &posting, i64::from(posting.count))).await
    }

    async fn used(&self, subject: Subject, day: Day) -> Result<u32, StoreError> {
        let counter = Counter::of(subject, day);
        self.reader.run(move |connection| Ok(counter.read(connection)?.0)).await
    }

    async fn beat(&self, edge: EdgeId) -> Result<u32, StoreError> {
        let edge = edge.0.to_string();
        let beat = move |connection: &Connection| {
            connection
                .prepare_cached("insert or replace into quota_edges (edge, seen_at) values (?1, unixepoch())")?
                .execute([&edge])?;
            connection.prepare_cached("delete from quota_edges where seen_at < unixepoch() - 60")?.execute(())?;
            live_edges(connection, &edge)
        };
        let live_edges = self.in_transaction(beat).await?;
        self.live_edges.store(live_edges, Ordering::Relaxed);
        Ok(live_edges)
    }

    async fn depart(&self, edge: EdgeId) -> Result<(), StoreError> {
        let edge = edge.0.to_string();
        let depart = move |connection: &Connection| {
            connection.prepare_cached("delete from quota_edges where edge = ?1")?.execute([edge]).map(drop)
        };
        self.in_transaction(depart).await
    }

    async fn open_leases(&self, edge: EdgeId) -> Result<Vec<OpenLease>, StoreError> {
        let select = move |connection: &mut Connection| {
            connection
                .prepare_cached("select * from quota_leases where edge = ?1 order by id")?
                .query_map([edge.0.to_string()], open_lease)?
                .collect()
        };
        self.reader.run(select).await
    }

    async fn recall(&self, _edge: EdgeId, _subject: Subject, _day: Day) -> Result<(), StoreError> {
        Ok(())
    }

    async fn hear(&self, _edge: EdgeId) -> Word {
        std::future::pending().await
    }

    /// An edge that is alone has nobody to hear.
    fn hears(&self) -> bool {
        self.live_edges.load(Ordering::Relaxed) == 1
    }
}

impl Sqlite {
    /// Closes leases of days before `day` that no edge came back for, as they were last reported; gives how many.
    pub async fn close_leases_before(&self, day: Day) -> Result<u32, StoreError> {
        let close = move |connection: &Connection| {
            let left: Vec<OpenLease> = connection
                .prepare_cached("select * from quota_leases where day < ?1")?
                .query_map([day.iso()], open_lease)?
                .collect::<rusqlite::Result<_>>()?;
            for OpenLease { lease, subject, day, used, .. } in &left {
                settle(
                    connection,
                    &Settlement { lease: *lease, subject: *subject, day: *day, used: *used, closes: true },
                )?;
            }
            Ok(u32::try_from(left.len()).unwrap_or(u32::MAX))
        };
        self.in_transaction(close).await
    }
}

fn open_lease(row: &Row<'_>) -> rusqlite::Result<OpenLease> {
    let user: Option<String> = row.get("user_id")?;
    let subject = match user {
        Some(_) => Subject::User(UserId(text::uuid(row, "user_id")?)),
        None => Subject::Key(KeyId(text::uuid(row, "key_id")?)),
    };
    Ok(OpenLease {
        lease: LeaseId(text::uuid(row, "id")?),
        subject,
        day: text::day(row, "day")?,
        granted: row.get("granted")?,
        used: row.get("used")?,
    })
}

/// Edges on this file, `edge` included.
fn live_edges(connection: &Connection, edge: &str) -> rusqlite::Result<u32> {
    let others: u32 = connection.prepare_cached(OTHERS)?.query_row([edge], |row| row.get(0))?;
    Ok(1 + others)
}

fn grant(connection: &Connection, ask: &Ask) -> rusqlite::Result<Grant> {
    ask.settled.iter().try_for_each(|settlement| settle(connection, settlement))?;
    let counter = Counter::of(ask.subject, ask.day);
    let earlier: Option<u32> = connection
        .prepare_cached("select granted from quota_leases where id = ?1")?
        .query_row([ask.lease.0.to_string()], |row| row.get(0))
        .optional()?;
    let (used, leased) = counter.read(connection)?;
    let counted = used.saturating_add(leased);
    let live_edges = live_edges(connection, &ask.edge.0.to_string())?;
    // Nothing that other edges hold could be recalled.
    let elsewhere = 0;
    if let Some(granted) = earlier {
        return Ok(Grant { granted, counted, live_edges, elsewhere });
    }
    let most = if live_edges > 1 { 1 } else { ask.most };
    let granted = lease_size(ask.limit, counted, live_edges, most);
    if granted > 0 {
        counter.change(connection, 0, i64::from(granted))?;
        let (user, key) = match ask.subject {
            Subject::User(user) => (Some(user.0.to_string()), None),
            Subject::Key(key) => (None, Some(key.0.to_string())),
        };
        connection
            .prepare_cached(
                "insert into quota_leases (id, edge, user_id, key_id, day, granted) values (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((ask.lease.0.to_string(), ask.edge.0.to_string(), user, key, ask.day.iso(), granted))?;
    }
    Ok(Grant { granted, counted: counted + granted, live_edges, elsewhere })
}

fn settle(connection: &Connection, settlement: &Settlement) -> rusqlite::Result<()> {
    let id = settlement.lease.0.to_string();
    let lease: Option<(u32, u32)> = connection
        .prepare_cached("select granted, used from quota_leases where id = ?1")?
        .query_row([&id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((granted, before)) = lease else { return Ok(()) };
    // An older report that arrives late says nothing new.
    let used = settlement.used.clamp(before, granted.max(before));
    let newly_used = i64::from(used - before);
    let unleased = if settlement.closes { i64::from(granted.saturating_sub(before)) } else { newly_used };
    Counter::of(settlement.subject, settlement.day).change(connection, newly_used, -unleased)?;
    if settlement.closes {
        connection.prepare_cached("delete from quota_leases where id = ?1")?.execute([&id])?;
    } else {
        connection.prepare_cached("update quota_leases set used = ?2 where id = ?1")?.execute((&id, used))?;
    }
    Ok(())
}

/// Changes the count unless this posting has been applied already. Those of the day before last are forgotten: none
/// is sent again after so long.
fn once(connection: &Connection, posting: &Posting, by: i64) -> rusqlite::Result<()> {
    let day = posting.day.iso();
    let new = connection
        .prepare_cached("insert into quota_postings (id, day) values (?1, ?2) on conflict do nothing")?
        .execute((posting.id.0.to_string(), &day))?;
    if new == 1 {
        Counter::of(posting.subject, posting.day).change(connection, by, 0)?;
        connection.prepare_cached("delete from quota_postings where day < date(?1, '-2 days')")?.execute([&day])?;
    }
    Ok(())
}

/// One row of a counters table.
struct Counter {
    read: &'static str,
    change: &'static str,
    subject: String,
    day: String,
}

/// The two tables differ in nothing but names.
macro_rules! counter_sql {
    ($table:literal, $column:literal) => {
        (
            concat!("select request_count, leased from ", $table, " where ", $column, " = ?1 and day = ?2"),
            concat!(
                "insert into ",
                $table,
                " (",
                $column,
                ", day, request_count, leased, updated_at)
                 values (?1, ?2, max(0, ?3), max(0, ?4), strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
                 on conflict (",
                $column,
                ", day) do update set request_count = max(0, request_count + ?3),
                     leased = max(0, leased + ?4), updated_at = excluded.updated_at"
            ),
        )
    };
}

impl Counter {
    fn of(subject: Subject, day: Day) -> Self {
        let ((read, change), subject) = match subject {
            Subject::User(user) => (counter_sql!("usage_counters", "user_id"), user.0),
            Subject::Key(key) => (counter_sql!("key_counters", "key_id"), key.0),
        };
        Self { read, change, subject: subject.to_string(), day: day.iso() }
    }

    /// `request_count` and `leased`; zeros where there is no row yet.
    fn read(&self, connection: &Connection) -> rusqlite::Result<(u32, u32)> {
        let row = connection
            .prepare_cached(self.read)?
            .query_row([&self.subject, &self.day], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(row.unwrap_or_default())
    }

    fn change(&self, connection: &Connection, request_count: i64, leased: i64) -> rusqlite::Result<()> {
        connection.prepare_cached(self.change)?.execute((&self.subject, &self.day, request_count, leased)).map(drop)
    }
}
