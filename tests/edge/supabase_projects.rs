//! A Supabase project that is named in the configuration, and another in its place after a reload: through the real binary, its
//! control API and its pages.

use std::sync::Arc;

use cfx::clock::SystemClock;
use serde_json::json;

use crate::gotrue::{ANON_KEY, Gotrue, Signer};
use crate::harness::{Answer, Client, Harness, Request};
use crate::reloading::{reload, rewrite, told};

const PASSWORD: &str = "correct horse battery";

fn ask(edge: &Harness, request: &Request) -> Answer {
    // By this name passwords may go in plain http.
    Client::plain(edge.http).ask(&request.clone().instead("Host", "localhost"))
}

/// Signs in by the page; the session's cookie, or the status that was answered in its place.
fn by_page(edge: &Harness, email: &str) -> Result<String, u16> {
    let form = format!("email={}&password={}", email.replace('@', "%40"), PASSWORD.replace(' ', "+"));
    let form = Request::post("/sign-in", form).instead("Content-Type", "application/x-www-form-urlencoded");
    let answer = ask(edge, &form);
    match answer.header("set-cookie") {
        Some(cookie) if answer.status == 303 => Ok(cookie.split(';').next().unwrap().to_owned()),
        _ => Err(answer.status),
    }
}

fn exchange(edge: &Harness, token: &str) -> Answer {
    ask(edge, &Request::post("/api/login/supabase", json!({ "access_token": token }).to_string()))
}

fn account_page(edge: &Harness, cookie: &str) -> Answer {
    ask(edge, &Request::get("/account").header("Cookie", cookie))
}

#[test]
fn another_project_is_taken_over_by_a_reload() {
    let clock = || Arc::new(SystemClock);
    let (first, second) = (Gotrue::start(Signer::curve("one"), clock()), Gotrue::start(Signer::rsa("one"), clock()));
    first.add_user("grace@example.org", PASSWORD);
    second.add_user("bob@example.org", PASSWORD);
    let identity = format!("identity: {{ supabase: {{ url: \"{}\", anon_key: \"{ANON_KEY}\" }} }}", first.url);
    let edge = told()
        .edge(&identity)
        .route("match: { host: localhost, path: /api/ }, control: true")
        .route("match: { host: localhost }, dashboard: true")
        .start();
    let grace = by_page(&edge, "grace@example.org").expect("she signs in");
    let page = account_page(&edge, &grace);
    assert!(page.status == 200 && page.text().contains("grace@example.org"), "{page}");
    assert_eq!(by_page(&edge, "bob@example.org"), Err(401), "he is nobody's");
    assert_eq!(exchange(&edge, &first.issue("grace@example.org")).status, 200);
    assert_eq!(exchange(&edge, &second.issue("bob@example.org")).code(), "invalid_token");

    rewrite(&edge, "cfx.yaml", &first.url, &second.url);
    let said = reload(&edge);
    assert_eq!(said.json()["changed"][0]["path"], "identity.supabase.url", "{said}");
    assert!(!said.text().contains(ANON_KEY), "{said}");

    assert_eq!(exchange(&edge, &first.issue("grace@example.org")).code(), "invalid_token");
    assert_eq!(by_page(&edge, "grace@example.org"), Err(401), "her password is no longer anybody's");
    assert_eq!(exchange(&edge, &second.issue("bob@example.org")).status, 200);
    let bob = by_page(&edge, "bob@example.org").expect("he signs in");
    let page = account_page(&edge, &bob);
    assert!(page.status == 200 && page.text().contains("bob@example.org"), "{page}");
    assert_eq!(account_page(&edge, &grace).status, 200, "a session of ours is hers until it ends");
    assert_eq!(ask(&edge, &Request::get("/sign-in")).status, 200);
}

#[test]
fn nothing_of_a_sign_in_by_supabase_is_logged() {
    let gotrue = Gotrue::start(Signer::curve("one"), Arc::new(SystemClock));
    gotrue.add_user("grace@example.org", PASSWORD);
    let identity = format!("identity: {{ supabase: {{ url: \"{}\", anon_key: \"{ANON_KEY}\" }} }}", gotrue.url);
    let edge = told()
        .environment("CFX_LOG", "trace")
        .edge(&identity)
        .route("match: { host: localhost, path: /api/ }, control: true")
        .route("match: { host: localhost }, dashboard: true")
        .start();
    let cookie = by_page(&edge, "grace@example.org").expect("she signs in");
    let token = gotrue.issue("grace@example.org");
    assert_eq!(exchange(&edge, &token).status, 200);
    let form = Request::post("/sign-in", "email=grace%40example.org&password=hunter2+of+grace");
    ask(&edge, &form.instead("Content-Type", "application/x-www-form-urlencoded"));
    let log = edge.process.log();
    assert!(!log.is_empty());
    let session = cookie.split_once('=').unwrap().1;
    for secret in [PASSWORD, "correct+horse", "hunter2", ANON_KEY, &*token, session] {
        assert!(!log.contains(secret), "{secret} was logged");
    }
}
