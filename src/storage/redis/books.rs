//! What this edge remembers of each day it counts on, so that nothing is lost with Redis' memory: its open leases as
//! Redis last acknowledged them, and what it counted that the durable store does not have yet.
//!
//! Pure bookkeeping. A *life* is one existence of a day's counter in Redis; with a new one, what was counted in the
//! old and not yet stored durably is *carried* there, each part under one id however often it is sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use crate::admission::{PostingId, Subject};
use crate::units::{Day, EdgeId, LeaseId};

/// A day with nothing open and nothing to say is forgotten after this.
const FORGOTTEN: Duration = Duration::from_secs(300);
/// Earlier lives remembered, so that a late answer out of one is known as such.
const PAST_LIVES: usize = 4;

pub(super) type DayKey = (Subject, Day);

/// All days this edge counts on.
#[derive(Default)]
pub(super) struct Books(Mutex<HashMap<DayKey, Book>>);

pub(super) struct Book {
    /// The epoch in which the day is on the list that this edge finds its leases by.
    pub(super) listed: Option<Arc<str>>,
    life: Option<Arc<str>>,
    past: Vec<Arc<str>>,
    seeded: bool,
    /// The last answer heard of this life.
    turn: i64,
    /// Counted by this edge in this life, and as far as chunks reach.
    counted: i64,
    chunked: i64,
    /// On its way to the durable store: number and amount.
    chunk: Option<(i64, i64)>,
    /// The last chunk that the durable store has.
    stored: i64,
    /// Counted in earlier lives, on its way to the durable store.
    carried: Vec<Amount>,
    /// Of these, what this life must be told of: it was seeded before we heard of it.
    late: Vec<Amount>,
    leases: HashMap<LeaseId, Held>,
    touched: Instant,
}

/// An open lease as Redis last acknowledged it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) life: Arc<str>,
    pub(super) holder: EdgeId,
    pub(super) granted: u32,
    pub(super) used: u32,
}

/// A change of the count that is sent until it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) id: PostingId,
    /// Less than nothing: given back.
    pub(super) amount: i64,
}

/// The head of an answer: where the day stands for this edge.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) life: Arc<str>,
    pub(super) seeded: bool,
    pub(super) turn: i64,
    pub(super) counted: i64,
    pub(super) chunk: i64,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// What an edge knows of a day's counter.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) life: String,
    pub(super) stored: i64,
    pub(super) turn: i64,
}

/// What a day needs from the background task.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) seed: bool,
    /// Redis should cut the next chunk.
    pub(super) nudge: bool,
    /// Leases are to be told in a new life.
    pub(super) rejoin: bool,
    /// The durable store is to be told something.
    pub(super) durable: bool,
    /// Redis is to be told of what was carried.
    pub(super) late: bool,
}

impl Books {
    /// Works on one day's book, made where there is none.
    pub(super) fn with<T>(&self, key: DayKey, work: impl FnOnce(&mut Book) -> T) -> T {
        let mut books = self.lock();
        let book = books.entry(key).or_insert_with(Book::new);
        book.touched = Instant::now();
        work(book)
    }

    /// Looks into a book, where there is one.
    pub(super) fn look<T>(&self, key: DayKey, look: impl FnOnce(&mut Book) -> T) -> Option<T> {
        self.lock().get_mut(&key).map(look)
    }

    /// What there is to do, book by book. Books with nothing in them are forgotten.
    pub(super) fn needs(&self) -> Vec<(DayKey, Needs)> {
        let mut needs = Vec::new();
        self.lock().retain(|key, book| {
            let found = book.needs();
            let idle = found == Needs::default();
            if !idle {
                needs.push((*key, found));
            }
            !(idle && book.leases.is_empty() && book.touched.elapsed() > FORGOTTEN)
        });
        needs
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DayKey, Book>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn new() -> Self {
        Self {
            listed: None,
            life: None,
            past: Vec::new(),
            seeded: false,
            turn: 0,
            counted: 0,
            chunked: 0,
            chunk: None,
            stored: 0,
            carried: Vec::new(),
            late: Vec::new(),
            leases: HashMap::new(),
            touched: Instant::now(),
        }
    }

    /// The life this edge knows the day in, the last chunk of it that is stored, and the last answer that was heard.
    pub(super) fn known(&self) -> Known {
        Known { life: self.life.as_deref().unwrap_or("").to_owned(), stored: self.stored, turn: self.turn }
    }

    /// Takes in an answer of `edge`'s. True: it begins a new life, so that other leases must be told there too.
    pub(super) fn hear(&mut self, standing: &Standing, edge: EdgeId) -> bool {
        if self.past.contains(&standing.life) {
            return false;
        }
        let turns = self.life.as_ref() != Some(&standing.life);
        let reborn = turns && self.life.is_some();
        if turns {
            self.turn_over(standing, edge);
        }
        if standing.turn > self.turn {
            self.turn = standing.turn;
            self.seeded |= standing.seeded;
            (self.counted, self.chunked) = (standing.counted, standing.to);
            self.chunk = (standing.chunk > self.stored).then_some((standing.chunk, standing.to - standing.from));
        }
        reborn
    }

    fn turn_over(&mut self, standing: &Standing, edge: EdgeId) {
        if let Some(last) = self.life.replace(Arc::clone(&standing.life)) {
            let mut carried = Vec::new();
            if let Some((number, amount)) = self.chunk {
                carried.push(Amount { id: chunk_id(&last, edge, number), amount });
            }
            let rest = self.counted - self.chunked;
            if rest != 0 {
                carried.push(Amount { id: PostingId(Uuid::new_v4()), amount: rest });
            }
            if standing.seeded {
                let apart = |part: &Amount| Amount { id: PostingId(Uuid::new_v4()), ..*part };
                self.late.extend(carried.iter().map(apart));
            }
            self.carried.append(&mut carried);
            self.past.push(last);
            let surplus = self.past.len().saturating_sub(PAST_LIVES);
            self.past.drain(..surplus);
        }
        // A chunk that is there already was cut by this edge before it was started again: it is sent once more.
        self.stored = (standing.chunk - 1).max(0);
        (self.turn, self.seeded, self.counted, self.chunked, self.chunk) = (0, false, 0, 0, None);
    }

    pub(super) fn seeded(&mut self, life: &str) {
        self.seeded |= self.life.as_deref() == Some(life);
    }

    pub(super) fn held(&self, lease: LeaseId) -> Option<&Held> {
        self.leases.get(&lease)
    }

    /// Leases that the present life has not been told of.
    pub(super) fn lost_leases(&self) -> Vec<(LeaseId, Held)> {
        let lost = self.leases.iter().filter(|(_, held)| Some(&held.life) != self.life.as_ref());
        lost.map(|(lease, held)| (*lease, held.clone())).collect()
    }

    pub(super) fn hold(&mut self, lease: LeaseId, held: Held) {
        let known = self.leases.entry(lease).or_insert_with(|| held.clone());
        known.life = held.life;
    }

    /// A settlement was acknowledged in `life`.
    pub(super) fn settled(&mut self, lease: LeaseId, used: u32, closes: bool, life: &Arc<str>) {
        if closes {
            self.leases.remove(&lease);
        } else if let Some(held) = self.leases.get_mut(&lease) {
            held.used = held.used.max(used);
            held.life = Arc::clone(life);
        }
    }

    /// What the durable store must be told, each part with the id it is known by there.
    pub(super) fn unstored(&self, edge: EdgeId) -> Vec<Amount> {
        let chunk = self.chunk.zip(self.life.as_deref());
        let chunk = chunk.map(|((number, amount), life)| Amount { id: chunk_id(life, edge, number), amount });
        self.carried.iter().copied().chain(chunk).collect()
    }

    /// The durable store has this part.
    pub(super) fn stored(&mut self, part: Amount, edge: EdgeId) {
        self.carried.retain(|carried| carried.id != part.id);
        if let (Some((number, _)), Some(life)) = (self.chunk, self.life.as_deref())
            && chunk_id(life, edge, number) == part.id
        {
            self.stored = self.stored.max(number);
            self.chunk = None;
        }
    }

    /// What Redis must be told of earlier lives.
    pub(super) fn late(&self) -> Vec<Amount> {
        self.late.clone()
    }

    /// Redis has been told of this part.
    pub(super) fn told(&mut self, part: Amount) {
        self.late.retain(|late| late.id != part.id);
    }

    /// Counted here and not in the durable store, as far as known.
    pub(super) fn missing_there(&self) -> i64 {
        let carried: i64 = self.carried.iter().map(|part| part.amount).sum();
        carried + self.counted - self.chunked + self.chunk.map_or(0, |(_, amount)| amount)
    }

    fn needs(&self) -> Needs {
        let live = self.life.is_some();
        Needs {
            seed: live && !self.seeded,
            nudge: live && self.seeded && self.chunk.is_none() && self.counted != self.chunked,
            rejoin: live && self.leases.values().any(|held| Some(&held.life) != self.life.as_ref()),
            durable: !self.carried.is_empty() || self.chunk.is_some(),
            late: !self.late.is_empty(),
        }
    }
}

/// One chunk of one edge in one life has one id, also after a restart.
pub(super) fn chunk_id(life: &str, edge: EdgeId, number: i64) -> PostingId {
    let mut digest = Sha256::new();
    digest.update(life.as_bytes());
    digest.update(edge.0.as_bytes());
    digest.update(number.to_be_bytes());
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest.finalize()).for_each(|(to, from)| *to = from);
    PostingId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}
