//! The connections of a listener of the inside, as many as may be, and which of them is closed for a newcomer.
//!
//! Failure stance: open to who comes. A prober that finds no place has a healthy edge restarted, whereas a client whose
//! connection is closed between two requests opens another. The address with the most connections gives one up, so that what
//! one neighbour keeps costs another nothing.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{Notify, oneshot};

/// Who keeps a connection to one listener.
pub(super) struct Kept {
    most: usize,
    /// Whether one with a request under way is closed where none is idle.
    cuts: bool,
    table: Mutex<Table>,
    /// A place was given back, or a connection became idle.
    changed: Notify,
}

#[derive(Default)]
struct Table {
    connections: HashMap<u64, Connection>,
    turns: u64,
}

struct Connection {
    from: IpAddr,
    stands: Stands,
    /// The turn since which it stands so: the lower, the longer ago.
    since: u64,
    /// Dropping it closes the connection.
    _open: oneshot::Sender<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Nothing was asked yet, and may be about to.
    New,
    /// A request is under way.
    Asked,
    /// Between two requests.
    Idle,
}

/// A connection's place. Dropping it gives it back.
pub(super) struct Place {
    kept: Arc<Kept>,
    id: u64,
}

/// A request on a connection. Once dropped, the connection is idle.
pub(super) struct UnderWay(Arc<Place>);

impl Kept {
    pub fn new(most: usize, cuts: bool) -> Arc<Self> {
        Arc::new(Self { most, cuts, table: Mutex::default(), changed: Notify::new() })
    }

    /// A place for a connection from `from`, and what resolves when the connection is to be closed for another. Waits only
    /// where all are taken and none may be closed.
    pub async fn place(self: &Arc<Self>, from: IpAddr) -> (Place, oneshot::Receiver<()>) {
        loop {
            {
                let mut table = self.lock();
                if table.connections.len() < self.most || table.close_one(from, self.cuts) {
                    let (open, closed) = oneshot::channel();
                    let id = table.turn();
                    table.connections.insert(id, Connection { from, stands: Stands::New, since: id, _open: open });
                    return (Place { kept: Arc::clone(self), id }, closed);
                }
            }
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    /// Of the address that would have the most, the one that has been idle the longest; where it has none that is idle, the one
    /// that has kept this edge waiting or busy the longest. False: none may be closed.
    fn close_one(&mut self, newcomer: IpAddr, cuts: bool) -> bool {
        let mut of_address = HashMap::from([(newcomer, 1_usize)]);
        for connection in self.connections.values() {
            *of_address.entry(connection.from).or_default() += 1;
        }
        let among = self.connections.iter().filter(|(_, connection)| cuts || connection.stands != Stands::Asked);
        let first = among.min_by_key(|(_, Connection { from, stands, since, .. })| {
            (Reverse(of_address.get(from)), *stands != Stands::Idle, *since)
        });
        let Some(id) = first.map(|(id, _)| *id) else { return false };
        self.connections.remove(&id).is_some()
    }
}

impl Place {
    pub fn request(self: &Arc<Self>) -> UnderWay {
        self.now(Stands::Asked);
        UnderWay(Arc::clone(self))
    }

    fn now(&self, stands: Stands) {
        let mut table = self.kept.lock();
        let turn = table.turn();
        if let Some(connection) = table.connections.get_mut(&self.id) {
            (connection.stands, connection.since) = (stands, turn);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kept.lock().connections.remove(&self.id);
        self.kept.changed.notify_one();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.now(Stands::Idle);
        self.0.kept.changed.notify_one();
    }
}

/// An answer's body, whose request is under way until all of it was taken to be written.
pub(super) struct Answering {
    pub body: Body,
    pub _request: UnderWay,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    const NEIGHBOUR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
    const PROBER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 8));

    struct Held {
        place: Arc<Place>,
        closed: oneshot::Receiver<()>,
    }

    impl Held {
        fn is_closed(&mut self) -> bool {
            self.closed.try_recv() == Err(TryRecvError::Closed)
        }
    }

    /// None: it has to wait.
    fn comes(kept: &Arc<Kept>, from: IpAddr) -> Option<Held> {
        let (place, closed) = kept.place(from).now_or_never()?;
        Some(Held { place: Arc::new(place), closed })
    }

    fn closed<const N: usize>(held: &mut [Held; N]) -> [bool; N] {
        held.each_mut().map(Held::is_closed)
    }

    #[test]
    fn the_one_that_has_been_idle_the_longest_is_closed() {
        let kept = Kept::new(3, true);
        let mut held = [NEIGHBOUR; 3].map(|from| comes(&kept, from).unwrap());
        drop(held[0].place.request());
        let _under_way = held[1].place.request();
        let _fourth = comes(&kept, NEIGHBOUR).unwrap();
        assert_eq!(closed(&mut held), [true, false, false], "the only one between two requests");
        let mut fifth = comes(&kept, NEIGHBOUR).unwrap();
        assert_eq!(closed(&mut held), [true, false, true], "which never asked anything");
        let _sixth = comes(&kept, NEIGHBOUR).unwrap();
        assert_eq!(closed(&mut held), [true; 3], "whose answer takes longer than two others took to come");
        assert!(!fifth.is_closed());
    }

    #[test]
    fn an_address_with_few_is_left_alone_by_one_with_many() {
        let kept = Kept::new(4, true);
        let mut prober = comes(&kept, PROBER).unwrap();
        drop(prober.place.request());
        let mut others = [NEIGHBOUR; 3].map(|from| comes(&kept, from).unwrap());
        let _all = others.each_ref().map(|other| other.place.request());
        let mut more = [NEIGHBOUR; 16].map(|from| comes(&kept, from).unwrap());
        assert!(!prober.is_closed(), "though it is idle, and has been for longest");
        assert_eq!(closed(&mut others), [true; 3]);
        let mut second = comes(&kept, PROBER).unwrap();
        assert!(!prober.is_closed() && closed(&mut more).ends_with(&[true, false, false]));
        let _third = comes(&kept, PROBER).unwrap();
        assert!(prober.is_closed() && !second.is_closed(), "of its own, where it would have the most");
    }

    #[test]
    fn what_must_not_be_cut_is_waited_for() {
        let kept = Kept::new(2, false);
        let mut held = [NEIGHBOUR; 2].map(|from| comes(&kept, from).unwrap());
        let [first, second] = held.each_ref().map(|one| one.place.request());
        let mut waiting = Box::pin(kept.place(PROBER));
        assert!(waiting.as_mut().now_or_never().is_none() && closed(&mut held) == [false; 2]);
        drop(second);
        assert!(waiting.as_mut().now_or_never().is_some(), "one became idle");
        assert_eq!(closed(&mut held), [false, true]);

        let mut waiting = Box::pin(kept.place(PROBER));
        assert!(waiting.as_mut().now_or_never().is_some(), "the place before was given back");
        let _prober = comes(&kept, PROBER).unwrap();
        drop(first);
        drop(held);
        assert_eq!(kept.lock().connections.len(), 1, "who has gone has no place");
    }
}
