//! The connections of a listener of the inside, as many as may be, and which of them is cut for a newcomer.
//!
//! Failure stance: where one gives way, open to who comes. A prober that finds no place has a healthy edge restarted,
//! whereas a client whose connection is cut between two requests opens another. The address with the most connections loses
//! one, so that what one neighbour keeps costs another nothing.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{Notify, oneshot};

use super::crowd::counted_as;

/// Who keeps a connection to one listener.
pub(super) struct Kept {
    most: usize,
    /// Whether one is cut for who comes where all places are taken. Else a newcomer waits.
    give_way: bool,
    table: Mutex<Table>,
    /// A place was given back.
    free: Notify,
}

#[derive(Default)]
struct Table {
    connections: HashMap<u64, Connection>,
    turns: u64,
}

struct Connection {
    /// Its address, as `crowd.rs` counts it.
    from: u128,
    stands: Stands,
    /// The turn since which it stands so: the lower, the longer ago.
    since: u64,
    /// Dropping it cuts the connection.
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
    pub fn new(most: usize, give_way: bool) -> Arc<Self> {
        Arc::new(Self { most, give_way, table: Mutex::default(), free: Notify::new() })
    }

    /// A place for a connection from `from`, and what resolves when the connection is to be cut for another.
    pub async fn place(self: &Arc<Self>, from: IpAddr) -> (Place, oneshot::Receiver<()>) {
        let from = counted_as(from);
        loop {
            {
                let mut table = self.lock();
                if self.give_way && table.connections.len() >= self.most {
                    table.cut_one(from);
                }
                if table.connections.len() < self.most {
                    let (open, cut) = oneshot::channel();
                    let id = table.turn();
                    table.connections.insert(id, Connection { from, stands: Stands::New, since: id, _open: open });
                    return (Place { kept: Arc::clone(self), id }, cut);
                }
            }
            self.free.notified().await;
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
    /// that has kept this edge waiting or busy the longest.
    fn cut_one(&mut self, newcomer: u128) {
        let mut of_address = HashMap::from([(newcomer, 1_usize)]);
        for connection in self.connections.values() {
            *of_address.entry(connection.from).or_default() += 1;
        }
        let first = self.connections.iter().min_by_key(|(_, Connection { from, stands, since, .. })| {
            (Reverse(of_address.get(from)), *stands != Stands::Idle, *since)
        });
        if let Some(id) = first.map(|(id, _)| *id) {
            self.connections.remove(&id);
        }
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
        self.kept.free.notify_one();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.now(Stands::Idle);
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
        cut: oneshot::Receiver<()>,
    }

    impl Held {
        fn is_cut(&mut self) -> bool {
            self.cut.try_recv() == Err(TryRecvError::Closed)
        }
    }

    /// None: it has to wait.
    fn comes(kept: &Arc<Kept>, from: IpAddr) -> Option<Held> {
        let (place, cut) = kept.place(from).now_or_never()?;
        Some(Held { place: Arc::new(place), cut })
    }

    fn cut<const N: usize>(held: &mut [Held; N]) -> [bool; N] {
        held.each_mut().map(Held::is_cut)
    }

    #[test]
    fn the_one_that_has_been_idle_the_longest_is_closed() {
        let kept = Kept::new(3, true);
        let mut held = [NEIGHBOUR; 3].map(|from| comes(&kept, from).unwrap());
        drop(held[0].place.request());
        let _under_way = held[1].place.request();
        let _fourth = comes(&kept, NEIGHBOUR).unwrap();
        assert_eq!(cut(&mut held), [true, false, false], "the only one between two requests");
        let mut fifth = comes(&kept, NEIGHBOUR).unwrap();
        assert_eq!(cut(&mut held), [true, false, true], "which never asked anything");
        let _sixth = comes(&kept, NEIGHBOUR).unwrap();
        assert_eq!(cut(&mut held), [true; 3], "whose answer takes longer than two others took to come");
        assert!(!fifth.is_cut());
    }

    #[test]
    fn an_address_with_few_is_left_alone_by_one_with_many() {
        let kept = Kept::new(4, true);
        let mut prober = comes(&kept, PROBER).unwrap();
        drop(prober.place.request());
        let mut others = [NEIGHBOUR; 3].map(|from| comes(&kept, from).unwrap());
        let _all = others.each_ref().map(|other| other.place.request());
        let mut more = [NEIGHBOUR; 16].map(|from| comes(&kept, from).unwrap());
        assert!(!prober.is_cut(), "though it is idle, and has been for longest");
        assert_eq!(cut(&mut others), [true; 3]);
        let mut second = comes(&kept, PROBER).unwrap();
        assert!(!prober.is_cut() && cut(&mut more).ends_with(&[true, false, false]));
        let _third = comes(&kept, PROBER).unwrap();
        assert!(prober.is_cut() && !second.is_cut(), "of its own, where it would have the most");
    }

    #[test]
    fn a_client_has_as_many_ipv6_addresses_as_it_likes_and_counts_once() {
        let kept = Kept::new(3, true);
        let address = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, 0, host]);
        let mut prober = comes(&kept, PROBER).unwrap();
        let mut others = [1, 2].map(|host| comes(&kept, address(host)).unwrap());
        let _third = comes(&kept, address(3)).unwrap();
        assert!(!prober.is_cut() && cut(&mut others) == [true, false]);
    }

    #[test]
    fn where_none_gives_way_all_who_come_wait_for_a_free_place() {
        let kept = Kept::new(2, false);
        let mut held = [NEIGHBOUR; 2].map(|from| comes(&kept, from).unwrap());
        drop(held[0].place.request());
        let mut waiting = [PROBER; 2].map(|from| Box::pin(kept.place(from)));
        let mut come = || waiting.each_mut().map(|one| one.as_mut().now_or_never());
        assert!(come().iter().all(Option::is_none) && cut(&mut held) == [false; 2], "though one is idle");
        let [first, second] = held;
        drop(first);
        let [Some((_place, mut cut)), None] = come() else { panic!("one place was free") };
        drop(second);
        assert_eq!(cut.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(kept.lock().connections.len(), 1, "who has gone has no place");
    }
}
