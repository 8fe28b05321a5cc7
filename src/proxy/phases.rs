//! The phases of pingora's proxy loop: what of cfx each of its hooks calls, for every request that `serve` leaves to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::exchange::Exchange;
use super::route::Destination;
use super::sent::Sent;
use super::unread::Unread;
use super::web_body::WebBody;
use super::web_socket::Tunnel;
use super::{Services, guard, guarded, own, path, route_guard, sticky, web, web_failure};
use crate::entry::arrival::Arrival;
use crate::entry::drain::UnderWay;
use crate::upstream::{By, Seat};

/// cfx as pingora calls it.
pub struct Proxy {
    services: Arc<Services>,
}

/// pingora's per-request context.
pub struct Context {
    exchange: Exchange,
    web: Option<web::Place>,
    /// At the target that a web request goes to.
    seat: Option<Seat>,
    /// At a target that could not be reached, for as long as no other was chosen.
    left: Option<Seat>,
    /// When a web upstream was first asked for.
    asked: Option<Instant>,
    intake: route_guard::Intake,
    /// What becomes of a web answer's body on its way.
    body: WebBody,
    /// What of it the client has yet to take.
    unread: Unread,
    /// What its connection has taken.
    sent: Sent,
    /// Where the request asks for a WebSocket.
    tunnel: Option<Arc<Tunnel>>,
    _under_way: UnderWay,
}

impl Proxy {
    pub fn new(services: Arc<Services>) -> Self {
        Self { services }
    }
}

impl Context {
    /// What passed since a web upstream was asked for was the wait for it, and no work of ours.
    fn note_wait(&mut self) {
        if let Some(asked) = self.asked {
            self.exchange.answer.upstream_wait = asked.elapsed();
        }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    /// Boxed: pingora moves it several times on its way.
    type CTX = Box<Context>;

    fn new_ctx(&self) -> Box<Context> {
        Box::new(Context {
            exchange: Exchange::begin(&self.services),
            web: None,
            seat: None,
            left: None,
            asked: None,
            intake: route_guard::Intake::default(),
            body: WebBody::AsItComes,
            unread: Unread::default(),
            sent: Sent::default(),
            tunnel: None,
            _under_way: self.services.drain.track(),
        })
    }

    /// None: what routes ask for is done in the hooks below, and the others need not pay for it.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, context: &mut Box<Context>) -> Result<()> {
        own::note_client(&self.services, session, &context.exchange);
        path::to_origin_form(session.req_header_mut())
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Box<Context>) -> Result<bool> {
        let found = guard::look_and_find(&self.services, session, &context.exchange);
        let found = match context.exchange.guards() {
            // In a box: other routes keep no room for it.
            Some(_) => Box::pin(guarded::past_guards(&self.services, session, &mut context.exchange, found)).await,
            None => found.map_err(guarded::Turned::Away),
        };
        match found {
            Ok(Destination::Web { upstream }) => {
                web::prepare(session, &context.exchange.snapshot.limits);
                context.web = Some(web::Place::Upstream(upstream));
                Ok(false)
            }
            Ok(Destination::Inside(server)) => {
                web::prepare(session, &context.exchange.snapshot.limits);
                context.web = Some(web::Place::Inside(self.services.inside.of(server)));
                Ok(false)
            }
            Ok(destination) => own::serve(&self.services, session, &mut context.exchange, destination).await,
            Err(turned) => guarded::turn(session, &mut context.exchange, turned).await,
        }
    }

    async fn upstream_peer(&self, session: &mut Session, context: &mut Box<Context>) -> Result<Box<HttpPeer>> {
        context.asked.get_or_insert_with(Instant::now);
        context.exchange.answer.attempts = context.exchange.answer.attempts.saturating_add(1);
        match &context.web {
            Some(web::Place::Inside(address)) => Ok(web::inside(*address)),
            Some(web::Place::Upstream(upstream)) => {
                // One that is still here had a kept connection that was dead: no reason to avoid its target.
                context.seat = None;
                let kept = sticky::kept(&context.exchange, session.req_header());
                let kept = kept.as_deref().map(|token| (&self.services.tokens, token));
                let seat = web::seat(&self.services.balancer, upstream, context.left.take(), kept)?;
                let attempt = context.exchange.answer.attempts.saturating_sub(1);
                let (guards, seat) = (context.exchange.guards(), context.seat.insert(seat));
                let mut peer = web::peer(&self.services.dialer, seat, upstream, guards, attempt).await?;
                context.tunnel = Tunnel::of(session.req_header(), context.exchange.id, &mut peer);
                Ok(peer)
            }
            None => Error::e_explain(ErrorType::InternalError, "no upstream was chosen"),
        }
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        context: &mut Box<Context>,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(mut seat) = context.seat.take() {
            seat.failed(By::Anyone);
            context.left = Some(seat);
        }
        error.set_retry(context.exchange.answer.attempts < web::MOST_ATTEMPTS);
        error
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _socket: std::os::fd::RawFd,
        _digest: Option<&Digest>,
        context: &mut Box<Context>,
    ) -> Result<()> {
        if let Some(seat) = context.seat.as_mut().filter(|_| !reused) {
            seat.connected();
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Box<Context>,
    ) -> Result<()> {
        context.intake = route_guard::Intake::default(); // a second attempt brings the body once more
        web::dress_request(session, request, &context.exchange, context.seat.as_ref())?;
        if let Some(tunnel) = &context.tunnel {
            tunnel.ask();
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        context: &mut Box<Context>,
    ) -> Result<()> {
        web::drop_empty_end(body, end);
        // What goes over a WebSocket is no body of its request.
        let body = body.as_ref().filter(|_| !session.was_upgraded());
        if let Some(arrival) = Arrival::of(session.digest()).filter(|_| end && !session.is_upgrade_req()) {
            arrival.note_body_over();
        }
        let stall = context.exchange.snapshot.limits.upload_stall;
        context.intake.count(context.exchange.guards(), stall, body)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Box<Context>,
    ) -> Result<()> {
        if web::is_interim(response.status) {
            return Ok(());
        }
        context.note_wait();
        if response.status == StatusCode::SWITCHING_PROTOCOLS && !session.is_upgrade_req() {
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, "a switch that nobody asked for").into_up());
        }
        if let Some(seat) = &mut context.seat {
            seat.answered();
        }
        own::close_where_last(&self.services, session);
        context.sent.head(session);
        web::dress_response(response, &mut context.exchange)?;
        sticky::keep(session, response, &context.exchange, context.seat.as_ref(), &self.services.tokens)?;
        // Before the body may be made another: a page that is compressed does not say its length any more.
        let (capacity, limits) = (&self.services.capacity, &context.exchange.snapshot.limits);
        context.unread = Unread::of(capacity, session.req_header(), response, limits)?;
        context.body = WebBody::of(&context.exchange, session.req_header(), response)?;
        if let Some(tunnel) = context.tunnel.as_deref().filter(|_| response.status == StatusCode::SWITCHING_PROTOCOLS) {
            tunnel.open(session);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        piece: &mut Option<Bytes>,
        end: bool,
        context: &mut Box<Context>,
    ) -> Result<Option<Duration>> {
        context.body.pass(piece, end)?;
        context.sent.piece(session, piece.as_ref().map_or(0, Bytes::len));
        context.unread.count(&self.services.capacity, piece, &context.exchange.snapshot.limits)?;
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Box<Context>) -> FailToProxy {
        context.note_wait();
        web::note_failure(session, context.seat.as_mut(), &context.exchange, error);
        let upstream = context.web.as_ref().and_then(web::Place::upstream);
        web_failure::answer(&self.services, session, &mut context.exchange, upstream, error).await
    }

    /// Attempts stand in the request's line; pingora's own would show its query.
    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _context: &Box<Context>,
        _error: &Error,
        _log: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn request_summary(&self, _session: &Session, context: &Box<Context>) -> String {
        format!("request {}", context.exchange.id.0)
    }

    fn suppress_error_log(&self, _session: &Session, _context: &Box<Context>, _error: &Error) -> bool {
        true // every request has its own log line, with its reason
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Box<Context>) {
        web::note_end(context.seat.as_ref(), &context.exchange, error);
        if context.web.is_some() && context.exchange.answer.bytes_out == 0 {
            context.exchange.answer.bytes_out = context.sent.bytes(session);
        }
        own::account(&self.services, session, &mut context.exchange);
    }
}
