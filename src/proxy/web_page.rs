//! What a browser is shown where a web application cannot be reached: a page in the place of a refusal's JSON, under the
//! headers that the dashboard's own pages have. It loads nothing, so that it may be shown whatever is away.

use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pingora::http::RequestHeader;

use super::exchange::Exchange;
use super::refuse::{Reason, Refusal};

pub const KIND: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
];

/// None: whoever asks is no browser that opens a page, or nothing is away. Its texts are words of ours alone.
pub fn instead_of(refusal: &Refusal, exchange: &Exchange, asked: &RequestHeader) -> Option<String> {
    let away = matches!(refusal.reason, Reason::UpstreamUnavailable | Reason::UpstreamTimeout | Reason::UpstreamError);
    if !away || exchange.endpoint.get().is_some() || !opens_a_page(asked) {
        return None;
    }
    let (status, request) = (refusal.status(), exchange.id.0);
    let again = match refusal.retry_after_seconds() {
        Some(seconds) => format!("Try again in {seconds} seconds."),
        None => "Try again in a moment.".to_owned(),
    };
    Some(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"dark light\">\n<title>{status}</title>\n\
         <h1>This page cannot be shown at the moment</h1>\n\
         <p>The application behind it does not answer. {again}</p>\n<p>Request {request}</p>\n"
    ))
}

/// Adds what no page is without.
pub fn seal(headers: &mut HeaderMap) {
    headers.extend(HEADERS);
}

/// Whether HTML is asked for by its name, and nothing that JSON is rather (RFC 9110, 12.5.1).
fn opens_a_page(asked: &RequestHeader) -> bool {
    if !matches!(asked.method, Method::GET | Method::HEAD) {
        return false;
    }
    let (mut html, mut json) = (0.0_f32, 0.0_f32);
    let named = asked.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in named.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix(['q', 'Q'])?.trim_start().strip_prefix('='));
        let weight = weight.map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0));
        match kind.as_str() {
            "text/html" => html = html.max(weight),
            "application/json" | "application/*" | "*/*" => json = json.max(weight),
            _ => {}
        }
    }
    html > 0.0 && html >= json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens(accepted: &[&'static str]) -> bool {
        let mut asked = RequestHeader::build("GET", b"/", None).unwrap();
        for value in accepted {
            asked.append_header(ACCEPT, *value).unwrap();
        }
        opens_a_page(&asked)
    }

    #[test]
    fn a_page_is_for_who_would_rather_have_one() {
        for browser in [
            &["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"][..],
            &["text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8"],
            &["TEXT/HTML ; Q=0.5"],
            &["application/json;q=0.9", "text/html"],
            &["text/html;level=1;q=0.7, application/json;q=0.2"],
        ] {
            assert!(opens(browser), "{browser:?}");
        }
        for program in [
            &[][..],
            &["*/*"],
            &["text/html;q=0"],
            &["text/html; q=0.000"],
            &["application/json;q=1, text/html;q=0.1"],
            &["text/html;q=0.3, */*"],
            &["text/html;q=nan"],
            &["text/htmlx, text/plain"],
        ] {
            assert!(!opens(program), "{program:?}");
        }
    }
}
