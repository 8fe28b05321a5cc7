//! The connections of this thread, by target. A worker thread has a runtime of its own, so a connection and all its
//! streams stay on one thread, and no lock is needed to find one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;

use super::session::{Driver, Place, Session, State};
use crate::config::Target;

#[derive(Default)]
struct Shelf {
    /// The oldest first.
    sessions: Vec<Session>,
    opening: Arc<Mutex<()>>,
}

type Shelves = HashMap<Arc<Target>, Shelf, ahash::RandomState>;

thread_local! {
    static SHELVES: RefCell<Shelves> = RefCell::default();
}

/// A place on an open connection to `target` that has room; `since`: on one that was opened after this moment.
///
/// The oldest with room is filled first, so that those which a crowd has opened run empty behind it and are left.
pub fn take(target: &Target, since: Option<Instant>) -> Option<Place> {
    SHELVES.with_borrow_mut(|shelves| {
        let sessions = &mut shelves.get_mut(target)?.sessions;
        sessions.retain_mut(Session::is_open);
        let young = |session: &&Session| since.is_none_or(|since| session.opened() > since);
        sessions.iter().filter(young).find(|session| session.has_room()).map(Session::place)
    })
}

/// Held by whoever opens a connection: the others wait for it, and use it as far as there is room.
pub fn turn(target: &Arc<Target>) -> Arc<Mutex<()>> {
    SHELVES.with_borrow_mut(|shelves| {
        clear(shelves);
        Arc::clone(&shelves.entry(Arc::clone(target)).or_default().opening)
    })
}

/// Shares a connection with the thread, and takes the first place on it.
pub fn add(target: &Arc<Target>, (session, driver): (Session, Driver)) -> Place {
    let place = session.place();
    SHELVES.with_borrow_mut(|shelves| shelves.entry(Arc::clone(target)).or_default().sessions.push(session));
    tokio::spawn(drive(Arc::clone(target), driver));
    place
}

/// Forgets targets that no connection is open to and none is being opened: with every reload there may be others.
fn clear(shelves: &mut Shelves) {
    shelves.retain(|_, shelf| !shelf.sessions.is_empty() || Arc::strong_count(&shelf.opening) > 1);
}

/// Whether an older connection has no streams either: it has room for whoever comes next, and would be filled first.
fn is_spare(target: &Target, state: &State) -> bool {
    SHELVES.with_borrow(|shelves| {
        let sessions = shelves.get(target).map_or(&[][..], |shelf| &shelf.sessions);
        sessions.iter().take_while(|session| !session.is_of(state)).any(|older| !older.has_streams())
    })
}

/// Runs on the thread whose connection it is.
async fn drive(target: Arc<Target>, mut driver: Driver) {
    let idle = driver.run_while_used(|state| is_spare(&target, state)).await;
    SHELVES.with_borrow_mut(|shelves| {
        if let Some(shelf) = shelves.get_mut(&target) {
            shelf.sessions.retain(|session| !session.is_of(driver.state()));
        }
        clear(shelves);
    });
    if idle {
        driver.run_to_its_end().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use h2::server;
    use tokio::time::sleep;

    use super::super::session::tests::{hold_all, pair};
    use super::*;

    /// A shared connection, and its first place. Its peer is there for as long as it is.
    async fn shared(target: &Arc<Target>) -> Place {
        let (session, driver, peer) = pair(&mut server::Builder::new()).await;
        tokio::spawn(hold_all(peer));
        add(target, (session, driver))
    }

    fn open() -> usize {
        SHELVES.with_borrow(|shelves| shelves.values().map(|shelf| shelf.sessions.len()).sum())
    }

    #[tokio::test(start_paused = true)]
    async fn of_the_connections_that_a_crowd_leaves_without_streams_the_oldest_is_kept() {
        let target = Arc::new(Target::new(false, "model".to_owned(), 1).unwrap());
        let (stays, leaves) =
            (shared(&target).await, [shared(&target).await, shared(&target).await, shared(&target).await]);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(open(), 4, "each has a stream");
        drop(leaves);
        sleep(Duration::from_secs(7)).await;
        assert_eq!(open(), 2, "one with a stream, and one to come back to");
        drop(stays);
        sleep(Duration::from_secs(7)).await;
        assert_eq!(open(), 1);
        assert!(take(&target, None).is_some());
        sleep(Duration::from_secs(60)).await;
        assert_eq!(open(), 0, "nobody came again");
    }

    #[test]
    fn a_target_that_nothing_is_open_to_is_forgotten() {
        let target = |port| Arc::new(Target::new(false, "model".to_owned(), port).unwrap());
        let kept = turn(&target(1));
        for port in 2..50 {
            let _ = turn(&target(port));
        }
        let known = || SHELVES.with_borrow(|shelves| shelves.len());
        assert_eq!(known(), 2, "one that is waited for, and the last");
        assert!(Arc::ptr_eq(&kept, &turn(&target(1))), "who comes meanwhile waits for the same");
        assert_eq!(known(), 1);
    }
}
