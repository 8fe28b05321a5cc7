//! A dashboard over real sockets, with doubles behind it: reports out of memory, and a stand-in of the control API that
//! speaks its paths and bodies and keeps what was asked of it. How the real ones answer is held by their own tests.

mod api;
mod reports;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use cfx::clock::SystemClock;
use cfx::dashboard::{Dashboard, EdgeClient, Pace, router};
use tokio::net::TcpListener;

pub use api::Api;
pub use reports::Told;

/// What a test, or a look at the pages, starts with.
#[derive(Default)]
pub struct Setting {
    pub told: Told,
    pub api: Arc<Api>,
    /// The port to be at; 0: any.
    pub port: u16,
    /// Made in a second at most; None: as many as are asked for.
    pub pages: Option<NonZeroU32>,
    /// Nobody is there to speak to.
    pub edge_away: bool,
}

pub struct Stand {
    pub address: SocketAddr,
    pub api: Arc<Api>,
}

/// Serves the pages, the stand-in under `/api` and an echo under `/v1`, as an edge does, until the runtime ends.
pub async fn start(setting: Setting) -> Stand {
    let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inner_at = inner.local_addr().unwrap();
    let control = api::router(Arc::clone(&setting.api));
    if setting.edge_away {
        drop(inner);
    } else {
        let control = control.clone();
        tokio::spawn(async move { axum::serve(inner, control).await });
    }
    let dashboard = Dashboard {
        edge: EdgeClient::new(format!("http://{inner_at}")).unwrap(),
        reports: Arc::new(reports::Double { told: setting.told, api: Arc::clone(&setting.api) }),
        public_url: None,
        clock: Arc::new(SystemClock),
        answered: Default::default(),
        pace: Pace::new(setting.pages.unwrap_or(NonZeroU32::MAX)),
    };
    let pages = router(Arc::new(dashboard));
    let whole = Router::new().route("/v1/chat/completions", post(echo)).merge(control).fallback_service(pages);
    let outer = TcpListener::bind(("127.0.0.1", setting.port)).await.unwrap();
    let address = outer.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(outer, whole).await });
    Stand { address, api: setting.api }
}

/// A stream such as a model's: a word every 60 ms, then the usage.
async fn echo(headers: HeaderMap) -> Response {
    if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some("Bearer cfx_live_playground") {
        return axum::http::StatusCode::UNAUTHORIZED.into_response();
    }
    let words = "A breaker that is open leaves its target alone for a while, so that what is broken can mend.";
    let mut events: Vec<String> = words
        .split_inclusive(' ')
        .map(|word| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":{}}}}}]}}\n\n", serde_json::json!(word)))
        .collect();
    events.push("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":21}}\n\n".to_owned());
    events.push("data: [DONE]\n\n".to_owned());
    let events = futures_util::stream::unfold(events.into_iter(), |mut events| async {
        let event = events.next()?;
        tokio::time::sleep(Duration::from_millis(60)).await;
        Some((Ok::<_, std::io::Error>(event), events))
    });
    let named = [
        ("content-type", "text/event-stream"),
        ("x-cfx-stage", "plan"),
        ("x-cfx-model-used", "claude-sonnet"),
        ("x-cfx-request-id", "0197f9a1-b2c3-7d4e-8f90-0a1b2c3d4e5f"),
        ("x-ratelimit-remaining", "652"),
    ];
    (named, Body::from_stream(events)).into_response()
}
