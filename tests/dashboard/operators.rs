//! The operator's page: for operators alone.

use std::sync::Arc;

use crate::client::ask;
use crate::doubles::{Api, Setting, start};

#[tokio::test]
async fn members_see_neither_the_page_nor_the_way_to_it() {
    let api = Arc::new(Api::new("member", false, 12));
    let stand = start(Setting { api, ..Setting::default() }).await;
    let page = stand.get("/operator").await;
    assert_eq!(page.status, 403);
    assert!(!page.body.contains("litellm") && !page.body.contains("href=\"/operator\""));
    assert!(!stand.asked().iter().any(|asked| asked.contains("/operator")));
}

#[tokio::test]
async fn an_operator_sees_breakers_problems_and_accounts_and_gets_links_once() {
    let stand = start(Setting::default()).await;
    let page = stand.get("/operator").await;
    assert_eq!(page.status, 200);
    for said in [
        "litellm-b:4000",
        "Open: left alone",
        "no upstream &quot;dashbord&quot;",
        "server.threads",
        "web <span class=\"soft\">(no route leads here)</span>",
        "grace@example.org",
    ] {
        assert!(page.body.contains(said), "{said}");
    }
    let slip = stand.post("/operator/users", "email=new%40example.org&role=member&daily_requests=many&once=a").await;
    assert_eq!(slip.status, 422);
    let made = stand.post("/operator/users", "email=new%40example.org&role=member&once=a").await;
    assert!(made.body.contains(&format!("http://{}/sign-in/link#cfx_link_", stand.address)));
    let invited = stand.post("/operator/invitations", "email=&role=member&once=b").await;
    assert!(invited.body.contains("/register#cfx_link_"));
    let again = stand.post("/operator/invitations", "email=&role=member&once=b").await;
    assert_eq!((again.status, again.header("location")), (303, "/operator?said=already_done"));
    let reloaded = stand.post("/operator/reload", "").await;
    assert_eq!((reloaded.status, reloaded.header("location")), (303, "/operator?said=reloaded"));
}

#[tokio::test]
async fn an_operator_gives_the_role_of_operator_and_takes_it_back_but_not_their_own() {
    let stand = start(Setting::default()).await;
    let page = stand.get("/operator").await;
    assert!(page.body.contains("Make operator: grace@example.org"));
    assert!(!page.body.contains("Make member: ada@example.org") && !page.body.contains("4294967295"));
    let cookies = format!("{}; cfx_language=tr", stand.cookie());
    let turkish = ask(stand.address, "GET /operator", &[("cookie", &cookies)], "").await;
    assert!(turkish.body.contains("Operatör yap: grace@example.org"));
    for role in ["operator", "member"] {
        let path = "/operator/users/00000000-0000-0000-0000-000000000008";
        let answer = stand.post(path, &format!("role={role}")).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/operator?said=user_changed"));
        let (id, change) = stand.api.changes.lock().unwrap().last().cloned().unwrap();
        assert!(id.as_u128() == 8 && change["role"] == role, "{change}");
    }
}
