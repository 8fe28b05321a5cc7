//! HTTP to a CA: over TLS by its own roots, each request within a time, and what an answer says of waiting remembered.

use std::cell::Cell;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Request, StatusCode};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::timeout;

use crate::https::{self, Https, Terms};

/// One request and its answer's head.
const WITHIN: Duration = Duration::from_secs(30);
/// Connections are opened anew where a CA has been left alone for so long.
const TERMS: Terms = Terms { plain: false, connect_within: None, idle: Duration::from_secs(20) };
/// The longest that is waited because a CA says so: its own limits forget within a week, and no certificate should expire
/// over a slip of the pen.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 86_400);

tokio::task_local! {
    /// How long the CA last said to wait, of the order under way in this task.
    static SAID_TO_WAIT: Cell<Option<Duration>>;
}

/// Runs an order, and hands back beside its outcome how long the CA said to wait, where it did.
pub async fn hearing_of_waits<T>(order: impl Future<Output = T>) -> (T, Option<Duration>) {
    let hearing = async { (order.await, SAID_TO_WAIT.with(Cell::get)) };
    SAID_TO_WAIT.scope(Cell::new(None), hearing).await
}

/// What a CA is spoken to with.
#[derive(Clone)]
pub struct Http(Https);

/// Why a CA cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum HttpProblem {
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("its trusted CAs were not read: {0}")]
    Unread(#[from] tokio::task::JoinError),
    #[error("{file}: {why}")]
    Trust { file: String, why: String },
    #[error("this system has no certificates of CAs to trust: install ca-certificates, or name a file as acme.ca")]
    NoRoots,
}

impl Http {
    /// Trusts the CAs in this PEM file, or the system's.
    pub fn trusting(file: Option<&Path>) -> Result<Self, HttpProblem> {
        let roots = match file {
            Some(file) => {
                let mut roots = RootCertStore::empty();
                let problem = |why: String| HttpProblem::Trust { file: file.display().to_string(), why };
                let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
                for root in read.map_err(|why| problem(why.to_string()))? {
                    roots.add(root).map_err(|why| problem(why.to_string()))?;
                }
                roots
            }
            None => https::system(),
        };
        if roots.is_empty() {
            return Err(HttpProblem::NoRoots);
        }
        Ok(Self(Https::trusting(roots, TERMS)?))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http = self.0.clone();
        Box::pin(async move {
            let mut answer = match timeout(WITHIN, http.begin(request.map(Body::new))).await {
                Ok(answer) => answer.map_err(|error| Error::Other(error.into()))?,
                Err(_) => return Err(Error::Other(format!("no answer within {WITHIN:?}").into())),
            };
            let status = answer.status();
            let said = answer.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap_or_default());
            let said = said.and_then(|said| wait(said, SystemTime::now()));
            // The library adds it to the time of day as it stands.
            match said {
                Some(said) => drop(answer.headers_mut().insert(RETRY_AFTER, said.as_secs().into())),
                None => drop(answer.headers_mut().remove(RETRY_AFTER)),
            }
            if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                let _ = SAID_TO_WAIT.try_with(|wait| wait.set(said));
            }
            let headers = answer.headers();
            // A page of whatever stands in front of the CA says nothing of the order.
            let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            if status.is_server_error() && !kind.contains("json") {
                return Err(Error::Other(format!("it answers {status}").into()));
            }
            Ok(BytesResponse::from(answer))
        })
    }
}

/// What `Retry-After` says: seconds or a date (RFC 9110, 10.2.3), and no more than the longest that is heeded.
fn wait(said: &str, now: SystemTime) -> Option<Duration> {
    let said = said.trim();
    let wait = if !said.is_empty() && said.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(said.parse().unwrap_or(u64::MAX)) // too many digits
    } else {
        httpdate::parse_http_date(said).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date_and_never_longer_than_a_week() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_000); // Sun, 06 Nov 1994 08:36:40 GMT
        let seconds = |said| wait(said, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(777));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0), "that is over");
        for long in ["604801", "18446744073709551615", "99999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(seconds(long), Some(604_800), "{long}");
        }
        for neither in ["", "soon", "-1", "1.5", "+5"] {
            assert_eq!(seconds(neither), None, "{neither:?}");
        }
    }
}
