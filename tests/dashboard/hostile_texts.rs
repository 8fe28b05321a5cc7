//! Texts that mean harm, wherever somebody else's text is shown.

use std::sync::Arc;

use crate::doubles::{Api, Setting, Told, start};
use crate::pages::PAGES;

#[tokio::test]
async fn no_text_becomes_markup() {
    let api = Arc::new(Api::new("operator", true, 12));
    let stand = start(Setting { told: Told::Hostile, api, ..Setting::default() }).await;
    let mut shown = 0;
    let mut bodies: Vec<(String, String)> = Vec::new();
    for path in PAGES {
        bodies.push((path.to_owned(), stand.get(path).await.body));
    }
    let query =
        "model=%22%3E%3Cscript%3Ealert('1')%3C/script%3E&session=%3Cscript%3Ealert('1')&error=%3Cscript%3Ealert('1')";
    bodies.push(("/logs?…".to_owned(), stand.get(&format!("/logs?{query}")).await.body));
    let form = "email=%3Cscript%3Ealert('1')%3C/script%3E&password=x";
    bodies.push(("sign-in".to_owned(), stand.post("/sign-in", form).await.body));
    for (path, body) in bodies {
        assert!(!body.contains("<script>"), "{path}");
        shown += body.matches("&lt;script&gt;alert('1')").count();
    }
    assert!(shown > 20, "{shown}: the texts are shown, as text");
}

#[tokio::test]
async fn letters_of_a_label_that_turn_others_are_written_out() {
    let api = Arc::new(Api::new("member", true, 12));
    let stand = start(Setting { api, ..Setting::default() }).await;
    let keys = stand.get("/keys").await.body;
    assert!(keys.contains("\\u{202e}שלום👩‍💻"), "{keys}");
    // As they are only where they are to be changed.
    let turned = keys.lines().flat_map(|line| line.split('<')).filter(|tag| tag.contains('\u{202e}'));
    assert!(turned.clone().all(|tag| tag.starts_with("input ")), "{:?}", turned.collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_query_says_is_no_message_of_ours() {
    let stand = start(Setting::default()).await;
    for path in ["/keys", "/account", "/operator", "/sign-in"] {
        let page = stand.get(&format!("{path}?said=Your+account+is+gone")).await;
        assert!(!page.body.contains("account is gone"), "{path}");
    }
}
