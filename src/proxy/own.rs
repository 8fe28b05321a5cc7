//! What cfx answers itself: the model endpoints by way of admission and relay, the model catalogue, health, redirects,
//! and every refusal.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRANSFER_ENCODING, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use pingora_core::protocols::http::ServerSession;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use tokio::time::timeout;

use super::account::{self, Asked};
use super::admit::{self, Authenticated};
use super::downstream::{Client, write_head};
use super::exchange::{Ending, Exchange};
use super::refuse::{Reason, Refusal};
use super::route::{self, Catalog, Destination};
use super::stamp::{CFX_SESSION_ID, stamp, stamp_refusal};
use super::{Services, body, edit, outgoing, relay, web_page};
use crate::config::{self, Upstream};
use crate::entry::arrival::Arrival;
use crate::entry::client_address::client;
use crate::entry::drain::Drain;
use crate::llm::{Endpoint, KeyScope, catalog};
use crate::telemetry::fields::Field;

/// The longest session id that is kept in the ledger.
const SESSION_ID_LENGTH: usize = 128;

/// What a client has to read the last event of a stream, or to leave, before the stream is reset.
const LAST_EVENT_WITHIN: Duration = Duration::from_millis(100);
/// What closing a connection may take. With the last event it fits into what a stop leaves to requests that are cut.
const CLOSED_WITHIN: Duration = Duration::from_millis(100);

/// Remembers who connected and the session the client says it belongs to. On a process that leaves, and where more came than
/// the request, the connection is closed behind the answer.
pub fn note_client(services: &Services, session: &mut ServerSession, exchange: &Exchange) {
    if let Some(arrival) = Arrival::of(session.digest()) {
        arrival.note_head();
        let is_framed_otherwise = session.get_header(TRANSFER_ENCODING).is_some() || session.is_upgrade_req();
        if !is_framed_otherwise && arrival.has_more_behind_head_than(body::content_length(session).unwrap_or(0)) {
            arrival.note_strays();
        }
        let headers = &session.req_header().headers;
        let _ = exchange.client.set(client(arrival.peer.ip(), &exchange.snapshot.edge, headers).address);
    }
    close_where_last(services, session);
    let named = session.get_header(CFX_SESSION_ID).and_then(|value| value.to_str().ok());
    if let Some(id) = named.filter(|id| !id.is_empty() && id.len() <= SESSION_ID_LENGTH) {
        let _ = exchange.session_id.set(id.to_owned());
    }
}

/// Has the answer say that the connection ends behind it, where that is known by now.
pub fn close_where_last(services: &Services, session: &mut ServerSession) {
    if services.drain.is_ending() || Arrival::of(session.digest()).is_some_and(Arrival::has_strays) {
        session.set_keepalive(None);
    }
}

/// Serves one destination of cfx's own. `Ok(true)`: answered whole. `Err`: the connection must be cut.
pub async fn serve(
    services: &Services,
    session: &mut ServerSession,
    exchange: &mut Exchange,
    destination: Destination,
) -> Result<bool> {
    let outcome = match destination {
        Destination::Model { endpoint, upstream } => {
            return match model(services, session, exchange, endpoint, upstream).await {
                Ok(ending) => finish(session, exchange, ending).await,
                Err(refusal) => refuse(session, exchange, refusal).await,
            };
        }
        Destination::Catalog { page } => catalogue(services, session, exchange, &page).await,
        Destination::Health => Ok(Page::json(StatusCode::OK, r#"{"status":"ok"}"#)),
        Destination::Ready => Ok(readiness(&services.drain)),
        Destination::Redirect { to, status } => Ok(Page::redirect(&to, status)),
        Destination::Fixed { answer } => {
            Ok(Page { kind: answer.page.kind, ..Page::json(answer.status, answer.page.body) })
        }
        Destination::Challenge { answer } => Ok(Page {
            kind: HeaderValue::from_static("application/octet-stream"),
            ..Page::json(StatusCode::OK, answer)
        }),
        Destination::Web { .. } | Destination::Inside(_) => return Ok(false),
    };
    match outcome {
        Ok(page) => send(session, exchange, page).await,
        Err(refusal) => refuse(session, exchange, refusal).await,
    }
}

/// The life of a model request: each step takes what the one before it yielded.
async fn model(
    services: &Services,
    session: &mut ServerSession,
    exchange: &mut Exchange,
    endpoint: Endpoint,
    upstream: Arc<Upstream>,
) -> Result<Ending, Refusal> {
    admit::look_for_room(services, exchange)?;
    let known = admit::authenticate(services, exchange, &session.req_header().headers).await?;
    if endpoint.is_metered() {
        known.peek(services, exchange)?;
    }
    let permit = known.enter(services)?;
    let prepared = known.prepare(services, exchange, endpoint, upstream, session).await?;
    let admitted = known.admit(services, exchange, &prepared, permit).await?;
    let _ = exchange.admitted.set(admitted);
    let from_client = outgoing::passed_on(&session.req_header().headers);
    relay::run(services, exchange, prepared, &from_client, &mut Client::new(session)).await
}

/// What an ending means for the connection: one whose answer is not whole is cut, so that nobody takes it for whole.
async fn finish(session: &mut ServerSession, exchange: &mut Exchange, ending: Ending) -> Result<bool> {
    exchange.answer.ending = ending;
    exchange.answer_is_over();
    if matches!(ending, Ending::Whole | Ending::ErrorInside) {
        return Ok(true);
    }
    if session.is_http2() && ending != Ending::Left {
        // A reset discards what is still queued on the stream: leave the connection a moment to write the last event.
        let _ = timeout(LAST_EVENT_WITHIN, session.read_body_or_idle(true)).await;
    }
    close(session).await;
    let mut error = Error::explain(ErrorType::ConnectionClosed, "the answer is not whole");
    error.esource = ErrorSource::Downstream; // pingora then writes nothing more to it
    Err(error)
}

/// Closes a connection whose answer is not whole: what was written of it so far reaches the client. A stream is reset.
pub async fn close(session: &mut ServerSession) {
    // Closing flushes, and a client that does not read would hold that up for ever.
    let _ = timeout(CLOSED_WITHIN, session.shutdown()).await;
}

fn readiness(drain: &Drain) -> Page {
    drain.note_asked();
    match drain.is_leaving() {
        true => Page::json(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"stopping"}"#),
        false => Page::json(StatusCode::OK, r#"{"status":"ready"}"#),
    }
}

async fn catalogue(
    services: &Services,
    session: &ServerSession,
    exchange: &Exchange,
    page: &Catalog,
) -> Result<Page, Refusal> {
    let Authenticated { principal, .. } =
        admit::authenticate(services, exchange, &session.req_header().headers).await?;
    let scope = KeyScope { stages: principal.stages.as_deref(), models: principal.models.as_deref() };
    let models = &exchange.snapshot.models;
    let body = match page {
        Catalog::Models => catalog::model_list(models, scope),
        Catalog::ModelInfo => catalog::model_info(models, scope),
        Catalog::Model(id) => catalog::model(models, scope, id)
            .ok_or_else(|| Refusal::new(Reason::NotFound, "this key may use no model of that name").at("model"))?,
    };
    Ok(Page::json(StatusCode::OK, body))
}

/// An answer small enough to be held whole.
struct Page {
    status: StatusCode,
    kind: HeaderValue,
    location: Option<HeaderValue>,
    body: Bytes,
}

impl Page {
    fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, kind: HeaderValue::from_static("application/json"), location: None, body: body.into() }
    }

    fn redirect(to: &str, status: StatusCode) -> Self {
        let location = HeaderValue::try_from(to).ok();
        Self { location, kind: HeaderValue::from_static("text/plain"), ..Self::json(status, Bytes::new()) }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(20);
        headers.insert(CONTENT_TYPE, self.kind.clone());
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(location) = &self.location {
            headers.insert(LOCATION, location.clone());
        }
        headers
    }
}

async fn send(session: &mut ServerSession, exchange: &mut Exchange, page: Page) -> Result<bool> {
    let mut headers = page.headers();
    stamp(exchange, &mut |name, value| {
        headers.insert(name, value);
    });
    write(session, exchange, page.status, headers, page.body).await?;
    Ok(true)
}

/// Answers with a refusal. A small body is read first, so that the connection can be kept; a large one for a while
/// afterwards, so that the client gets to read our answer: for a shorter one where it was shed, because that is when
/// there is no time for it.
pub async fn refuse(session: &mut ServerSession, exchange: &mut Exchange, refusal: Refusal) -> Result<bool> {
    exchange.answer.refused(&refusal);
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (page, is_sealed) = if let Some(page) = page_for(exchange, &refusal, status) {
        (Page { kind: page.kind.clone(), ..Page::json(status, page.body.clone()) }, false)
    } else if let Some(shown) = web_page::instead_of(&refusal, exchange, session.req_header()) {
        (Page { kind: web_page::KIND, ..Page::json(status, shown) }, true)
    } else {
        (Page::json(status, refusal.body(exchange.dialect(), exchange.id)), false)
    };
    let mut headers = page.headers();
    if is_sealed {
        web_page::seal(&mut headers);
    }
    if let (Reason::Unauthorized, Some(basic)) =
        (refusal.reason, exchange.guards().and_then(|guards| guards.basic.as_ref()))
    {
        headers.insert(WWW_AUTHENTICATE, basic.challenge.clone());
    }
    if refusal.reason == Reason::MethodNotAllowed {
        let allowed = if exchange.endpoint.get().is_some() { "POST" } else { "GET, HEAD" };
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    stamp(exchange, &mut |name, value| {
        headers.insert(name, value);
    });
    stamp_refusal(&refusal, &mut |name, value| {
        headers.insert(name, value);
    });
    let unread = !body::drained(session).await;
    if unread || refusal.guard.is_some() {
        session.set_keepalive(None);
    }
    let written = write(session, exchange, page.status, headers, page.body).await;
    exchange.answer_is_over();
    if written.is_err() {
        exchange.answer.ending = Ending::Left;
    } else if unread {
        body::linger(session, refusal.reason == Reason::Overloaded).await;
    }
    written.map(|()| true)
}

/// The page that the configuration has for a refusal. Models' clients are told in their own dialect.
fn page_for<'exchange>(
    exchange: &'exchange Exchange,
    refusal: &Refusal,
    status: StatusCode,
) -> Option<&'exchange config::Page> {
    let maintenance = exchange.guards().and_then(|guards| guards.maintenance.as_ref());
    let maintenance = maintenance.filter(|_| refusal.reason == Reason::Maintenance && exchange.dialect().is_none());
    maintenance.and_then(|maintenance| maintenance.page.as_ref()).or_else(|| edit::page_of(exchange.edits(), status))
}

pub async fn write(
    session: &mut ServerSession,
    exchange: &mut Exchange,
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<()> {
    if let Some(edits) = exchange.edits().and_then(|edits| edits.response.as_ref()) {
        edit::headers(edits, &mut headers)?;
    }
    exchange.answer.status = status.as_u16();
    // Over HTTP/2 a client may grant no room for even the smallest page, and its permit would be held for ever.
    session.set_write_timeout(Some(exchange.snapshot.limits.read_stall));
    let body = if session.req_header().method == Method::HEAD { Bytes::new() } else { body };
    exchange.answer.bytes_out = body.len() as u64;
    write_head(session, status, headers).await?;
    session.write_response_body(body, true).await
}

/// The request is over: account for it.
pub fn account(services: &Services, session: &ServerSession, exchange: &mut Exchange) {
    if exchange.answer.bytes_out == 0 {
        exchange.answer.bytes_out = session.body_bytes_sent() as u64;
    }
    let head = session.req_header();
    let host = route::host_of(session).unwrap_or_default();
    let shows_agent = exchange.snapshot.edge.telemetry.access_log.has(Field::UserAgent);
    let agent = if shows_agent { head.headers.get(USER_AGENT) } else { None };
    let asked = Asked {
        method: head.method.as_str(),
        host: &host,
        path: head.uri.path(),
        query: head.uri.query(),
        user_agent: agent.and_then(|agent| agent.to_str().ok()),
        headers: &head.headers,
    };
    account::settle(services, exchange, &asked);
}
