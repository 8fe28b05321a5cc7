//! HTTP to others, beside the requests: to a CA, to Supabase, to a collector, from the pages to the control API.
//!
//! One client for all of them, which differ in terms alone: for each body or connector of its own, all of hyper's client would
//! be in the binary once more. HTTP/1.1; no redirect is followed.
//!
//! Failure stance: none. Each question is asked once, as far as its other side can have seen it, and who asks says how long it may take.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};

/// A client, and the connections it keeps. A clone shares them.
#[derive(Debug, Clone)]
pub struct Https(Client<HttpsConnector<HttpConnector>, Body>);

/// What a client is held to.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Whether addresses may begin with `http:`, too.
    pub plain: bool,
    /// For a connection to be there.
    pub connect_within: Option<Duration>,
    /// After which a connection that nobody uses is closed.
    pub idle: Duration,
}

/// Why a question has no answer, with all causes: what failed in connecting stands in the last of them.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("{0}")]
    Failed(String),
    #[error("it answers more than {} KiB", .0 / 1024)]
    TooLong(usize),
}

impl Https {
    /// Trusts these authorities and no others.
    pub fn trusting(roots: RootCertStore, terms: Terms) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(terms.connect_within);
        http.set_nodelay(true);
        let tls = HttpsConnectorBuilder::new().with_tls_config(config);
        let tls = if terms.plain { tls.https_or_http() } else { tls.https_only() };
        let connector = tls.enable_http1().wrap_connector(http);
        Ok(Self(Client::builder(TokioExecutor::new()).pool_idle_timeout(terms.idle).build(connector)))
    }

    /// The answer's head, and its body as it comes.
    pub async fn begin(&self, request: Request<Body>) -> Result<Response<Body>, NoAnswer> {
        let answer = self.0.request(request).await.map_err(|error| failed(&error))?;
        Ok(answer.map(Body::new))
    }

    /// The whole answer, of no more than `most` bytes.
    pub async fn ask(&self, request: Request<Body>, most: usize) -> Result<Response<Bytes>, NoAnswer> {
        let (head, body) = self.begin(request).await?.into_parts();
        let (mut pieces, mut whole) = (body.into_data_stream(), Vec::new());
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| failed(&error))?;
            if piece.len() > most - whole.len() {
                return Err(NoAnswer::TooLong(most));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Response::from_parts(head, whole.into()))
    }
}

/// Whom this system trusts.
pub fn system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn failed(error: &dyn Error) -> NoAnswer {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    NoAnswer::Failed(text)
}
