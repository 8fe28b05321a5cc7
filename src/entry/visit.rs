//! The requests of one connection, one after the other over HTTP/1.1, beside each other over HTTP/2.
//!
//! pingora's own turn over HTTP/1.1, with one difference: a head is whole and looked at (`head.rs`) before pingora reads
//! it. Idle connections hold no buffer meanwhile.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use pingora_core::apps::{HttpServerApp, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_timeout::fast_timeout::fast_timeout;
use tokio::io::AsyncWriteExt;

use super::arrival::Arrival;
use super::guard::Guard;
use super::head::{self, NoHead, Patience};
use super::linger::{LINGER, Linger};
use crate::config::Guards;
use crate::upstream::within;

/// pingora's name for a connection that may be used again; for how long is decided here.
const MAY_STAY: Option<u64> = Some(0);

/// One request's way; its connection, where that may be used again.
pub type Served<'request> = Pin<Box<dyn Future<Output = Option<Stream>> + Send + 'request>>;

/// What answers requests. Over HTTP/2 they come to it by pingora's trait.
pub trait Application: HttpServerApp + Send + Sync + 'static {
    /// One that came over HTTP/1.1, and is still to be read by `session`: `head` is all of its head, and what followed.
    fn http1<'request>(
        &'request self,
        session: ServerSession,
        head: BytesMut,
        closing: &'request ShutdownWatch,
    ) -> Served<'request>;
}

/// Serves a connection to its end.
pub async fn serve<A>(app: &Arc<A>, stream: Stream, arrival: &Arrival, guards: &Guards, closing: &ShutdownWatch)
where
    A: Application,
{
    match stream.selected_alpn_proto() {
        Some(ALPN::H2) => http2(app, stream, arrival, guards, closing).await,
        _ => http1(app, stream, arrival, guards, closing).await,
    }
}

async fn http1<A>(app: &Arc<A>, mut stream: Stream, arrival: &Arrival, guards: &Guards, closing: &ShutdownWatch)
where
    A: Application,
{
    let (mut patience, mut served) = (Patience::Until(arrival.at + guards.header_timeout), 0);
    loop {
        let (head, behind) = match head::read(&mut *stream, guards, patience).await {
            Ok(read) => read,
            Err(NoHead::Nobody) => return,
            Err(NoHead::Silent) => return arrival.porter().count(Guard::HeaderTimeout),
            Err(NoHead::Refused(guard)) => return Box::pin(refuse(stream, arrival, guard)).await,
        };
        served += 1;
        arrival.await_head(behind);
        let mut session = ServerSession::new_http1(stream);
        session.set_keepalive(MAY_STAY);
        session.set_keepalive_reuses_remaining(is_last(served, arrival.at, guards).then_some(0));
        match app.http1(session, head, closing).await {
            // What came behind the request is not answered: the connection ends.
            Some(mut again) if arrival.has_strays() => {
                let _ = AsyncWriteExt::shutdown(&mut again).await;
                return;
            }
            Some(again) => stream = again,
            None => return,
        }
        arrival.note_request_over();
        patience = Patience::Idle(guards.idle);
    }
}

/// Whether the connection is to end behind this request. Most may stay for as long as they like: then no clock is read.
fn is_last(served: u32, since: Instant, guards: &Guards) -> bool {
    guards.requests_per_connection.is_some_and(|most| served >= most)
        || guards.connection_age.is_some_and(|most| since.elapsed() >= most)
}

/// The first request is to come in time. Behind it a connection ends when it has been idle.
async fn http2<A>(app: &Arc<A>, stream: Stream, arrival: &Arrival, guards: &Guards, closing: &ShutdownWatch)
where
    A: Application,
{
    let mut serving = app.process_new(stream, closing);
    let left = (arrival.at + guards.header_timeout).saturating_duration_since(Instant::now());
    if within(left, &mut serving).await.is_some() {
        return;
    }
    if arrival.has_head() {
        serving.await;
    } else {
        arrival.porter().count(Guard::HeaderTimeout);
    }
}

async fn refuse(mut stream: Stream, arrival: &Arrival, guard: Guard) {
    let answer: Bytes = arrival.porter().refuse(guard, arrival);
    arrival.note_head(); // what is written from here on is ours
    let farewell = async {
        if stream.write_all(&answer).await.is_ok() && AsyncWriteExt::shutdown(&mut stream).await.is_ok() {
            let mut linger = Linger::default();
            poll_fn(|context| linger.poll(context, Pin::new(&mut stream))).await;
        }
    };
    let _ = fast_timeout(LINGER, farewell).await;
}
