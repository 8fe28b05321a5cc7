//! Stores in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use cfx::admission::{KeyRegistry, KeyRow, KeyStatus, NewKey};
use cfx::identity::{
    Account, AccountStore, Change, Email, Link, LinkStore, PasswordHash, Purpose, Renewal, Session, SessionStore,
    Shown, Signed,
};
use cfx::ledger::{Cursor, DayUsage, Filter, LogRow, Overview, ReportStore, Reports, Share, TOO_LONG};
use cfx::units::{Day, KeyId, NanoUsd, RequestId, StoreError, Timestamp, UserId};

#[derive(Default)]
pub struct Memory {
    tables: Mutex<Tables>,
    /// Answers nothing any more.
    pub down: AtomicBool,
    /// Pages of rows that are still answered before that. None are counted at zero.
    pub pages_left: AtomicU64,
    /// Pages of rows that take too long, from now on.
    pub pages_too_long: AtomicU64,
}

#[derive(Default)]
struct Tables {
    accounts: Vec<(Account, Option<PasswordHash>)>,
    sessions: Vec<(Session, Option<Before>)>,
    links: Vec<Link>,
    keys: Vec<KeyRow>,
    /// A key and the one in its place.
    replaced: HashMap<KeyId, KeyId>,
    rows: Vec<(UserId, LogRow)>,
}

/// The token that a session had before.
struct Before {
    token_hash: [u8; 32],
    salt: [u8; 32],
    until: Timestamp,
}

/// The reports of one user.
struct Own {
    memory: Arc<Memory>,
    user: UserId,
}

impl Memory {
    fn open(&self) -> Result<MutexGuard<'_, Tables>, StoreError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError("SECRET: the store at 10.0.0.7 is away".to_owned()));
        }
        Ok(self.tables.lock().unwrap())
    }

    pub fn log(&self, user: UserId, row: LogRow) {
        self.tables.lock().unwrap().rows.push((user, row));
    }

    pub fn delete_account(&self, user: UserId) {
        self.tables.lock().unwrap().accounts.retain(|(account, _)| account.id != user);
    }
}

#[async_trait]
impl AccountStore for Memory {
    async fn create(&self, account: Account, password: Option<PasswordHash>) -> Result<bool, StoreError> {
        let mut tables = self.open()?;
        let taken = tables.accounts.iter().any(|(other, _)| other.email == account.email || other.id == account.id);
        if !taken {
            tables.accounts.push((account, password));
        }
        Ok(!taken)
    }

    async fn list(&self) -> Result<Vec<Account>, StoreError> {
        let mut all: Vec<_> = self.open()?.accounts.iter().map(|(account, _)| account.clone()).collect();
        all.sort_by(|one, other| one.email.cmp(&other.email));
        Ok(all)
    }

    async fn find(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        Ok(self.open()?.accounts.iter().map(|(account, _)| account).find(|account| account.email == *email).cloned())
    }

    async fn by_id(&self, user: UserId) -> Result<Option<Account>, StoreError> {
        Ok(self.open()?.accounts.iter().map(|(account, _)| account).find(|account| account.id == user).cloned())
    }

    async fn change(&self, user: UserId, change: Change) -> Result<bool, StoreError> {
        let mut tables = self.open()?;
        let Some((account, _)) = tables.accounts.iter_mut().find(|(account, _)| account.id == user) else {
            return Ok(false);
        };
        account.disabled_at = change.disabled_at.unwrap_or(account.disabled_at);
        account.daily_requests = change.daily_requests.unwrap_or(account.daily_requests);
        account.role = change.role.unwrap_or(account.role);
        if account.disabled_at.is_some() {
            tables.sessions.retain(|(session, _)| session.user != user);
        }
        Ok(true)
    }

    async fn password(&self, user: UserId) -> Result<Option<PasswordHash>, StoreError> {
        let tables = self.open()?;
        Ok(tables.accounts.iter().find(|(account, _)| account.id == user).and_then(|(_, hash)| hash.clone()))
    }

    async fn set_password(
        &self,
        user: UserId,
        password: PasswordHash,
        keep: Option<[u8; 32]>,
    ) -> Result<bool, StoreError> {
        let mut tables = self.open()?;
        let Some((_, hash)) = tables.accounts.iter_mut().find(|(account, _)| account.id == user) else {
            return Ok(false);
        };
        *hash = Some(password);
        tables.sessions.retain(|(session, _)| session.user != user || Some(session.token_hash) == keep);
        Ok(true)
    }
}

#[async_trait]
impl SessionStore for Memory {
    async fn open(&self, session: Session) -> Result<(), StoreError> {
        Memory::open(self)?.sessions.push((session, None));
        Ok(())
    }

    async fn signed(&self, token_hash: [u8; 32], now: Timestamp) -> Result<Option<Signed>, StoreError> {
        let tables = Memory::open(self)?;
        let found = tables.sessions.iter().find_map(|(session, before)| match before {
            _ if session.token_hash == token_hash => {
                Some((session.clone(), Shown::Present(before.as_ref().map(|before| before.until))))
            }
            Some(before) if before.token_hash == token_hash => {
                let session = Session { created_at: session.began_at, expires_at: before.until, ..session.clone() };
                Some((session, Shown::Before(before.salt)))
            }
            _ => None,
        });
        let found = found.filter(|(session, _)| session.expires_at > now);
        Ok(found.and_then(|(session, shown)| {
            let (account, hash) = tables.accounts.iter().find(|(account, _)| account.id == session.user)?;
            let has_password = hash.is_some();
            let signed = Signed { account: account.clone(), session, has_password, shown };
            account.disabled_at.is_none().then_some(signed)
        }))
    }

    async fn replace(&self, token_hash: [u8; 32], Renewal { session, salt }: Renewal) -> Result<bool, StoreError> {
        let mut tables = Memory::open(self)?;
        let Some(place) = tables.sessions.iter_mut().find(|(session, _)| session.token_hash == token_hash) else {
            return Ok(false);
        };
        *place = (session, Some(Before { token_hash, salt, until: place.0.expires_at }));
        Ok(true)
    }

    async fn arrived(&self, token_hash: [u8; 32], until: Timestamp) -> Result<(), StoreError> {
        let mut tables = Memory::open(self)?;
        let found = tables.sessions.iter_mut().find(|(session, _)| session.token_hash == token_hash);
        if let Some((_, Some(before))) = found {
            before.until = before.until.min(until);
        }
        Ok(())
    }

    async fn end(&self, token_hash: [u8; 32]) -> Result<bool, StoreError> {
        let mut tables = Memory::open(self)?;
        let before = tables.sessions.len();
        tables.sessions.retain(|(session, before)| {
            session.token_hash != token_hash && before.as_ref().is_none_or(|before| before.token_hash != token_hash)
        });
        Ok(tables.sessions.len() < before)
    }
}

#[async_trait]
impl LinkStore for Memory {
    async fn put(&self, link: Link) -> Result<(), StoreError> {
        self.open()?.links.push(link);
        Ok(())
    }

    async fn look(&self, token_hash: [u8; 32], now: Timestamp) -> Result<Option<Purpose>, StoreError> {
        let tables = self.open()?;
        let link = tables.links.iter().find(|link| link.token_hash == token_hash && link.expires_at > now);
        Ok(link.map(|link| link.purpose.clone()))
    }

    async fn take(&self, token_hash: [u8; 32], now: Timestamp) -> Result<Option<Purpose>, StoreError> {
        let mut tables = self.open()?;
        let at = tables.links.iter().position(|link| link.token_hash == token_hash && link.expires_at > now);
        Ok(at.map(|at| tables.links.remove(at).purpose))
    }
}

#[async_trait]
impl KeyRegistry for Memory {
    async fn create(&self, key: NewKey, most: Option<u32>) -> Result<bool, StoreError> {
        let mut tables = self.open()?;
        if !fewer_hold(tables.keys.iter(), key.user, key.created_at, most) {
            return Ok(false);
        }
        let email = tables.accounts.iter().find(|(account, _)| account.id == key.user);
        let email = email.map(|(account, _)| account.email.to_string()).unwrap_or_default();
        tables.keys.insert(0, row(key, email));
        Ok(true)
    }

    async fn list(&self, user: Option<UserId>) -> Result<Vec<KeyRow>, StoreError> {
        let tables = self.open()?;
        Ok(tables.keys.iter().filter(|row| user.is_none_or(|user| row.user == user)).cloned().collect())
    }

    async fn rotate(
        &self,
        old: KeyId,
        new: NewKey,
        retires_at: Option<Timestamp>,
        most: Option<u32>,
    ) -> Result<bool, StoreError> {
        let mut tables = self.open()?;
        if tables.replaced.contains_key(&old) || !fewer_hold(tables.keys.iter(), new.user, new.created_at, most) {
            return Ok(false);
        }
        let place = tables.keys.iter_mut().find(|row| row.id == old && row.status == KeyStatus::Active);
        let Some(place) = place else { return Ok(false) };
        match retires_at {
            Some(end) => place.retires_at = Some(end),
            None => place.status = KeyStatus::Revoked,
        }
        let email = place.email.clone();
        tables.replaced.insert(old, new.id);
        tables.keys.insert(0, row(new, email));
        Ok(true)
    }

    async fn change(
        &self,
        key: KeyId,
        label: Option<String>,
        expires_at: Option<Option<Timestamp>>,
        now: Timestamp,
        most: Option<u32>,
    ) -> Result<bool, StoreError> {
        let mut tables = self.open()?;
        let at = tables.keys.iter().position(|row| row.id == key && row.status == KeyStatus::Active);
        let Some(at) = at else { return Ok(false) };
        let (own, others) = (&tables.keys[at], tables.keys.iter().filter(|row| row.id != key));
        let later = own.expires_at.is_some_and(|old| expires_at.is_some_and(|new| new.is_none_or(|new| new > old)));
        if later && !fewer_hold(others, own.user, now, most) {
            return Ok(false);
        }
        let row = &mut tables.keys[at];
        row.label = label.unwrap_or_else(|| row.label.clone());
        row.expires_at = expires_at.unwrap_or(row.expires_at);
        Ok(true)
    }

    async fn revoke(&self, key: KeyId, _: Timestamp) -> Result<bool, StoreError> {
        let mut tables = self.open()?;
        let row = tables.keys.iter_mut().find(|row| row.id == key && row.status == KeyStatus::Active);
        Ok(row.map(|row| row.status = KeyStatus::Revoked).is_some())
    }
}

fn fewer_hold<'a>(keys: impl Iterator<Item = &'a KeyRow>, user: UserId, now: Timestamp, most: Option<u32>) -> bool {
    let usable = keys.filter(|row| row.user == user && row.state(now).holds());
    most.is_none_or(|most| usable.count() < most as usize)
}

fn row(key: NewKey, email: String) -> KeyRow {
    KeyRow {
        id: key.id,
        user: key.user,
        email,
        prefix: key.prefix,
        label: key.label,
        status: KeyStatus::Active,
        stages: key.stages,
        models: key.models,
        daily_requests: key.daily_requests,
        created_at: key.created_at,
        expires_at: key.expires_at,
        retires_at: None,
        last_used_at: None,
    }
}

/// A [`ReportStore`] hands out what outlives it.
pub struct AllReports(pub Arc<Memory>);

impl ReportStore for AllReports {
    fn of(&self, user: UserId) -> Box<dyn Reports> {
        Box::new(Own { memory: Arc::clone(&self.0), user })
    }
}

impl Own {
    fn all(&self) -> Result<Vec<LogRow>, StoreError> {
        let tables = self.memory.open()?;
        let mut rows: Vec<_> =
            tables.rows.iter().filter(|(user, _)| *user == self.user).map(|(_, row)| row.clone()).collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.created_at, row.request)));
        Ok(rows)
    }
}

#[async_trait]
impl Reports for Own {
    async fn days(&self, first: Day, last: Day) -> Result<Vec<DayUsage>, StoreError> {
        let rows = self.all()?;
        let mut days: Vec<DayUsage> = Vec::new();
        for row in rows.iter().rev().filter(|row| (first..=last).contains(&row.created_at.day())) {
            let day = row.created_at.day();
            if days.last().is_none_or(|last| last.day != day) {
                days.push(DayUsage {
                    day,
                    requests: 0,
                    rows: 0,
                    answered: 0,
                    failed: 0,
                    input_tokens: 0,
                    output_tokens: 0,
                    cost: NanoUsd(0),
                });
            }
            let of = days.last_mut().unwrap();
            let status = row.status.as_str();
            of.requests += 1;
            of.rows += 1;
            of.answered += u64::from(status == "success");
            of.failed += u64::from(status == "error");
            of.input_tokens += row.input_tokens.unwrap_or(0);
            of.output_tokens += row.output_tokens.unwrap_or(0);
            of.cost.0 += row.cost.0;
        }
        Ok(days)
    }

    async fn split(&self, first: Day, last: Day) -> Result<Vec<Share>, StoreError> {
        let rows = self.all()?;
        let within = rows.into_iter().filter(|row| (first..=last).contains(&row.created_at.day()));
        Ok(within
            .map(|row| Share {
                stage: row.stage,
                answered: u64::from(row.status.as_str() == "success"),
                model: row.model,
                requests: 1,
                input_tokens: row.input_tokens.unwrap_or(0),
                output_tokens: row.output_tokens.unwrap_or(0),
                cost: row.cost,
            })
            .collect())
    }

    async fn rows(&self, filter: &Filter, before: Option<Cursor>, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        assert!(limit <= 1_000, "the port allows no more");
        // A real store answers from another thread.
        tokio::task::yield_now().await;
        if self.memory.pages_too_long.load(Ordering::SeqCst) > 0 {
            self.memory.pages_too_long.fetch_sub(1, Ordering::SeqCst);
            return Err(StoreError(TOO_LONG.to_owned()));
        }
        if self.memory.pages_left.load(Ordering::SeqCst) > 0
            && self.memory.pages_left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            self.memory.down.store(true, Ordering::SeqCst);
        }
        let passes = |row: &LogRow| {
            let error = row.error.as_deref().unwrap_or_default().to_ascii_lowercase();
            filter.stage.is_none_or(|stage| row.stage == Some(stage))
                && filter.model.as_ref().is_none_or(|model| row.model.as_ref() == Some(model))
                && filter.status.is_none_or(|status| row.status == status)
                && filter.key.is_none_or(|key| row.key == key)
                && filter.session_id.as_ref().is_none_or(|session| row.session_id.as_ref() == Some(session))
                && filter.error.as_ref().is_none_or(|part| error.contains(&part.to_ascii_lowercase()))
                && filter.since.is_none_or(|since| row.created_at >= since)
                && filter.until.is_none_or(|until| row.created_at < until)
                && before.is_none_or(|before| (row.created_at, row.request) < (before.created_at, before.request))
        };
        Ok(self.all()?.into_iter().filter(passes).take(limit as usize).collect())
    }

    async fn row(&self, request: RequestId) -> Result<Option<LogRow>, StoreError> {
        Ok(self.all()?.into_iter().find(|row| row.request == request))
    }

    async fn overview(&self, first: Day, today: Day, _: Timestamp, _: Timestamp) -> Result<Overview, StoreError> {
        let (days, split) = (self.days(first, today).await?, self.split(today, today).await?);
        Ok(Overview { days, split, ..Overview::default() })
    }
}
