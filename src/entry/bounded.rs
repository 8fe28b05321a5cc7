//! Connections to listeners of the inside, held within bounds: they must not be what fills the process.
//!
//! Failure stance: where there are as many as may be, a newcomer waits, or has one cut (`kept.rs`); none stays for ever.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::heads::Heads;
use super::kept::{Answering, Kept, Place};

/// The body that is waited for before its request is looked at, in bytes; and for how long.
const SMALL: usize = 64 * 1024;
const BODY: Duration = Duration::from_secs(10);
/// A head is a few hundred bytes from the next machine, mostly from this one.
const HEAD: Duration = Duration::from_secs(15);
/// How long accepting rests when there is no room.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// What connections are held to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From a connection's beginning, or the last answer, to the whole of the next head: an idle one is closed.
    pub idle: Duration,
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// At once.
    pub connections: usize,
    /// Whether one is cut for a newcomer where there are as many, and not waited for. False where answers last by right.
    pub give_way: bool,
    /// From its beginning until no other request is taken, and from then until it is cut.
    pub life: Duration,
}

impl Bounds {
    /// Of a listener behind routes, whose connections are our own: they are kept by who uses them, and guarded before.
    pub const BEHIND_ROUTES: Bounds = Bounds {
        idle: Duration::from_secs(120),
        head: HEAD,
        connections: 4_096,
        give_way: false,
        life: Duration::from_secs(12 * 3_600),
    };
}

impl Default for Bounds {
    /// Who scrapes every quarter of a minute keeps a connection. Probes and scrapes are answered within moments, so that one that
    /// still has a request under way when its address has had the most of 64 is no prober's. A reload whose connection is cut
    /// goes on.
    fn default() -> Self {
        let (idle, life) = (Duration::from_secs(30), Duration::from_secs(300));
        Self { idle, head: HEAD, connections: 64, give_way: true, life }
    }
}

/// Serves until `stop` resolves, and then what was asked until then.
pub async fn serve(
    listener: TcpListener,
    pages: Router,
    bounds: Bounds,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let pages = pages.layer(from_fn(with_body));
    let (stopping, stopped) = watch::channel(());
    let kept = Kept::new(bounds.connections, bounds.give_way);
    let (mut stop, mut serving) = (pin!(stop), JoinSet::new());
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
            Some(_) = serving.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                let (place, cut) = tokio::select! {
                    () = &mut stop => break,
                    place = kept.place(from.ip()) => place,
                };
                let (pages, stopped) = (pages.clone(), stopped.clone());
                serving.spawn(async move {
                    tokio::select! {
                        () = converse(stream, place, pages, bounds, stopped) => {}
                        _ = cut => {}
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a listener of the inside took no connection");
                sleep(NO_ROOM_PAUSE).await;
            }
        }
    }
    drop((listener, stopping));
    while serving.join_next().await.is_some() {}
    Ok(())
}

/// Waits for a body that is small. An answer ahead of it would close the connection under a client that is still sending, and
/// such a client may never see the answer: an edge would tell its own of a 502.
async fn with_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let (mut rest, mut first, mut length) = (body.into_data_stream(), Vec::new(), 0);
    let reading = async {
        while length <= SMALL
            && let Some(piece) = rest.next().await
        {
            length += piece.as_ref().map_or(SMALL + 1, |piece| piece.len());
            first.push(piece);
        }
    };
    // Who takes longer is answered all the same.
    let _ = timeout(BODY, reading).await;
    let body = Body::from_stream(stream::iter(first).chain(rest));
    next.run(Request::from_parts(parts, body)).await
}

/// The requests of one connection. How it ends is of interest to nobody but the client.
async fn converse(stream: TcpStream, place: Place, pages: Router, bounds: Bounds, mut stopped: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let (stream, expected) = Heads::new(stream, bounds.head);
    let (pages, place) = (TowerToHyperService::new(pages), Arc::new(place));
    let service = service_fn(move |request| {
        expected.came();
        let (expected, under_way, answer) = (expected.clone(), place.request(), pages.call(request));
        async move {
            let answer = answer.await;
            expected.next();
            answer.map(|answer| answer.map(|body| Answering { body, _request: under_way }))
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.idle);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = serving.as_mut() => return,
        _ = stopped.changed() => {}
        () = sleep(bounds.life) => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ = timeout(bounds.life, serving).await;
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use futures_util::poll;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// Its address, what stops it, and what ends with it.
    async fn start(bounds: Bounds) -> (std::net::SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let first = || stream::iter([Ok::<_, io::Error>("first")]);
        let lasting = move || async move { Body::from_stream(first().chain(stream::pending())) };
        let pages = Router::new().route("/", get(|| async { "here" })).route("/lasting", get(lasting));
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let serving = tokio::spawn(async move { serve(listener, pages, bounds, stopped).await.unwrap() });
        (address, stop, serving)
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        while !text.ends_with("here") {
            text.push(stream.read_u8().await.unwrap().into());
        }
        text
    }

    async fn closes(stream: &mut TcpStream) -> bool {
        stream.read(&mut [0; 1]).await.map_or(true, |count| count == 0)
    }

    /// Whether nothing comes of what has been sent: each turn, whoever has something to do does it, and sockets are looked at.
    async fn hears_nothing(stream: &mut TcpStream) -> bool {
        let mut reading = pin!(stream.read_u8());
        for _ in 0..100 {
            yield_now().await;
            if poll!(&mut reading).is_ready() {
                return false;
            }
        }
        true
    }

    async fn asks(stream: &mut TcpStream) {
        stream.write_all(REQUEST).await.unwrap();
        assert!(answer(stream).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn who_asks_nothing_is_left() {
        let idle = Duration::from_secs(2);
        let (address, _stop, _serving) = start(Bounds { idle, ..Bounds::default() }).await;
        let begun = Instant::now();
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(&REQUEST[..9]).await.unwrap();
        let mut other = TcpStream::connect(address).await.unwrap();
        asks(&mut other).await;
        assert!(closes(&mut silent).await);
        // Between two requests, too.
        assert!(closes(&mut other).await);
        assert!(begun.elapsed() >= idle);
    }

    /// Times are an hour here: whoever had to wait for another's would not be answered within this test.
    #[tokio::test]
    async fn a_listener_that_others_keep_full_answers_who_comes() {
        let hour = Duration::from_secs(3_600);
        let bounds = Bounds { idle: hour, head: hour, life: hour, ..Bounds::default() };
        let (address, _stop, _serving) = start(bounds).await;
        let mut kept = Vec::new();
        for turn in 0..bounds.connections {
            let mut one = TcpStream::connect(address).await.unwrap();
            asks(&mut one).await;
            if turn % 2 == 0 {
                one.write_all(&REQUEST[..9]).await.unwrap();
            }
            kept.push(one);
        }
        let mut prober = TcpStream::connect(address).await.unwrap();
        timeout(Duration::from_secs(60), asks(&mut prober)).await.expect("it is answered though nobody left");
        assert!(closes(&mut kept[0]).await, "the one that had not been answered for longest");
        asks(&mut kept[1]).await;
        asks(&mut prober).await;
    }

    #[tokio::test]
    async fn answers_that_last_by_right_are_not_cut_for_a_newcomer() {
        let (address, _stop, _serving) = start(Bounds { connections: 1, ..Bounds::BEHIND_ROUTES }).await;
        let mut lasting = TcpStream::connect(address).await.unwrap();
        lasting.write_all(b"GET /lasting HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut head = String::new();
        while !head.ends_with("first") {
            head.push(lasting.read_u8().await.unwrap().into());
        }
        let mut newcomer = TcpStream::connect(address).await.unwrap();
        newcomer.write_all(REQUEST).await.unwrap();
        assert!(hears_nothing(&mut newcomer).await, "there is room for one");
        drop(lasting);
        assert!(answer(&mut newcomer).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn who_begins_a_head_has_less_time_than_who_is_idle() {
        let (idle, head) = (Duration::from_secs(3_600), Duration::from_millis(200));
        let (address, _stop, _serving) = start(Bounds { idle, head, ..Bounds::default() }).await;
        let mut kept = TcpStream::connect(address).await.unwrap();
        kept.write_all(REQUEST).await.unwrap();
        answer(&mut kept).await;
        let mut begun = TcpStream::connect(address).await.unwrap();
        begun.write_all(&REQUEST[..9]).await.unwrap();
        assert_eq!(begun.read(&mut [0; 1]).await.unwrap_or(0), 0);
        kept.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut kept).await.starts_with("HTTP/1.1 200"), "the one that was idle is still there");
    }

    #[tokio::test]
    async fn who_is_refused_before_the_body_came_sees_the_answer_and_keeps_the_connection() {
        let (address, _stop, _serving) = start(Bounds::default()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n").await.unwrap();
        assert!(hears_nothing(&mut client).await, "there is no answer before the body");
        client.write_all(b"body").await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(client.read_u8().await.unwrap().into());
        }
        assert!(head.starts_with("HTTP/1.1 405"), "{head}");
        client.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_stop_waits_for_nobody_who_is_idle() {
        let (address, stop, serving) = start(Bounds { idle: Duration::from_secs(3_600), ..Bounds::default() }).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(REQUEST).await.unwrap();
        answer(&mut idle).await;
        stop.send(()).unwrap();
        serving.await.unwrap();
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn no_connection_stays_for_ever() {
        let (address, _stop, _serving) = start(Bounds { life: Duration::from_millis(200), ..Bounds::default() }).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        while client.write_all(REQUEST).await.is_ok() && client.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0)
        {
        }
    }
}
