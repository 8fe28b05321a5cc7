//! Passwords are hashed on half of the processors, at least on one: each takes a core for 20 ms and 19 MiB, and `/v1` is on the
//! same machine.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::refusal::{Code, Refusal};
use crate::identity::{Password, PasswordHash};

/// At work at once, however many processors there are: of the threads of this kind that the control API has, some stay for other
/// work.
const MOST_AT_WORK: usize = 4;
/// Waiting for each that is at work. Who comes later would wait for longer than half a second.
const WAITING: usize = 24;

/// What nobody's password hashes to: tried where there is no account, so that the time of an answer tells nothing.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(super) struct Hashing {
    at_work: Arc<Semaphore>,
    present: Arc<Semaphore>,
}

impl Default for Hashing {
    fn default() -> Self {
        Self::on(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }
}

impl Hashing {
    fn on(processors: usize) -> Self {
        let at_work = (processors / 2).clamp(1, MOST_AT_WORK);
        Self { at_work: Arc::new(Semaphore::new(at_work)), present: Arc::new(Semaphore::new(at_work * (1 + WAITING))) }
    }

    /// Whether the password is the one of `hash`; as long, and no, where there is none.
    pub async fn is_of(&self, password: Password, hash: Option<PasswordHash>) -> Result<bool, Refusal> {
        self.run(move || match hash {
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

    pub async fn hash(&self, password: Password) -> Result<PasswordHash, Refusal> {
        let hash = self.run(move || password.hash()).await?;
        hash.map_err(|error| Refusal::internal(error.to_string()))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        let overloaded = || {
            Refusal::new(Code::Overloaded, "too many are signing in at this moment").retry_after(Duration::from_secs(2))
        };
        let present = Arc::clone(&self.present).try_acquire_owned().map_err(|_| overloaded())?;
        let place = Arc::clone(&self.at_work).acquire_owned().await.map_err(|_| overloaded())?;
        // The places go with the work, which nobody can call back once it has begun.
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((present, place));
            done
        });
        done.await.map_err(|_| overloaded())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_for_nobody_is_a_whole_hash() {
        assert!(argon2::password_hash::phc::PasswordHash::new(NOBODYS).is_ok());
    }

    #[test]
    fn half_of_the_processors_are_left_to_models() {
        for (processors, at_work) in [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4), (64, 4)] {
            assert_eq!(Hashing::on(processors).at_work.available_permits(), at_work, "of {processors}");
        }
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_is_told_when_to_come_again() {
        let hashing = Arc::new(Hashing::on(2));
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let waiting: Vec<_> = (0..1 + WAITING)
            .map(|_| {
                let (hashing, wait) = (Arc::clone(&hashing), Arc::clone(&wait));
                tokio::spawn(async move { hashing.run(move || wait.lock().unwrap().recv().is_ok()).await })
            })
            .collect();
        while hashing.present.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refusal = hashing.run(|| ()).await.unwrap_err();
        assert_eq!((refusal.code, refusal.retry_after_seconds()), (Code::Overloaded, Some(2)));
        (0..1 + WAITING).for_each(|_| go.send(()).unwrap());
        for one in waiting {
            assert!(one.await.unwrap().unwrap());
        }
    }
}
