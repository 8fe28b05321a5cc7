//! Supabase Auth over HTTPS, by the system's roots.

use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use once_cell::sync::OnceCell;
use rustls::RootCertStore;
use tokio::time::timeout;

use super::auth::{AuthAnswer, SupabaseAuth};
use crate::https::{self, Https, Terms};

/// One question and its whole answer.
const WITHIN: Duration = Duration::from_secs(5);
/// In bytes. A JWKS has some hundreds a key; a session has a token of two thousand and what is known of its user.
const LARGEST: usize = 256 * 1024;
/// Sign-ins come in bursts, if at all: nothing is kept open beyond one. Supabase's own stack on a developer's machine has no TLS.
const TERMS: Terms = Terms { plain: true, connect_within: None, idle: Duration::from_secs(5) };
/// What a project's gateway asks its callers to show.
const APIKEY: &str = "apikey";

/// [`SupabaseAuth`] over the network. No redirect is followed: a password is for who was named.
#[derive(Default)]
pub struct HttpsSupabase {
    /// In the place of the system's, which are read when something is first asked.
    roots: Option<RootCertStore>,
    client: OnceCell<Https>,
}

impl HttpsSupabase {
    /// Trusts these authorities and no others.
    pub fn trusting(roots: RootCertStore) -> Self {
        Self { roots: Some(roots), client: OnceCell::new() }
    }

    async fn ask(&self, url: &str, request: http::request::Builder, body: Body) -> Result<AuthAnswer, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url} is no address: {error}"))?;
        if !is_safe(&uri) {
            return Err(format!("{url} is neither https nor on this machine"));
        }
        let trusting = || Https::trusting(self.roots.clone().unwrap_or_else(https::system), TERMS);
        let client = self.client.get_or_try_init(trusting).map_err(|error| error.to_string())?;
        let request = request.uri(uri).header(ACCEPT, "application/json").body(body);
        let request = request.map_err(|error| error.to_string())?;
        let late = |_| format!("{url} did not answer within {WITHIN:?}");
        let answer = timeout(WITHIN, client.ask(request, LARGEST)).await.map_err(late)?;
        let (head, body) = answer.map_err(|why| format!("{url}: {why}"))?.into_parts();
        Ok(AuthAnswer { status: head.status, retry_after: retry_after(&head.headers), body: body.into() })
    }
}

#[async_trait]
impl SupabaseAuth for HttpsSupabase {
    async fn keys(&self, project: &str) -> Result<Vec<u8>, String> {
        let url = format!("{project}/auth/v1/.well-known/jwks.json");
        let answer = self.ask(&url, Request::builder(), Body::empty()).await?;
        if answer.status == StatusCode::OK {
            Ok(answer.body)
        } else {
            Err(format!("{url}: it answers {}", answer.status))
        }
    }

    async fn password(&self, project: &str, anon_key: &str, body: Vec<u8>) -> Result<AuthAnswer, String> {
        let url = format!("{project}/auth/v1/token?grant_type=password");
        let mut key = HeaderValue::from_str(anon_key).map_err(|_| "anon_key is no header's value".to_owned())?;
        key.set_sensitive(true);
        let request =
            Request::builder().method(Method::POST).header(CONTENT_TYPE, "application/json").header(APIKEY, key);
        self.ask(&url, request, Body::from(body)).await
    }
}

/// Neither keys nor passwords cross the open network.
fn is_safe(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && loopback)
}

/// As seconds alone: a date would be by another clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_keys_nor_passwords_cross_the_open_network() {
        for safe in
            ["https://abc.supabase.co/x", "http://127.0.0.1:54321/x", "http://localhost:54321", "http://[::1]:54321/x"]
        {
            assert!(is_safe(&safe.parse().unwrap()), "{safe}");
        }
        for unsafe_one in ["http://abc.supabase.co/x", "http://localhost.example.org/x", "/x", "ftp://localhost/x"] {
            assert!(!is_safe(&unsafe_one.parse().unwrap()), "{unsafe_one}");
        }
    }
}
