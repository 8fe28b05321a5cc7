use h2::server;
use http::{Request, Response};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::time::Instant as PausedInstant;

use super::*;

pub type Peer = server::Connection<DuplexStream, Bytes>;

/// A connection and its peer, past their hellos. Nothing is heard of the peer until it is polled again.
pub async fn pair(settings: &mut server::Builder) -> (Session, Driver, Peer) {
    pair_since(settings, Instant::now()).await
}

/// The same where the way is so long that the hellos have taken from `since` until now.
pub async fn pair_since(settings: &mut server::Builder, since: Instant) -> (Session, Driver, Peer) {
    let (near, far) = duplex(64 << 10);
    let mut opening = Box::pin(Session::open(Box::new(near), since));
    let mut peer: Peer = tokio::select! {
        peer = settings.handshake(far) => peer.unwrap(),
        _ = &mut opening => panic!("nobody has said hello"),
    };
    let (session, driver) = tokio::select! {
        opened = opening => opened.unwrap(),
        _ = peer.accept() => panic!("nothing was asked"),
    };
    (session, driver, peer)
}

/// Answers pings for as long as it is polled, and holds every stream.
pub async fn hold_all(mut peer: Peer) {
    let mut held = Vec::new();
    while let Some(accepted) = peer.accept().await {
        held.push(accepted.unwrap());
    }
}

fn ask(place: &mut Place) -> h2::client::ResponseFuture {
    let request = Request::get("http://litellm:4000/").body(()).unwrap();
    place.requests.send_request(request, true).unwrap().0
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_there_is_waited_for_however_long_it_says_nothing() {
    let (session, mut driver, peer) = pair(&mut server::Builder::new()).await;
    let mut place = session.place();
    let answer = ask(&mut place);
    tokio::select! {
        _ = answer => panic!("nobody answers"),
        () = hold_all(peer) => panic!("the connection ended"),
        _ = driver.run_while_used(|_| false) => panic!("it was given up"),
        () = sleep(Duration::from_secs(1_800)) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_say_that_it_is_there_is_given_up_with_all_that_waits_for_it() {
    let (session, mut driver, _peer) = pair(&mut server::Builder::new()).await;
    let mut place = session.place();
    let answer = ask(&mut place);
    let begun = PausedInstant::now();
    assert!(!driver.run_while_used(|_| false).await);
    assert!((2 * SILENCE..=3 * SILENCE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    drop(driver);
    assert!(answer.await.unwrap_err().is_io());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_uses_is_left_with_a_goodbye() {
    let (session, mut driver, mut peer) = pair(&mut server::Builder::new()).await;
    let begun = PausedInstant::now();
    let leaving = async {
        assert!(driver.run_while_used(|_| false).await, "the peer is there");
        assert!(begun.elapsed() >= IDLE, "{:?}", begun.elapsed());
        drop(session);
        driver.run_to_its_end().await;
    };
    let (accepted, ()) = tokio::join!(peer.accept(), leaving);
    assert!(accepted.is_none(), "it ends in order");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_whether_we_are_there_does_not_use_it() {
    let (_session, mut driver, mut peer) = pair(&mut server::Builder::new()).await;
    let mut pings = peer.ping_pong().unwrap();
    let (begun, mut asked) = (PausedInstant::now(), 0);
    let asking = async {
        loop {
            sleep(SILENCE / 3).await;
            pings.ping(Ping::opaque()).await.unwrap();
            asked += 1;
        }
    };
    tokio::select! {
        left = driver.run_while_used(|_| false) => assert!(left),
        () = asking => unreachable!("it asks for ever"),
        () = hold_all(peer) => panic!("the connection ended"),
    }
    assert!((IDLE..=IDLE + 2 * LOOK).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(asked > 5, "{asked}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_to_spare_is_left_soon_and_never_with_a_stream_on_it() {
    let (session, mut driver, peer) = pair(&mut server::Builder::new()).await;
    let place = session.place();
    let begun = PausedInstant::now();
    let leaving = async {
        sleep(Duration::from_secs(600)).await;
        drop(place);
        sleep(Duration::from_secs(600)).await;
    };
    tokio::select! {
        left = driver.run_while_used(|_| true) => assert!(left),
        () = hold_all(peer) => panic!("the connection ended"),
        () = leaving => panic!("it was kept"),
    }
    assert!((600..=600 + 2 * LOOK.as_secs()).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

/// How long one is kept that had so many streams at once.
async fn kept_behind(streams: usize) -> Duration {
    let (session, mut driver, peer) = pair(&mut server::Builder::new()).await;
    drop((0..streams).map(|_| session.place()).collect::<Vec<Place>>());
    let begun = PausedInstant::now();
    tokio::select! {
        left = driver.run_while_used(|_| false) => assert!(left),
        () = hold_all(peer) => panic!("the connection ended"),
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn one_that_a_crowd_has_grown_is_left_sooner_than_another() {
    assert!((GROWN_IDLE..IDLE / 2).contains(&kept_behind(GROWN).await));
    assert!(kept_behind(GROWN - 1).await >= IDLE);
}

#[tokio::test]
async fn there_is_room_for_as_many_streams_as_the_peer_takes_and_no_more_than_is_good() {
    let (few, _driver, _peer) = pair(server::Builder::new().max_concurrent_streams(2)).await;
    let places = [few.place(), few.place()];
    assert!(!few.has_room());
    drop(places);
    assert!(few.has_room());
    let (many, _driver, _peer) = pair(server::Builder::new().max_concurrent_streams(100_000)).await;
    let places: Vec<Place> = (0..MOST_STREAMS).map(|_| many.place()).collect();
    assert!(!many.has_room());
    drop(places);
    assert!(many.has_room());
}

#[tokio::test]
async fn what_came_since_a_place_was_taken_is_known() {
    let (session, mut driver, mut peer) = pair(&mut server::Builder::new()).await;
    let mut place = session.place();
    assert!(!place.has_heard());
    let answer = ask(&mut place);
    let answering = async {
        let (_request, mut respond) = peer.accept().await.unwrap().unwrap();
        respond.send_response(Response::new(()), true).unwrap();
        peer.accept().await.is_none()
    };
    tokio::select! {
        answer = answer => assert!(answer.is_ok()),
        _ = answering => panic!("nobody left"),
        _ = driver.run_while_used(|_| false) => panic!("it was given up"),
    }
    assert!(place.has_heard() && !session.place().has_heard());
}

#[tokio::test]
async fn who_speaks_something_else_is_told_apart_from_who_is_not_there() {
    let (near, mut far) = duplex(64 << 10);
    let speaking = async {
        let mut hello = [0; 24];
        far.read_exact(&mut hello).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut far, b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        far
    };
    let (opened, _far) = tokio::join!(Session::open(Box::new(near), Instant::now()), speaking);
    let problem = opened.err().unwrap().to_string();
    assert!(problem.contains("it does not speak HTTP/2 as it should"), "{problem}");

    let (near, far) = duplex(64 << 10);
    drop(far);
    let problem = Session::open(Box::new(near), Instant::now()).await.err().unwrap().to_string();
    assert!(!problem.contains("HTTP/2"), "{problem}");
}
