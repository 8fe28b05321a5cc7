//! The echo model of `cfx dev`: an OpenAI-compatible upstream on a real loopback socket that calls no provider. It says
//! so in its first words, then repeats the last user message word by word, with usage.
//!
//! Owns the dialects' shapes as a provider sends them. It is reached like any other upstream and knows nothing of cfx.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use futures_util::StreamExt;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

mod chat;
mod completions;
mod embeddings;
mod frames;
mod messages;
mod prompt;
mod reply;
mod responses;

use frames::Frame;

/// The time between two words: a fast model's pace, slow enough to see.
const PACE: Duration = Duration::from_millis(30);

/// A running echo model. It runs until its tokio runtime ends.
#[derive(Debug, Clone)]
pub struct EchoModel {
    /// `http://127.0.0.1:PORT`, without a path.
    pub url: String,
}

/// Starts the model on a free port of 127.0.0.1, as a task of the current runtime.
pub async fn start() -> io::Result<EchoModel> {
    start_at_pace(PACE).await
}

async fn start_at_pace(pace: Duration) -> io::Result<EchoModel> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    // Without this a word waits for the acknowledgement of the one before it.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    tokio::spawn(async move { axum::serve(listener, router(pace)).await });
    Ok(EchoModel { url })
}

/// What a dialect answers.
enum Answer {
    Json(Value),
    Stream(Vec<Frame>),
}

fn router(pace: Duration) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(|pace, body| answer(pace, body, chat::answer)))
        .route("/v1/completions", post(|pace, body| answer(pace, body, completions::answer)))
        .route("/v1/embeddings", post(|pace, body| answer(pace, body, embeddings::answer)))
        .route("/v1/responses", post(|pace, body| answer(pace, body, responses::answer)))
        .route("/v1/messages", post(|pace, body| answer(pace, body, messages::answer)))
        .route("/v1/messages/count_tokens", post(|pace, body| answer(pace, body, messages::count_tokens)))
        .route("/health/liveliness", get(|| async { Json("I'm alive!") }))
        .fallback(|uri: Uri| async move {
            problem(StatusCode::NOT_FOUND, "not_found", format!("the echo model has no {}", uri.path()))
        })
        // cfx has its own limit; what it lets through is answered.
        .layer(DefaultBodyLimit::disable())
        .with_state(pace)
}

async fn answer(State(pace): State<Duration>, body: Bytes, dialect: fn(&Value) -> Answer) -> Response {
    let request = match members(&body) {
        Ok(members) => Value::Object(members),
        Err(error) => return problem(StatusCode::BAD_REQUEST, "invalid_json", error.to_string()),
    };
    match dialect(&request) {
        Answer::Json(answer) => Json(answer).into_response(),
        Answer::Stream(frames) => streamed(frames, pace),
    }
}

/// A JSON object's members. What `serde_json` cannot hold (numbers like 1e400, nesting beyond 128) is left out, since
/// nothing the model reads is like that and cfx lets it through.
fn members(body: &[u8]) -> serde_json::Result<Map<String, Value>> {
    let members: HashMap<String, &RawValue> = serde_json::from_slice(body)?;
    let readable =
        members.into_iter().filter_map(|(name, value)| Some((name, serde_json::from_str(value.get()).ok()?)));
    Ok(readable.collect())
}

fn streamed(frames: Vec<Frame>, pace: Duration) -> Response {
    let frames = futures_util::stream::iter(frames).then(move |frame| async move {
        if frame.paced {
            tokio::time::sleep(pace).await;
        }
        Ok::<_, Infallible>(frame.text)
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn problem(status: StatusCode, code: &str, message: String) -> Response {
    let error = json!({"message": message, "type": "invalid_request_error", "param": null, "code": code});
    (status, Json(json!({"error": error}))).into_response()
}

#[cfg(test)]
mod tests;
