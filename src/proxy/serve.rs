//! What pingora is given to serve: model requests are answered here, everything else by pingora's proxy loop.
//!
//! That loop makes a session of its own for each request, and a future that has room for every way of proxying. A model
//! request goes none of them and would pay for all (docs/decisions/001).

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use http::Method;
use memchr::memchr2;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use super::exchange::Exchange;
use super::route::Destination;
use super::{Proxy, Services, guard, guarded, own, web_failure};
use crate::entry::visit::{Application, Served};
use crate::llm::Endpoint;

/// Answers the requests of every public listener.
pub struct Server {
    services: Arc<Services>,
    stock: Arc<HttpProxy<Proxy>>,
}

impl Server {
    /// `stock` answers what is no model request.
    pub fn new(services: Arc<Services>, stock: HttpProxy<Proxy>) -> Self {
        Self { services, stock: Arc::new(stock) }
    }

    /// Answers what is likely a model request. `head` is how it came over HTTP/1.1, with what followed it.
    #[expect(clippy::manual_async_fn, reason = "the future of an async fn has room for each argument twice")]
    fn answer<'request>(
        &'request self,
        mut session: ServerSession,
        head: Option<BytesMut>,
        closing: &'request ShutdownWatch,
    ) -> impl Future<Output = Option<Stream>> + Send + 'request {
        async move {
            if let Some(head) = &head {
                // The session takes it apart: what is passed on after all is read from this again.
                session.set_pipelined_prefix(head.clone());
            }
            if !matches!(session.read_request().await, Ok(true)) {
                return Box::pin(self.pass_on(session, head, closing)).await;
            }
            let services = &*self.services;
            let _under_way = services.drain.track();
            let mut exchange = Exchange::begin(services);
            own::note_client(services, &mut session, &exchange);
            let Ok(model @ Destination::Model { .. }) = guard::look_and_find(services, &session, &exchange) else {
                return Box::pin(self.pass_on(session, head, closing)).await;
            };
            drop(head);
            let found = match exchange.guards() {
                // In a box: other routes keep no room for it.
                Some(_) => Box::pin(guarded::past_guards(services, &session, &mut exchange, Ok(model))).await,
                None => Ok(model),
            };
            let outcome = match found {
                Ok(model) => own::serve(services, &mut session, &mut exchange, model).await,
                Err(turned) => Box::pin(guarded::turn(&mut session, &mut exchange, turned)).await,
            };
            if let Err(error) = &outcome {
                Box::pin(web_failure::answer(services, &mut session, &mut exchange, None, error)).await;
            }
            own::account(services, &session, &mut exchange);
            outcome.ok()?;
            let again = session.finish().await.ok().flatten()?;
            Some(again.into_parts().0)
        }
    }

    /// Leaves a request to pingora's loop, which reads it once more from the start.
    async fn pass_on(
        &self,
        mut session: ServerSession,
        head: Option<BytesMut>,
        closing: &ShutdownWatch,
    ) -> Option<Stream> {
        if let Some(head) = head {
            session.set_pipelined_prefix(head);
        }
        Some(self.stock.process_new_http(session, closing).await?.consume().0)
    }
}

impl Application for Server {
    fn http1<'request>(
        &'request self,
        session: ServerSession,
        head: BytesMut,
        closing: &'request ShutdownWatch,
    ) -> Served<'request> {
        match is_for_a_model(&head) {
            true => made_in_a_box(|| self.answer(session, Some(head), closing)),
            false => made_in_a_box(|| self.pass_on(session, Some(head), closing)),
        }
    }
}

#[async_trait]
impl HttpServerApp for Server {
    /// A request over HTTP/2; those over HTTP/1.1 come by way of `Application`.
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        closing: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let head = session.req_header();
        if head.method == Method::POST && Endpoint::from_path(head.uri.path()).is_some() {
            made_in_a_box(|| self.answer(session, None, closing)).await;
            None
        } else {
            self.stock.process_new_http(session, closing).await
        }
    }

    async fn http_cleanup(&self) {
        self.stock.http_cleanup().await;
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.stock.server_options()
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.stock.h2_options()
    }
}

/// A future in the place where it stays. `Box::pin` makes it elsewhere first: ten kilobytes to copy for each request, of
/// which nothing but the arguments means anything yet.
fn made_in_a_box<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    let made: Box<F> = Box::write(Box::new_uninit(), make());
    Box::into_pin(made)
}

/// Whether a head as it came asks for a model by an endpoint's own path. Written in another way, or led elsewhere by
/// its host, it is found out by its route.
fn is_for_a_model(head: &[u8]) -> bool {
    let begin = head.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    let Some(target) = head[begin..].strip_prefix(b"POST ") else { return false };
    let path = &target[..memchr2(b' ', b'?', target).unwrap_or(0)];
    std::str::from_utf8(path).is_ok_and(|path| Endpoint::from_path(path).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An open stream holds one, and a thread's cache of free blocks ends at this size (`.cargo/config.toml`).
    #[test]
    fn a_model_request_takes_a_block_that_threads_keep() {
        fn size<'request, F>(
            _: impl FnOnce(&'request Server, ServerSession, Option<BytesMut>, &'request ShutdownWatch) -> F,
        ) -> usize {
            size_of::<F>()
        }
        assert!(size(Server::answer) <= 8_192);
    }

    #[test]
    fn a_model_request_is_told_by_its_first_line() {
        for head in ["POST /v1/chat/completions HTTP/1.1\r\n", "\r\n\r\nPOST /v1/messages?beta=true HTTP/1.1\r\n"] {
            assert!(is_for_a_model(head.as_bytes()), "{head:?}");
        }
        let others = ["", "\r\n", "POST", "POST ", "POST /v1/messages", "POST /v1/messagesx HTTP/1.1\r\n"];
        let more =
            ["GET /v1/messages HTTP/1.1\r\n", "POST http://cfx.test/v1/messages HTTP/1.1\r\n", "post /v1/messages "];
        for head in others.into_iter().chain(more) {
            assert!(!is_for_a_model(head.as_bytes()), "{head:?}");
        }
    }
}
