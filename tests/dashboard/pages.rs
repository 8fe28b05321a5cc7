//! Every page: there, in both languages, empty, and when what it is made from is away.

use crate::client::ask;
use crate::doubles::{Setting, Told, start};

pub const PAGES: [&str; 8] = [
    "/",
    "/logs",
    "/logs/0197f9a1-b2c3-7d4e-8f90-000000000001",
    "/keys",
    "/connect",
    "/playground",
    "/operator",
    "/account",
];

#[tokio::test]
async fn every_page_is_whole_in_both_languages() {
    let stand = start(Setting::default()).await;
    for path in PAGES {
        for (language, word) in [("en", "Sign out"), ("tr", "Çıkış yap")] {
            let cookie = format!("{}; cfx_language={language}", stand.cookie());
            let page = ask(stand.address, &format!("GET {path}"), &[("cookie", &cookie)], "").await;
            assert_eq!(page.status, 200, "{path}");
            assert!(page.body.contains(&format!("<html lang=\"{language}\"")) && page.body.contains(word), "{path}");
            assert!(page.body.ends_with("</html>") && page.body.matches("<h1>").count() == 1, "{path}");
        }
    }
}

#[tokio::test]
async fn the_overview_tells_the_day_and_what_is_left_of_it() {
    let stand = start(Setting::default()).await;
    let page = stand.get("/").await.body;
    for said in [
        "Quota resets at 00:00 UTC",
        "data-countdown",
        "412 ms",
        "p95 9.8 s",
        "claude-sonnet",
        "application/json",
        "<table",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

#[tokio::test]
async fn a_page_asks_the_edge_no_more_than_it_needs() {
    let stand = start(Setting::default()).await;
    for (path, needs) in [
        ("/", vec!["GET /api/me"]),
        ("/logs", vec!["GET /api/keys", "GET /api/me", "GET /api/models"]),
        ("/logs", vec!["GET /api/keys", "GET /api/me"]),
    ] {
        stand.api.asked.lock().unwrap().clear();
        assert_eq!(stand.get(path).await.status, 200);
        let mut asked = stand.api.asked.lock().unwrap().clone();
        asked.sort();
        assert_eq!(asked, needs, "{path}: models are every user's, and known for a while");
    }
}

#[tokio::test]
async fn stages_are_asked_for_by_the_names_that_lists_of_models_have() {
    let stand = start(Setting::default()).await;
    let connect = stand.get("/connect").await.body;
    for said in [
        "<code>cfx-plan</code>",
        "<code>cfx-review</code>",
        "cfx-plan for Architect, cfx-code for Code",
        "cfx-plan in Plan mode, cfx-code in Act mode",
        "\n    model: cfx-code\n",
        "model = &quot;cfx-code&quot;\n",
        "ANTHROPIC_MODEL=cfx-code\n",
        "{&quot;model&quot;: &quot;cfx-plan&quot;",
        "model=&quot;cfx-code&quot;,",
        "model: &quot;cfx-code&quot;,",
    ] {
        assert!(connect.contains(said), "{said}");
    }
    assert!(!connect.contains("{plan}") && !connect.contains("{code}"));
    let playground = stand.get("/playground").await.body;
    assert!(playground.contains("<option value=\"cfx-plan\">cfx-plan — claude-sonnet</option>"), "{playground}");
}

#[tokio::test]
async fn where_nothing_was_asked_pages_say_what_to_do() {
    let stand = start(Setting { told: Told::Nothing, ..Setting::default() }).await;
    assert!(stand.get("/").await.body.contains("Nothing has been asked yet."));
    assert!(stand.get("/logs").await.body.contains("No requests yet"));
    assert!(stand.get("/logs?stage=plan").await.body.contains("No request matches"));
}

#[tokio::test]
async fn older_requests_are_a_page_away_and_the_filter_goes_with_them() {
    let stand = start(Setting::default()).await;
    let mut path = "/logs?status=success".to_owned();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..10 {
        let page = stand.get(&path).await;
        assert_eq!(page.status, 200);
        for link in page.body.split("<a href=\"/logs/").skip(1) {
            assert!(seen.insert(link[..36].to_owned()), "a request is on two pages");
        }
        assert!(page.body.contains("/api/logs/export?status=success&amp;format=csv"));
        let Some(older) = page.body.split("href=\"/logs?").find(|part| part.contains("rel=\"next\"")) else { break };
        path = format!("/logs?{}", older.split('"').next().unwrap().replace("&amp;", "&"));
        assert!(path.starts_with("/logs?status=success&before="), "{path}");
    }
    assert!(seen.len() > 100, "{}", seen.len());
}

#[tokio::test]
async fn absurd_filters_are_told_and_break_nothing() {
    let stand = start(Setting::default()).await;
    for (query, words) in [
        ("from=yesterday", "“From” is no date"),
        ("until=99999-99-99", "“Until” is no date"),
        ("from=2026-02-01&until=2026-01-31", "“From” is after “Until”"),
        ("stage=%3Cscript%3E", "“Stage” is none of those in the list"),
        ("status=%00", "“Status” is none"),
        ("key='%20or%201=1", "“Key” is none"),
        ("key=0197f9a1b2c37d4e8f90000000000001", "“Key” is none"),
        ("key={0197f9a1-b2c3-7d4e-8f90-000000000001}", "“Key” is none"),
        ("error=a%09b", "“Error” holds a control character"),
        ("before=1", "This address does not say where the page begins"),
    ] {
        let page = stand.get(&format!("/logs?{query}")).await;
        assert_eq!(page.status, 400, "{query}");
        assert!(page.body.contains(words) && !page.body.contains("/api/logs/export"), "{query}: {}", page.body);
    }
    let long = format!("/logs?session={}", "%C5%9F".repeat(256));
    assert_eq!(stand.get(&long).await.status, 200, "as many letters as the export takes, in any script");
    let page = stand.get(&format!("{long}x")).await;
    assert_eq!(page.status, 400);
    assert!(page.body.contains("“Session” has more than 256 characters."));
    for id in ["nope", "0197f9a1-b2c3-7d4e-8f90-0000000000ff", "%2e%2e%2f"] {
        assert_eq!(stand.get(&format!("/logs/{id}")).await.status, 404, "{id}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_plain_words() {
    let stand = start(Setting::default()).await;
    let failed = (0..137).map(|id| format!("/logs/0197f9a1-b2c3-7d4e-8f90-{id:012x}"));
    let mut said = String::new();
    for path in failed.take(40) {
        said.push_str(&stand.get(&path).await.body);
    }
    for words in
        ["The provider did not answer in time.", "The requests of this UTC day were used up.", "The edge was full."]
    {
        assert!(said.contains(words), "{words}");
    }
}

#[tokio::test]
async fn the_edge_away_is_said_and_nothing_else_breaks() {
    let stand = start(Setting { edge_away: true, ..Setting::default() }).await;
    let page = stand.get("/keys").await;
    assert_eq!(page.status, 502);
    assert!(page.body.contains("The edge does not answer") && page.header("set-cookie").is_empty());
    assert_eq!(ask(stand.address, "GET /sign-in", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_store_that_is_away_is_said_within_the_frame() {
    let stand = start(Setting { told: Told::Fails, ..Setting::default() }).await;
    for path in ["/", "/logs", PAGES[2]] {
        let page = stand.get(path).await;
        assert_eq!(page.status, 503, "{path}");
        assert!(page.body.contains("href=\"/keys\"") && page.body.contains("could not be read"), "{path}");
        assert!(!page.body.contains("away\""), "nothing of the store's own words");
    }
    assert_eq!(stand.get("/keys").await.status, 200);
}

#[tokio::test]
async fn a_session_that_ends_while_a_page_is_made_is_led_to_sign_in() {
    let stand = start(Setting { told: Told::Over, ..Setting::default() }).await;
    for path in ["/", "/logs", PAGES[2]] {
        let page = stand.get(path).await;
        assert_eq!((page.status, page.header("location").starts_with("/sign-in")), (303, true), "{path}");
    }
}

#[tokio::test]
async fn a_question_that_took_too_long_says_to_narrow_the_time_in_both_languages() {
    let stand = start(Setting { told: Told::TooMuch, ..Setting::default() }).await;
    for path in ["/", "/logs", PAGES[2]] {
        for (language, words) in [("en", "arrow the time"), ("tr", "aralığını")] {
            let cookies = format!("{}; cfx_language={language}", stand.cookie());
            let page = ask(stand.address, &format!("GET {path}"), &[("cookie", &cookies)], "").await;
            assert_eq!(page.status, 503, "{path}");
            assert!(page.body.contains(words) && !page.body.contains("did not answer"), "{path} {language}");
        }
    }
}
