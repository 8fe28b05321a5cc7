//! The admin listener: metrics and the health of this process, for the inside only. It stands outside pingora, so
//! that it answers until the very end of a shutdown.

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use super::drain::Drain;
use super::readiness::{Readiness, Stand};
use crate::telemetry::metrics;

/// What the pages show.
#[derive(Clone)]
pub struct Admin {
    pub drain: Arc<Drain>,
    pub readiness: Arc<Readiness>,
    /// Renders the metrics as they stand, in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What a ready edge does without at this moment, in words for the operator.
    pub degraded: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

/// Serves `/metrics`, `/-/healthy` and `/-/ready` until `stop` resolves. The listener does not block.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let pages = Router::new()
        .route("/metrics", get(rendered))
        .route("/-/healthy", get(|| async { "healthy\n" }))
        .route("/-/ready", get(ready))
        .with_state(admin);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, pages).with_graceful_shutdown(stop).await
}

async fn rendered(State(admin): State<Admin>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], (admin.metrics)())
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, String) {
    let unready = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, why.to_owned());
    admin.drain.note_asked();
    if admin.drain.is_leaving() {
        return unready("stopping\n");
    }
    match admin.readiness.stand() {
        Stand::Ready => match (admin.degraded)() {
            Some(what) => (StatusCode::OK, format!("ready, but {what}\n")),
            None => (StatusCode::OK, "ready\n".to_owned()),
        },
        Stand::WaitingForStore => unready("starting: waiting for the store\n"),
        Stand::Starting => unready("starting\n"),
    }
}
