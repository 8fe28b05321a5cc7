//! A page of the route's in the place of an answer that had no body: under that answer's own head, so that a challenge, a
//! cookie or a time to wait is not lost with it.

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;
use pingora_proxy::FailToProxy;

use super::body;
use super::exchange::Exchange;

/// What is still to be sent.
pub struct StandIn {
    /// Dressed and edited already.
    pub head: Box<ResponseHeader>,
    pub body: Bytes,
}

/// Sends it. Its connection ends with it, for pingora takes the exchange for one that failed.
pub async fn send(session: &mut ServerSession, exchange: &mut Exchange) -> FailToProxy {
    let code = exchange.answer.status;
    if let Some(stand_in) = exchange.stand_in.take() {
        let _ = body::drained(session).await;
        session.set_keepalive(None);
        session.set_write_timeout(Some(exchange.snapshot.limits.read_stall));
        exchange.answer.bytes_out = stand_in.body.len() as u64;
        let _ = written(session, stand_in).await;
    }
    FailToProxy { error_code: code, can_reuse_downstream: false }
}

async fn written(session: &mut ServerSession, stand_in: StandIn) -> Result<()> {
    session.write_response_header(stand_in.head).await?;
    session.write_response_body(stand_in.body, true).await
}
