//! The admin listener: metrics, the health of this process and its configuration, for the inside only. It stands outside
//! pingora, so that it answers until the very end of a shutdown.

mod permit;

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::bounded::{self, Bounds};
use super::drain::Drain;
use super::readiness::{Readiness, Stand};
use crate::config::{Problem, Secret};
use crate::telemetry::metrics;
use permit::Denied;

/// What the pages show.
#[derive(Clone)]
pub struct Admin {
    pub drain: Arc<Drain>,
    pub readiness: Arc<Readiness>,
    /// Renders the metrics as they stand, in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What a ready edge does without at this moment, in words for the operator.
    pub degraded: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// None: the edge does not run yet.
    pub control: Arc<dyn Fn() -> Option<Arc<dyn Control>> + Send + Sync>,
}

/// What the operator may ask of a running edge.
pub trait Control: Send + Sync {
    /// What who asks has to show.
    fn token(&self) -> Option<Secret>;
    /// Reads the configuration anew, and says what has changed. Blocks while files are read.
    fn reload(&self) -> Result<Value, Vec<Problem>>;
    /// The configuration that holds, without its secrets.
    fn configuration(&self) -> Value;
}

/// A page of the listener, and whether that is to be reached from this machine alone.
#[derive(Clone)]
struct Pages {
    admin: Admin,
    loopback: bool,
}

/// Serves `/metrics`, `/-/healthy`, `/-/ready`, `/-/config` and `/-/reload` until `stop` resolves. The listener does not
/// block.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let loopback = listener.local_addr()?.ip().is_loopback();
    let pages = Router::new()
        .route("/metrics", get(rendered))
        .route("/-/healthy", get(|| async { "healthy\n" }))
        .route("/-/ready", get(ready))
        .route("/-/config", get(configuration))
        .route("/-/reload", post(reload))
        .with_state(Pages { admin, loopback });
    bounded::serve(tokio::net::TcpListener::from_std(listener)?, pages, Bounds::default(), stop).await
}

async fn rendered(State(Pages { admin, .. }): State<Pages>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], (admin.metrics)())
}

async fn ready(State(Pages { admin, .. }): State<Pages>) -> (StatusCode, String) {
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

async fn configuration(State(pages): State<Pages>, headers: HeaderMap) -> Result<Json<Value>, Denied> {
    Ok(Json(pages.permitted(&headers)?.configuration()))
}

async fn reload(State(pages): State<Pages>, headers: HeaderMap) -> Result<Response, Denied> {
    let control = pages.permitted(&headers)?;
    let outcome = tokio::task::spawn_blocking(move || control.reload()).await;
    let problems = |problems: &[Problem]| Json(json!({ "ok": false, "problems": problems }));
    Ok(match outcome {
        Ok(Ok(summary)) => Json(summary).into_response(),
        Ok(Err(found)) => (StatusCode::UNPROCESSABLE_ENTITY, problems(&found)).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, problems(&[])).into_response(),
    })
}

impl Pages {
    /// The edge, for one who may ask it.
    fn permitted(&self, headers: &HeaderMap) -> Result<Arc<dyn Control>, Denied> {
        let control = (self.admin.control)().ok_or(Denied::Starting)?;
        permit::check(headers, control.token().as_ref(), self.loopback)?;
        Ok(control)
    }
}
