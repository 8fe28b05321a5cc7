//! The model over HTTP/2: its streams share connections, so that of the edge's open files hardly any but the clients'
//! own count.

use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, server};
use http::{Request, Response, header};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::model::Tokens;

/// One connection, for as long as its peer keeps it.
pub async fn serve(socket: TcpStream, every: Duration, over: &watch::Receiver<bool>) -> Result<(), h2::Error> {
    let mut connection = server::handshake(socket).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        let tokens = Tokens::new(every, over.clone());
        // Whoever resets a stream ends its task; its client sees what came of it.
        tokio::spawn(async move { stream(request, respond, tokens).await });
    }
    Ok(())
}

/// Each token is an event and a DATA frame of its own.
async fn stream(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    mut tokens: Tokens,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    while let Some(piece) = body.data().await {
        let length = piece?.len();
        body.flow_control().release_capacity(length)?;
    }
    let mut head = Response::new(());
    head.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    let mut answer = respond.send_response(head, false)?;
    loop {
        let (event, last) = tokens.next().await;
        answer.send_data(event.into(), last)?;
        if last {
            return Ok(());
        }
    }
}
