//! Another server is asked whether a request may pass. It sees the head, never the body; what it does not answer with
//! 2xx is the client's answer.
//!
//! Failure stance: closed. A server that cannot be asked has not said yes.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora::http::RequestHeader;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::{Error, ErrorType, Result as PingoraResult};
use tokio::time::timeout_at;

use crate::config::ForwardAuth;
use crate::entry::claims;
use crate::proxy::exchange::Exchange;
use crate::proxy::refuse::{Reason, Refusal};
use crate::proxy::{Services, forwarding, web, web_failure};
use crate::upstream::By;

/// A refusal's page that is longer is not passed on.
const LONGEST_PAGE: usize = 64 << 10;
/// What belongs to one connection (RFC 9110, 7.6.1), or says what of the body is not sent.
const NOT_PASSED_ON: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "content-encoding",
    "expect",
];

pub struct AuthServers {
    connector: Connector,
}

impl Default for AuthServers {
    fn default() -> Self {
        Self { connector: Connector::new(None) }
    }
}

/// What the server said.
pub enum Word {
    /// Headers that the request goes on with; None where the server did not name one.
    Yes(Vec<(HeaderName, Option<HeaderValue>)>),
    No(StatusCode, HeaderMap, Bytes),
}

impl AuthServers {
    pub async fn ask(
        &self,
        services: &Services,
        session: &ServerSession,
        exchange: &Exchange,
        forward: &ForwardAuth,
    ) -> Result<Word, Refusal> {
        let unasked = |error: Box<Error>| {
            let error = web_failure::told(&error);
            if let Some(group) = services.balancer.of(&forward.upstream)
                && let Some(unwritten) = group.complaints.write(Instant::now())
            {
                tracing::warn!(request = %exchange.id.0, upstream = group.name(), error, unwritten, "nobody could be asked");
            }
            Refusal::new(Reason::UpstreamUnavailable, "whoever decides about this request cannot be asked")
                .retry_after(Duration::from_secs(5))
        };
        let request = question(session, exchange, forward).map_err(unasked)?;
        Box::pin(self.asked(services, forward, request, web::client_of(exchange))).await.map_err(unasked)
    }

    async fn asked(
        &self,
        services: &Services,
        forward: &ForwardAuth,
        mut request: RequestHeader,
        client: u128,
    ) -> PingoraResult<Word> {
        let by = tokio::time::Instant::now() + forward.timeout;
        let mut seat = web::seat(&services.balancer, &forward.upstream, None, None)?;
        request.insert_header(HOST, seat.target().authority.clone())?;
        let peer = web::peer(&services.dialer, &mut seat, &forward.upstream, None, 0).await?;
        let silence = || Error::explain(ErrorType::ReadTimedout, "no answer in time");
        // A kept connection may have been closed meanwhile. Each that was is gone from the pool, so this ends.
        loop {
            let connected = timeout_at(by, self.connector.get_http_session(&*peer)).await;
            let connected = connected.unwrap_or_else(|_| Err(silence()));
            let (mut connection, reused) = connected.inspect_err(|_| seat.failed(By::Anyone))?;
            let answered = timeout_at(by, exchanged(&mut connection, request.clone(), forward)).await;
            match answered {
                Ok(Err(_)) if reused => {}
                Ok(Ok((word, whole))) => {
                    seat.answered();
                    if whole {
                        self.connector.release_http_session(connection, &*peer, peer.options.idle_timeout).await;
                    }
                    return Ok(word);
                }
                failed => {
                    seat.failed(By::Client(client));
                    return failed.unwrap_or_else(|_| Err(silence())).map(|(word, _)| word);
                }
            }
        }
    }
}

/// The head as the server is asked about it, but for the server's own name: the client's, and where and how it came (the
/// names are Traefik's).
fn question(session: &ServerSession, exchange: &Exchange, forward: &ForwardAuth) -> PingoraResult<RequestHeader> {
    let head = session.req_header();
    let mut request = RequestHeader::build("GET", forward.path.as_bytes(), Some(head.headers.len() + 6))?;
    for (name, value) in &head.headers {
        // Whoever decides may go by the word of a proxy that it takes for us, so it gets none but ours.
        if passes(name) && name != HOST && !claims::is_a_proxys_word(name) {
            request.append_header(name, value)?;
        }
    }
    forwarding::tell(session, &mut request, exchange)?;
    request.insert_header(claims::X_FORWARDED_METHOD, head.method.as_str())?;
    request.insert_header(claims::X_FORWARDED_URI, head.raw_path())?;
    Ok(request)
}

fn passes(name: &HeaderName) -> bool {
    !NOT_PASSED_ON.contains(&name.as_str())
}

/// What was said, and whether the connection can be used again.
async fn exchanged(
    connection: &mut HttpSession,
    request: RequestHeader,
    forward: &ForwardAuth,
) -> PingoraResult<(Word, bool)> {
    connection.write_request_header(Box::new(request)).await?;
    connection.finish_request_body().await?;
    connection.read_response_header().await?;
    while connection.response_header().is_some_and(|head| head.status.is_informational()) {
        connection.read_response_header().await?;
    }
    let Some(head) = connection.response_header() else {
        return Error::e_explain(ErrorType::ReadError, "no head came");
    };
    let (status, headers) = (head.status, head.headers.clone());
    let body = whole_body(connection).await?;
    let whole = body.is_some();
    if status.is_success() {
        let told = forward.copy.iter().map(|name| (name.clone(), headers.get(name).cloned()));
        return Ok((Word::Yes(told.collect()), whole));
    }
    let mut answer = HeaderMap::with_capacity(headers.len());
    let body = body.unwrap_or_default();
    for (name, value) in headers.iter().filter(|(name, _)| passes(name) && (!body.is_empty() || *name != CONTENT_TYPE))
    {
        answer.append(name, value.clone());
    }
    answer.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    Ok((Word::No(status, answer, body), whole))
}

/// None where it does not end within what is passed on.
async fn whole_body(connection: &mut HttpSession) -> PingoraResult<Option<Bytes>> {
    let mut body = BytesMut::new();
    while let Some(piece) = connection.read_response_body().await? {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST_PAGE {
            return Ok(None);
        }
    }
    Ok(Some(body.freeze()))
}
