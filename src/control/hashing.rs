//! Passwords are hashed on half of the processors, at least on one: each takes a core for 20 ms and 19 MiB, and `/v1` is on the
//! same machine.
//!
//! Who waits for that is let in by how much has failed from their network lately, and networks take turns, so that many from
//! one are as one that comes again and again; the order of arrival decides between equals, and within a network. Where there
//! is no place left to wait, whoever stands last in that order makes room. So those who guess by the hundred, from fewer networks than there are places, keep nobody out who comes from
//! elsewhere; who has more networks than that can.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::refusal::{Code, Refusal};
use crate::identity::{Password, PasswordHash};

/// At work at once, however many processors there are: of the threads of this kind that the control API has, some stay for other
/// work.
const MOST_AT_WORK: usize = 4;
/// Waiting for each that is at work. Who comes later would wait for longer than half a second.
const WAITING: usize = 24;
/// Who is passed by others for so long is told to come again.
const LONGEST: Duration = Duration::from_secs(5);
/// Failures beyond these say nothing more: an office has had as many in its time.
const MANY: u32 = 20;

/// What nobody's password hashes to: tried where there is no account, so that the time of an answer tells nothing.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(super) struct Hashing {
    line: Arc<Mutex<Line>>,
}

/// From where somebody asks, and what is known of that.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asker {
    /// None: nobody says.
    pub network: Option<IpAddr>,
    /// Tries from there that failed, or are not known to be none yet.
    pub failures: u32,
}

impl Asker {
    /// For what is no try, and goes before none.
    pub fn failed_once_more(self) -> Self {
        Self { failures: self.failures.saturating_add(1), ..self }
    }
}

struct Line {
    /// Places at work that are free. While there are any, nobody waits.
    free: usize,
    most: usize,
    waiting: Vec<Waiting>,
    come: u64,
    /// The one that was let in last, or a later one.
    round: u64,
}

struct Waiting {
    network: Option<IpAddr>,
    /// In which a network has one turn: whoever waits longest there.
    round: u64,
    rank: Rank,
    /// Dropped: there is no room for them.
    turn: oneshot::Sender<Turn>,
}

/// The round and, on top of it, failures; then the order of arrival: the least comes first. Of one network nobody has a lesser
/// one than who came before, also where less has failed from there meanwhile.
type Rank = (u64, u64);

/// A place at work. Dropping it lets the next one in.
struct Turn(Option<Arc<Mutex<Line>>>);

impl Default for Hashing {
    fn default() -> Self {
        Self::on(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }
}

impl Hashing {
    fn on(processors: usize) -> Self {
        let at_work = (processors / 2).clamp(1, MOST_AT_WORK);
        let line = Line { free: at_work, most: at_work * WAITING, waiting: Vec::new(), come: 0, round: 0 };
        Self { line: Arc::new(Mutex::new(line)) }
    }

    /// Whether the password is the one of `hash`; as long, and no, where there is none.
    pub async fn is_of(&self, asker: Asker, password: Password, hash: Option<PasswordHash>) -> Result<bool, Refusal> {
        self.run(asker, move || match hash {
            Some(hash) => password.is_of(&hash),
            None => {
                // Both are done, so that neither is optimised away.
                let is_nobodys = password.is_of(&PasswordHash::stored(NOBODYS.to_owned()));
                std::hint::black_box(is_nobodys);
                false
            }
        })
        .await
    }

    pub async fn hash(&self, asker: Asker, password: Password) -> Result<PasswordHash, Refusal> {
        let hash = self.run(asker, move || password.hash()).await?;
        hash.map_err(|error| Refusal::internal(error.to_string()))
    }

    async fn run<T: Send + 'static>(
        &self,
        asker: Asker,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let overloaded = || {
            Refusal::new(Code::Overloaded, "too many are signing in at this moment").retry_after(Duration::from_secs(2))
        };
        let turn = self.turn(asker).await.ok_or_else(overloaded)?;
        // The place goes with the work, which nobody can call back once it has begun.
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(|_| overloaded())
    }

    /// None: there is no room to wait, or who came later had more right to it.
    async fn turn(&self, asker: Asker) -> Option<Turn> {
        let turn = {
            let mut line = locked(&self.line);
            if line.free > 0 {
                line.free -= 1;
                return Some(Turn(Some(Arc::clone(&self.line))));
            }
            line.join(asker)?
        };
        timeout(LONGEST, turn).await.ok()?.ok()
    }
}

impl Line {
    fn join(&mut self, asker: Asker) -> Option<oneshot::Receiver<Turn>> {
        self.waiting.retain(|one| !one.turn.is_closed());
        let own = self.waiting.iter().filter(|one| asker.network.is_some() && one.network == asker.network);
        let before = own.max_by_key(|one| one.rank);
        let round = before.map_or(self.round, |before| self.round.max(before.round + 1));
        let behind = round + u64::from(asker.failures.min(MANY));
        let rank = (before.map_or(behind, |before| behind.max(before.rank.0)), self.come);
        if self.waiting.len() >= self.most {
            let last = (0..self.waiting.len()).max_by_key(|place| self.waiting.get(*place).map(|one| one.rank))?;
            if self.waiting.get(last)?.rank <= rank {
                return None;
            }
            drop(self.waiting.swap_remove(last));
        }
        self.come += 1;
        let (turn, comes) = oneshot::channel();
        self.waiting.push(Waiting { network: asker.network, round, rank, turn });
        Some(comes)
    }

    fn next(&mut self) -> Option<Waiting> {
        let first = (0..self.waiting.len()).min_by_key(|place| self.waiting.get(*place).map(|one| one.rank))?;
        let first = self.waiting.swap_remove(first);
        self.round = self.round.max(first.round);
        Some(first)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(place) = self.0.take() else { return };
        let mut line = locked(&place);
        while let Some(next) = line.next() {
            match next.turn.send(Turn(Some(Arc::clone(&place)))) {
                Ok(()) => return,
                // They have left meanwhile: the place is still to be given.
                Err(mut unused) => unused.0 = None,
            }
        }
        line.free += 1;
    }
}

fn locked(line: &Mutex<Line>) -> std::sync::MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: [u8; 4], failures: u32) -> Asker {
        Asker { network: Some(IpAddr::from(address)), failures }
    }

    /// Somebody who waits, once they do.
    async fn waits(hashing: &Arc<Hashing>, asker: Asker) -> tokio::task::JoinHandle<Option<Turn>> {
        let come = locked(&hashing.line).come;
        let hashing = Arc::clone(hashing);
        let line = Arc::clone(&hashing.line);
        let waiting = tokio::spawn(async move { hashing.turn(asker).await });
        while locked(&line).come == come {
            tokio::task::yield_now().await;
        }
        waiting
    }

    #[test]
    fn what_is_tried_for_nobody_is_a_whole_hash() {
        assert!(argon2::password_hash::phc::PasswordHash::new(NOBODYS).is_ok());
    }

    #[test]
    fn half_of_the_processors_are_left_to_models() {
        for (processors, at_work) in [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4), (64, 4)] {
            assert_eq!(locked(&Hashing::on(processors).line).free, at_work, "of {processors}");
        }
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_is_told_when_to_come_again() {
        let hashing = Arc::new(Hashing::on(2));
        let first = hashing.turn(Asker::default()).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..WAITING {
            waiting.push(waits(&hashing, Asker::default()).await);
        }
        let refusal = hashing.run(Asker::default(), || ()).await.unwrap_err();
        assert_eq!((refusal.code, refusal.retry_after_seconds()), (Code::Overloaded, Some(2)));
        drop(first);
        for one in waiting {
            assert!(one.await.unwrap().is_some(), "in the order they came");
        }
        assert_eq!(locked(&hashing.line).free, 1);
    }

    #[tokio::test]
    async fn whoever_nothing_failed_from_goes_before_those_who_guess() {
        let hashing = Arc::new(Hashing::on(2));
        let at_work = hashing.turn(from([192, 0, 2, 0], 9)).await.unwrap();
        let mut guessing = Vec::new();
        for n in 0..24 {
            guessing.push(waits(&hashing, from([192, 0, 2, n % 20], 10 + u32::from(n))).await);
        }
        assert!(hashing.turn(from([192, 0, 2, 3], 40)).await.is_none(), "there is no room for another of them");
        let honest = waits(&hashing, from([203, 0, 113, 9], 1)).await;
        let turned_away = guessing.pop().unwrap().await.unwrap();
        assert!(turned_away.is_none(), "the one with most failures made room");
        drop(at_work);
        let turn = honest.await.unwrap().unwrap();
        assert!(guessing.iter().all(|one| !one.is_finished()), "none of them came before");
        drop(turn);
        for one in guessing {
            assert!(one.await.unwrap().is_some());
        }
    }

    #[tokio::test]
    async fn many_of_one_network_leave_the_next_turn_to_another() {
        let hashing = Arc::new(Hashing::on(2));
        let at_work = hashing.turn(Asker::default()).await.unwrap();
        let mut office = Vec::new();
        for _ in 0..3 {
            office.push(waits(&hashing, from([192, 0, 2, 1], 0)).await);
        }
        let other = waits(&hashing, from([203, 0, 113, 9], 0)).await;
        drop(at_work);
        let first = office.remove(0).await.unwrap().unwrap();
        assert!(!other.is_finished(), "who came first of equals");
        drop(first);
        let second = other.await.unwrap().unwrap();
        assert!(office.iter().all(|one| !one.is_finished()));
        drop(second);
        for one in office {
            assert!(one.await.unwrap().is_some());
        }
    }

    #[tokio::test]
    async fn of_one_network_who_came_first_is_first() {
        let hashing = Arc::new(Hashing::on(2));
        let mut at_work = hashing.turn(Asker::default()).await.unwrap();
        let (mut office, desk) = (std::collections::VecDeque::new(), |failures| from([192, 0, 2, 1], failures));
        // What is under way counts as failed: more do while more wait.
        for failures in [3, 9, 12] {
            office.push_back(waits(&hashing, desk(failures)).await);
        }
        // Each who is let in has the next one come, with less that failed.
        for failures in [5, 2, 1, 0, 0, 0] {
            drop(at_work);
            at_work = office.pop_front().unwrap().await.unwrap().unwrap();
            assert!(office.iter().all(|later| !later.is_finished()));
            office.push_back(waits(&hashing, desk(failures)).await);
        }
        let other = waits(&hashing, from([203, 0, 113, 9], 1)).await;
        drop(at_work);
        drop(other.await.unwrap().expect("who comes from elsewhere has their turn all the same"));
        for one in office {
            assert!(one.await.unwrap().is_some());
        }
    }

    #[tokio::test]
    async fn a_place_that_nobody_waits_for_any_more_goes_to_the_next() {
        let hashing = Arc::new(Hashing::on(2));
        let at_work = hashing.turn(Asker::default()).await.unwrap();
        let left = waits(&hashing, Asker::default()).await;
        let stays = waits(&hashing, Asker::default()).await;
        left.abort();
        assert!(left.await.is_err());
        drop(at_work);
        drop(stays.await.unwrap().unwrap());
        let line = locked(&hashing.line);
        assert_eq!((line.free, line.waiting.len()), (1, 0));
    }
}
