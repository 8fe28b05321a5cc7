//! The connections of this thread, by target. A worker thread has a runtime of its own, so a connection and all its
//! streams stay on one thread, and no lock is needed to find one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;

use super::session::{Driver, Place, Session};
use crate::config::Target;

#[derive(Default)]
struct Shelf {
    /// The oldest first.
    sessions: Vec<Session>,
    opening: Arc<Mutex<()>>,
}

thread_local! {
    static SHELVES: RefCell<HashMap<Arc<Target>, Shelf, ahash::RandomState>> = RefCell::default();
}

/// A place on an open connection to `target` that has room; `since`: on one that was opened after this moment.
///
/// The oldest with room is filled first, so that those which a burst has left behind run empty and are left.
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
    SHELVES.with_borrow_mut(|shelves| Arc::clone(&shelves.entry(Arc::clone(target)).or_default().opening))
}

/// Shares a connection with the thread, and takes the first place on it.
pub fn add(target: &Arc<Target>, (session, driver): (Session, Driver)) -> Place {
    let place = session.place();
    SHELVES.with_borrow_mut(|shelves| shelves.entry(Arc::clone(target)).or_default().sessions.push(session));
    tokio::spawn(drive(Arc::clone(target), driver));
    place
}

/// Runs on the thread whose connection it is.
async fn drive(target: Arc<Target>, mut driver: Driver) {
    let idle = driver.run_while_used().await;
    SHELVES.with_borrow_mut(|shelves| {
        if let Some(shelf) = shelves.get_mut(&target) {
            shelf.sessions.retain(|session| !session.is_watched_by(&driver));
        }
    });
    if idle {
        driver.run_to_its_end().await;
    }
}
