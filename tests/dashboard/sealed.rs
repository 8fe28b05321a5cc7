//! Headers of every answer, other sites' posts, and assets.

use crate::client::ask;
use crate::doubles::{Setting, start};
use crate::pages::PAGES;

#[tokio::test]
async fn every_answer_is_sealed() {
    let stand = start(Setting::default()).await;
    let more = ["/sign-in/link", "/register", "/nothing", "/assets/nothing.css", "/logs/nothing"];
    for path in PAGES.into_iter().chain(more) {
        for cookie in [stand.cookie(), String::new()] {
            let answer = ask(stand.address, &format!("GET {path}"), &[("cookie", &cookie)], "").await;
            let policy = answer.header("content-security-policy");
            assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
            assert!(!policy.contains("unsafe"), "{path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
            assert!(answer.header("permissions-policy").contains("camera=()"), "{path}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        }
    }
}

#[tokio::test]
async fn pages_have_no_script_or_style_of_their_own() {
    let stand = start(Setting::default()).await;
    for path in PAGES {
        let body = stand.get(path).await.body;
        assert!(!body.contains(" style=") && !body.contains("<style") && !body.contains(" onclick="), "{path}");
        let scripts = body.split("<script").skip(1);
        for script in scripts {
            assert!(script.starts_with(" src=\"/assets/") || script.contains("type=\"application/json\">"), "{path}");
        }
    }
}

#[tokio::test]
async fn what_another_site_sends_is_refused() {
    let stand = start(Setting::default()).await;
    let form = format!("csrf={}", stand.api.token.csrf());
    let cookie = stand.cookie();
    for said in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        for path in ["/sign-in", "/sign-out", "/keys", "/preferences"] {
            let answer = ask(stand.address, &format!("POST {path}"), &[said, ("cookie", &cookie)], &form).await;
            assert_eq!((answer.status, answer.header("set-cookie")), (403, ""), "{path} {said:?}");
        }
    }
    let own = format!("http://{}", stand.address);
    let told = [("origin", own.as_str()), ("sec-fetch-site", "same-origin"), ("cookie", &cookie)];
    assert_eq!(ask(stand.address, "POST /sign-out", &told, &form).await.status, 303);
    assert_eq!(stand.asked().iter().filter(|asked| asked.starts_with("POST")).count(), 1);
}

#[tokio::test]
async fn assets_are_kept_for_good_and_asked_for_by_what_is_in_them() {
    let stand = start(Setting::default()).await;
    let page = stand.get("/").await.body;
    let paths: Vec<&str> = page.split("\"/assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(paths.len() >= 6, "{paths:?}");
    for path in paths {
        let line = format!("GET /assets/{path}");
        let asset = ask(stand.address, &line, &[], "").await;
        assert_eq!((asset.status, asset.header("cache-control")), (200, "max-age=31536000, immutable"), "{path}");
        let kind = match path.rsplit('.').next() {
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(asset.header("content-type"), kind, "{path}");
        let again = ask(stand.address, &line, &[("if-none-match", asset.header("etag"))], "").await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
    }
}

#[tokio::test]
async fn bodies_beyond_any_form_are_refused() {
    let stand = start(Setting::default()).await;
    let large = format!("email=a&password={}", "x".repeat(100_000));
    assert_eq!(ask(stand.address, "POST /sign-in", &[], &large).await.status, 413);
    assert_eq!(stand.post("/keys", &large).await.status, 413);
}

#[tokio::test]
async fn a_wrong_method_is_no_page() {
    let stand = start(Setting::default()).await;
    for line in ["DELETE /keys", "PUT /", "POST /logs", "GET /sign-out", "GET /preferences"] {
        let answer = ask(stand.address, line, &[("cookie", &stand.cookie())], "").await;
        assert!([403, 405].contains(&answer.status), "{line}: {}", answer.status);
    }
}
