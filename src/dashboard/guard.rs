//! What stands before and behind every page: no post from another site, and the headers each answer has.

use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::cookies::Origin;
use super::pages::failure;
use super::visitor::Visitor;

/// Scripts and styles are files of ours; nothing is framed, and no form leads elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const PERMISSIONS: &str = "camera=(), microphone=(), geolocation=(), payment=(), usb=()";

/// Makes the visitor known to the pages behind, refuses what another site sent, and seals the answer.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let visitor = Visitor::of(&parts);
    let foreign = !matches!(parts.method, Method::GET | Method::HEAD) && is_foreign(&parts.headers, &visitor.origin);
    let mut answer = if foreign {
        failure::page(&visitor, None, StatusCode::FORBIDDEN, failure::Failure::Foreign)
    } else {
        parts.extensions.insert(visitor);
        next.run(Request::from_parts(parts, body)).await
    };
    seal(answer.headers_mut());
    answer
}

/// Whether a browser says that another site made this request. Who is no browser says nothing, and has no cookie to lose.
fn is_foreign(headers: &HeaderMap, origin: &Origin) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site == b"cross-site" || site == b"same-site") {
        return true;
    }
    headers.get(ORIGIN).is_some_and(|named| !named.as_bytes().eq_ignore_ascii_case(origin.url().as_bytes()))
}

fn seal(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("permissions-policy"), HeaderValue::from_static(PERMISSIONS));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    // Assets say for themselves how long they keep.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_site_sends_is_told_from_what_is_our_own() {
        let origin = Origin { https: true, host: "edge.example.org".to_owned(), client: None };
        let foreign = |name: &'static str, value: &'static str| {
            is_foreign(
                &HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]),
                &origin,
            )
        };
        assert!(foreign("sec-fetch-site", "cross-site") && foreign("sec-fetch-site", "same-site"));
        assert!(foreign("origin", "https://evil.example") && foreign("origin", "null"));
        assert!(foreign("origin", "http://edge.example.org"), "the scheme is part of an origin");
        assert!(foreign("origin", "https://edge.example.org:8443"), "and so is the port");
        assert!(!foreign("origin", "https://edge.example.org") && !foreign("sec-fetch-site", "same-origin"));
        assert!(!foreign("sec-fetch-site", "none") && !is_foreign(&HeaderMap::new(), &origin));
    }
}
