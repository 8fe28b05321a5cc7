use std::sync::Arc;

use futures_util::FutureExt as _;
use h2::server;
use http::{Response, StatusCode};
use tokio::net::TcpListener;

use super::super::breaker::Rule;
use super::*;
use crate::config::Http2;

const LIMITS: Duration = Duration::from_secs(20);

/// A target that is there for one request more, over a connection that is still to be opened.
async fn answers_once() -> Arc<Target> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut connection = server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            respond.send_response(Response::new(()), true).unwrap();
        }
    });
    let target = Target::new(false, "127.0.0.1".to_owned(), port).unwrap();
    Arc::new(Target { http2: Http2::Always, ..target })
}

/// Who finds no room waits for whoever opens a connection, and may then find that room has come.
#[tokio::test]
async fn a_connection_that_stood_before_the_request_was_a_kept_one_however_late_it_had_room() {
    let target = answers_once().await;
    // Minutes away, so that its death is one while it lay there however busy this machine is.
    let begun = Instant::now() - Duration::from_secs(60);
    let mut one_stream = server::Builder::new();
    let (session, driver, mut peer) = http2::pair_since(one_stream.max_concurrent_streams(1), begun).await;
    let only_place = http2::add(&target, (session, driver));
    let turn = http2::turn(&target).lock_owned().await;

    let rule = Rule { failures: 5, open_for: LIMITS };
    let seat = Seat::take(&Arc::new(Member::new("some", &target, rule)), Instant::now()).unwrap();
    let limits = Limits { connect: LIMITS, head: LIMITS, total_by: Instant::now() + LIMITS };
    let (dialer, mut standing) = (Dialer::default(), Standing::default());
    let request = OutgoingRequest::new("/v1/chat/completions", Vec::new());
    let mut asked = pin!(send(&dialer, (seat, 0), &request, limits, &mut standing));
    assert!(asked.as_mut().now_or_never().is_none(), "there is no room, and somebody opens a connection");
    drop((only_place, turn));
    let hung_up = async move {
        let request = peer.accept().await;
        drop(peer);
        request
    };
    let (answer, _request) = tokio::join!(asked, hung_up);
    assert_eq!(answer.unwrap().head.status, StatusCode::OK, "it is sent again, free of charge");
}
