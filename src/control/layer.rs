//! What every request passes and every answer gets: another site's requests are refused, refusals become bodies, and
//! headers tell browsers to do nothing with an answer but read it.

use axum::Json;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ORIGIN, REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::refusal::{Code, Refusal};
use super::visitor::Visitor;

const REQUEST_ID: &str = "x-request-id";
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// For what has none of its own: nothing is loaded, nothing is framed.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

pub(super) async fn dress(request: Request, next: Next) -> Response {
    let request_id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let answer = match own_site(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let mut answer = written(answer, request_id.as_deref());
    let headers = answer.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

pub(super) async fn not_found() -> Refusal {
    Refusal::new(Code::NotFound, "there is nothing at this path: GET /api/openapi.json lists what there is")
}

pub(super) async fn method_not_allowed() -> Refusal {
    Refusal::new(Code::MethodNotAllowed, "this path does not take this method")
}

/// Gives a refusal its body.
fn written(answer: Response, request_id: Option<&str>) -> Response {
    let Some(refusal) = answer.extensions().get::<Refusal>().cloned() else { return answer };
    if let Some(cause) = &refusal.cause {
        tracing::warn!(code = refusal.code.as_str(), request_id, "control API: {cause}");
    }
    let mut written = (answer.status(), Json(refusal.body(request_id))).into_response();
    let kept = answer.headers().iter().map(|(name, value)| (name.clone(), value.clone()));
    for (name, value) in kept {
        written.headers_mut().entry(name).or_insert(value);
    }
    if let Some(seconds) = refusal.retry_after_seconds() {
        written.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    // RFC 9110, 15.5.2: a 401 says how it wants to be asked.
    if answer.status() == StatusCode::UNAUTHORIZED {
        written.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    written
}

/// Refuses what a page of another site made its visitor's browser send. Cookies do not come with it (`SameSite=Strict`);
/// this holds where a browser forgets that, and for signing in, which needs no cookie.
fn own_site(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let refused = || Err(Refusal::new(Code::CrossSite, "another site may not send this"));
    if let Some(site) = headers.get(SEC_FETCH_SITE)
        && (site == "cross-site" || site == "same-site")
    {
        return refused();
    }
    let visitor = Visitor::of(headers);
    for origin in headers.get_all(ORIGIN) {
        if !origin.to_str().is_ok_and(|origin| is_origin_of(origin, &visitor)) {
            return refused();
        }
    }
    Ok(())
}

/// TLS may have ended before us without our being told, so `https` is believed where we see `http`; never the reverse.
fn is_origin_of(origin: &str, visitor: &Visitor) -> bool {
    let (host, port) = match origin.split_once("://") {
        Some(("https", host)) => (host, ":443"),
        Some(("http", host)) if !visitor.https => (host, ":80"),
        _ => return false,
    };
    fn bare<'a>(host: &'a str, port: &str) -> &'a str {
        host.strip_suffix(port).unwrap_or(host)
    }
    !host.is_empty() && bare(&host.to_ascii_lowercase(), port) == bare(&visitor.host, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(method: Method, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        own_site(&method, &headers).is_ok()
    }

    #[test]
    fn only_the_hosts_own_pages_may_send_what_changes_something() {
        let host = ("host", "app.example.org");
        let https = ("x-forwarded-proto", "https");
        assert!(sent(Method::POST, &[host]), "no browser");
        assert!(sent(Method::POST, &[host, https, ("origin", "https://app.example.org")]));
        assert!(sent(Method::POST, &[host, https, ("origin", "https://app.example.org:443")]));
        assert!(sent(Method::POST, &[host, ("origin", "http://app.example.org:80")]));
        assert!(sent(Method::POST, &[host, ("sec-fetch-site", "same-origin")]));
        assert!(sent(Method::GET, &[host, ("origin", "https://evil.example")]), "changes nothing");
        for origin in [
            "https://evil.example",
            "null",
            "",
            "https://app.example.org.evil.example",
            "https://app.example.org:444",
            "app.example.org",
        ] {
            assert!(!sent(Method::POST, &[host, https, ("origin", origin)]), "{origin:?}");
        }
        assert!(
            !sent(Method::POST, &[host, https, ("origin", "http://app.example.org")]),
            "an insecure page of its own"
        );
        assert!(!sent(Method::DELETE, &[host, ("sec-fetch-site", "cross-site")]));
        assert!(!sent(Method::PUT, &[host, ("sec-fetch-site", "same-site")]));
    }
}
