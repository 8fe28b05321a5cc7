//! The two ends within one process, over a real socket in a real folder.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::giver::{self, Descent};
use super::place;
use super::taker::{self, Predecessor, TakeOverProblem};
use crate::entry::drain::Drain;

/// A process that listens at two addresses and offers them.
struct Old {
    drain: Arc<Drain>,
    addresses: Vec<std::net::SocketAddr>,
    offering: tokio::task::JoinHandle<()>,
}

async fn old(data: &Path) -> Old {
    old_with(data, giver::PATIENCE).await
}

async fn old_with(data: &Path, patience: Duration) -> Old {
    let sockets: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let drain = Arc::new(Drain::default());
    let offering = tokio::spawn({
        let (drain, data) = (Arc::clone(&drain), data.to_owned());
        async move { giver::offer_with(&data, Descent::Founder, sockets, &drain, patience).await }
    });
    while !place(data).exists() {
        tokio::task::yield_now().await;
    }
    Old { drain, addresses, offering }
}

async fn ask(data: &Path) -> Result<Option<(Predecessor, Vec<TcpListener>)>, TakeOverProblem> {
    let data = data.to_owned();
    tokio::task::spawn_blocking(move || taker::ask(&data)).await.unwrap()
}

#[tokio::test]
async fn the_sockets_come_over_and_the_old_process_leaves() {
    let data = tempfile::tempdir().unwrap();
    let old = old(data.path()).await;
    assert_eq!(std::fs::metadata(place(data.path())).unwrap().permissions().mode() & 0o777, 0o600);
    let waiting = TcpStream::connect(old.addresses[0]).unwrap();
    let (predecessor, taken) = ask(data.path()).await.unwrap().unwrap();
    assert_eq!(predecessor.process, std::process::id());
    assert!(!old.drain.is_ending(), "nothing has changed yet");
    predecessor.relieve();
    old.offering.await.unwrap();
    assert!(old.drain.is_handed_over());
    let at = |socket: &TcpListener| socket.local_addr().unwrap();
    assert_eq!(taken.iter().map(at).collect::<Vec<_>>(), old.addresses);
    let (_, from) = taken[0].accept().unwrap();
    assert_eq!(from, waiting.local_addr().unwrap(), "who waited in the queue is accepted by the new one");
}

#[tokio::test]
async fn a_new_process_that_goes_away_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let old = old(data.path()).await;
    for says_why in [false, true] {
        let (predecessor, taken) = ask(data.path()).await.unwrap().unwrap();
        if says_why {
            predecessor.give_up("the store\nis away");
        }
        drop((predecessor, taken));
    }
    // Whoever asks next is served, which tells that those before were heard out.
    let (_predecessor, taken) = ask(data.path()).await.unwrap().unwrap();
    assert_eq!(taken.len(), 2);
    assert!(!old.drain.is_ending());
}

#[tokio::test]
async fn a_stop_takes_the_offer_back() {
    let data = tempfile::tempdir().unwrap();
    let old = old(data.path()).await;
    old.drain.leave();
    old.drain.close();
    old.offering.await.unwrap();
    assert!(ask(data.path()).await.unwrap().is_none());
    assert!(TcpStream::connect(old.addresses[0]).is_err(), "no copy is left to queue up at");
}

#[tokio::test]
async fn nobody_to_take_over_from_is_no_mistake() {
    let data = tempfile::tempdir().unwrap();
    assert!(ask(data.path()).await.unwrap().is_none());
    drop(UnixListener::bind(place(data.path())).unwrap());
    assert!(ask(data.path()).await.unwrap().is_none(), "nor is a socket that a dead process left");
}

#[tokio::test]
async fn who_speaks_otherwise_is_not_taken_over_from() {
    let data = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(place(data.path())).unwrap();
    let answers = |text: &'static str| {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _): (UnixStream, _) = listener.accept().unwrap();
            stream.write_all(text.as_bytes()).unwrap();
        })
    };
    let thread = answers("cfx-handover/2 1 0\n");
    assert!(matches!(ask(data.path()).await, Err(TakeOverProblem::Foreign(_))));
    thread.join().unwrap();
    let thread = answers("cfx-handover/1 1 2\n");
    assert!(matches!(ask(data.path()).await, Err(TakeOverProblem::Broken(_))), "sockets that were promised");
    thread.join().unwrap();
    let thread = answers("");
    assert!(matches!(ask(data.path()).await, Err(TakeOverProblem::Mute)));
    thread.join().unwrap();
}

#[test]
fn who_waits_for_a_process_that_leaves_meanwhile_hears_nothing() {
    let data = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(place(data.path())).unwrap();
    let waiting = UnixStream::connect(place(data.path())).unwrap();
    drop(listener);
    let (greeting, sockets) = taker::receive(&waiting).unwrap();
    assert!(greeting.is_empty() && sockets.is_empty(), "which reads as: it hands nothing over");
}

#[test]
fn sockets_are_had_of_no_stranger() {
    let (root, cfx, mallory) = (0, 990, 1001);
    assert!(taker::is_trusted(cfx, cfx, cfx));
    assert!(taker::is_trusted(root, cfx, cfx) && taker::is_trusted(cfx, root, cfx));
    assert!(!taker::is_trusted(mallory, cfx, cfx) && !taker::is_trusted(mallory, root, cfx));
    assert!(!taker::is_trusted(mallory, cfx, mallory), "not even in a folder of their own");
}

#[tokio::test]
async fn nobody_waits_for_long_for_a_new_process_that_hangs() {
    let data = tempfile::tempdir().unwrap();
    let old = old_with(data.path(), Duration::from_millis(20)).await;
    let (hanging, _) = ask(data.path()).await.unwrap().unwrap();
    let (predecessor, taken) = ask(data.path()).await.unwrap().unwrap();
    assert_eq!(taken.len(), 2);
    assert!(hanging.has_withdrawn() && !predecessor.has_withdrawn());
    hanging.relieve();
    assert!(!old.drain.is_ending(), "it has had its turn");
    predecessor.relieve();
    old.offering.await.unwrap();
    assert!(old.drain.is_handed_over());
    assert!(!predecessor.has_withdrawn(), "nor does one that is gone say so");
}

#[tokio::test]
async fn a_slow_new_process_keeps_its_turn_while_nobody_else_asks() {
    let data = tempfile::tempdir().unwrap();
    let old = old_with(data.path(), Duration::ZERO).await;
    let (slow, _) = ask(data.path()).await.unwrap().unwrap();
    (0..100).for_each(|_| assert!(!slow.has_withdrawn()));
    slow.relieve();
    old.offering.await.unwrap();
    assert!(old.drain.is_handed_over());
}

#[tokio::test]
async fn of_two_on_one_folder_the_first_is_asked_and_the_other_when_that_has_left() {
    let data = tempfile::tempdir().unwrap();
    let first = old(data.path()).await;
    let second = old(data.path()).await;
    for _ in 0..2 {
        let (_, taken) = ask(data.path()).await.unwrap().unwrap();
        assert_eq!(addresses_of(&taken), first.addresses);
    }
    first.drain.leave();
    first.drain.close();
    first.offering.await.unwrap();
    let (predecessor, _) = asked_until(data.path(), &second.addresses).await;
    predecessor.relieve();
    second.offering.await.unwrap();
}

#[tokio::test]
async fn an_heir_is_asked_before_the_one_it_relieved_has_left() {
    let data = tempfile::tempdir().unwrap();
    let old = old(data.path()).await;
    let (predecessor, taken) = ask(data.path()).await.unwrap().unwrap();
    let heirs = addresses_of(&taken[..1]);
    let drain = Arc::new(Drain::default());
    let offering = tokio::spawn({
        let (drain, data) = (Arc::clone(&drain), data.path().to_owned());
        let kept = taken.into_iter().take(1).collect();
        async move { giver::offer(&data, Descent::Heir, kept, &drain).await }
    });
    let (of_heir, _) = asked_until(data.path(), &heirs).await;
    assert!(!old.drain.is_ending());
    predecessor.relieve();
    old.offering.await.unwrap();
    of_heir.relieve();
    offering.await.unwrap();
    assert!(drain.is_handed_over());
}

fn addresses_of(sockets: &[TcpListener]) -> Vec<std::net::SocketAddr> {
    sockets.iter().map(|socket| socket.local_addr().unwrap()).collect()
}

/// Asks until the process with these sockets answers.
async fn asked_until(data: &Path, addresses: &[std::net::SocketAddr]) -> (Predecessor, Vec<TcpListener>) {
    let asking = async {
        loop {
            match ask(data).await {
                Ok(Some((predecessor, taken))) if addresses_of(&taken) == addresses => return (predecessor, taken),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.unwrap()
}
