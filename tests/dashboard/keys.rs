//! Keys: shown once, changed and revoked through the control API, and only by the session's own forms.

use std::num::NonZeroU32;

use crate::client::{Answer, ask};
use crate::doubles::{Setting, Told, start};

const ONE: &str = "/keys/00000000-0000-0000-0000-000000000001";

#[tokio::test]
async fn a_key_is_shown_by_the_answer_that_made_it_and_by_no_other() {
    let stand = start(Setting::default()).await;
    let page = stand.get("/keys").await;
    let once = page.field("once").to_owned();
    let form = format!("once={once}&label=Laptop+2&expires=30&stages=plan&stages=code");
    let made = stand.post("/keys", &form).await;
    assert_eq!(made.status, 200);
    assert_eq!(made.body.matches("cfx_live_7Hq2mZk9TbXw4RnPd8vLsYc3JfGa6UeK1oQi5Bt0MhNx").count(), 1);
    assert!(!stand.get("/keys").await.body.contains("TbXw4RnPd8vLsYc3"));
    let again = stand.post("/keys", &form).await;
    assert_eq!(
        (again.status, again.header("location")),
        (303, "/keys?said=already_done"),
        "the same form makes no second key"
    );
    assert_eq!(stand.asked().iter().filter(|asked| *asked == "POST /api/keys").count(), 1);
}

#[tokio::test]
async fn a_key_is_revoked_renamed_and_replaced() {
    let stand = start(Setting::default()).await;
    for (path, form, to) in [
        (format!("{ONE}/revoke"), "", "/keys?said=key_revoked"),
        (format!("{ONE}/rename"), "label=New", "/keys?said=key_changed"),
        (format!("{ONE}/expiry"), "expires=", "/keys?said=key_changed"),
    ] {
        let answer = stand.post(&path, form).await;
        assert_eq!((answer.status, answer.header("location")), (303, to));
    }
    assert!(stand.get("/keys?said=key_revoked").await.body.contains("The key was revoked."));
    let rotated = stand.post(&format!("{ONE}/rotate"), "overlap=86400&once=x").await;
    assert!(rotated.status == 200 && rotated.body.contains("cfx_live_7Hq2mZk9TbXw4RnPd8vLsYc3"));
    let unknown = stand.post("/keys/00000000-0000-0000-0000-0000000000ff/revoke", "").await;
    assert_eq!(unknown.status, 404, "another's key is as if it were not there");
}

/// A key is not to last for longer than somebody meant because of what no form of ours sends.
#[tokio::test]
async fn what_no_form_sends_makes_no_key_that_never_ends() {
    let stand = start(Setting::default()).await;
    for (path, form) in [
        ("/keys".to_owned(), "label=a&expires=99999"),
        ("/keys".to_owned(), "label=a&expires=-1"),
        ("/keys".to_owned(), "label=a&expires=never"),
        (format!("{ONE}/expiry"), "expires=junk"),
        (format!("{ONE}/expiry"), "expires=0"),
        (format!("{ONE}/rotate"), "once=z&overlap=junk"),
        (format!("{ONE}/rotate"), "once=z&overlap=-1"),
        (format!("{ONE}/rotate"), "once=z"),
    ] {
        let answer = stand.post(&path, form).await;
        assert_eq!(answer.status, 422, "{path} {form}");
        assert!(answer.body.contains(r#"class="notice bad""#), "it says why: {path} {form}");
    }
    assert!(stand.asked().iter().all(|asked| asked.starts_with("GET ")), "{:?}", stand.asked());
}

#[tokio::test]
async fn what_is_no_id_is_a_page_that_is_not_there() {
    let stand = start(Setting::default()).await;
    for path in ["/keys/x/revoke", "/keys/%ff/rename", "/operator/users/x", "/operator/users/1/link"] {
        let answer = stand.post(path, "").await;
        assert!(answer.status == 404 && answer.body.contains("Nothing here"), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_form_without_the_sessions_proof_does_nothing() {
    let stand = start(Setting::default()).await;
    for form in ["", "csrf=", "csrf=00000000000000000000000000000000"] {
        for path in
            ["/keys", "/sign-out", "/operator/reload", "/account/password", "/playground/key", &format!("{ONE}/revoke")]
        {
            let answer = stand.post_bare(path, form).await;
            assert_eq!(answer.status, 403, "{path} {form}");
            assert!(answer.body.contains("This page was out of date"));
        }
    }
    let changed = stand.asked().into_iter().filter(|asked| !asked.starts_with("GET ")).collect::<Vec<_>>();
    assert_eq!(changed, Vec::<String>::new());
}

#[tokio::test]
async fn what_was_filled_in_is_there_again_beside_what_was_wrong() {
    let stand = start(Setting { told: Told::Nothing, ..Setting::default() }).await;
    let long = "é".repeat(101);
    let answer = stand.post("/keys", &format!("once=y&label={long}&stages=review&daily_requests=9")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("at most 100 characters") && answer.body.contains(&long));
    assert!(answer.body.contains(r#"name="stages" value="review" checked"#));
    let mended = stand.post("/keys", "once=y&label=short&stages=review&daily_requests=9").await;
    assert!(
        mended.status == 200 && mended.body.contains("cfx_live_7Hq2mZk9TbXw4RnPd8vLsYc3"),
        "it was not done before"
    );
    let number = stand.post("/keys", "label=a&daily_requests=many").await;
    assert!(number.status == 422 && number.body.contains("A limit is a whole number"));
}

#[tokio::test]
async fn the_playgrounds_key_is_told_to_its_script_alone() {
    let stand = start(Setting::default()).await;
    let answer = stand.post("/playground/key", "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert!(answer.body.contains(r#""key":"cfx_live_playground""#));
    assert!(!stand.get("/playground").await.body.contains("cfx_live_playground"));
}

#[tokio::test]
async fn the_playgrounds_script_is_told_in_words_why_it_has_no_key() {
    let stand = start(Setting { pages: NonZeroU32::new(5), ..Setting::default() }).await;
    let cookies = format!("{}; cfx_language=tr", stand.cookie());
    let by_script = [("cookie", &*cookies), ("accept", "application/json")];
    let message = |answer: &Answer| {
        assert_eq!(answer.header("content-type"), "application/json");
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        body["error"]["message"].as_str().unwrap_or_default().to_owned()
    };
    let stale = ask(stand.address, "POST /playground/key", &by_script, "csrf=none").await;
    assert_eq!((stale.status, message(&stale).is_empty()), (403, false));
    let form = format!("csrf={}", stand.api.token.csrf());
    let refused = loop {
        let answer = ask(stand.address, "POST /playground/key", &by_script, &form).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    assert!(message(&refused).contains("Hiçbir şey yapılmadı"), "{}", refused.body);
}
