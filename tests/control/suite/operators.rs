//! What operators see and turn, and members do not.

use cfx::identity::Role;
use hyper::Method;
use serde_json::{Value, json};

use super::start;
use crate::harness::{PASSWORD, Someone};

#[tokio::test]
async fn an_operator_makes_an_account_whose_user_signs_in_by_its_link() {
    let harness = start().await;
    let olga = harness.operator().await;
    let wanted = json!({ "email": "New@Example.org", "daily_requests": 7 });
    let made = harness.post("/api/operator/users", &wanted).by(&olga).send().await.ok(201);
    assert_eq!(made["user"]["email"], "new@example.org");
    assert_eq!(made["user"]["role"], "member");
    assert_eq!(made["expires_at"], "2026-02-01T12:00:00Z");
    harness.post("/api/operator/users", &wanted).by(&olga).send().await.refused(409, "email_taken");
    let signed = harness.post("/api/login/link", &json!({ "link": made["link"] })).send().await;
    assert_eq!(signed.ok(200)["me"]["daily_limit"], 7);
    let path = format!("/api/operator/users/{}/link", made["user"]["id"].as_str().unwrap());
    let again = harness.ask(Method::POST, &path).by(&olga).send().await.ok(201);
    harness.post("/api/login/link", &json!({ "link": again["link"] })).send().await.session(200);
}

#[tokio::test]
async fn an_operator_limits_raises_and_disables() {
    let harness = start().await;
    let (olga, ada) = (harness.operator().await, harness.member().await);
    let path = format!("/api/operator/users/{}", ada.id.0);
    let patch = |body: Value| harness.ask(Method::PATCH, &path).json(&body).by(&olga);
    assert_eq!(patch(json!({ "daily_requests": 5 })).send().await.ok(200)["daily_requests"], 5);
    assert_eq!(harness.get("/api/usage/today").by(&ada).send().await.ok(200)["limit"], 5);
    assert_eq!(patch(json!({ "daily_requests": 0 })).send().await.ok(200)["daily_requests"], Value::Null);
    assert_eq!(patch(json!({})).send().await.ok(200)["role"], "member");
    assert_eq!(patch(json!({ "role": "operator" })).send().await.ok(200)["role"], "operator");
    harness.get("/api/operator/users").by(&ada).send().await.ok(200);
    patch(json!({ "role": "member" })).send().await.ok(200);
    harness.get("/api/operator/users").by(&ada).send().await.refused(403, "not_permitted");
    assert_eq!(patch(json!({ "disabled": true })).send().await.ok(200)["disabled_at"], "2026-01-31T12:00:00Z");
    let link = harness.ask(Method::POST, &format!("{path}/link")).by(&olga).send().await;
    link.refused(409, "account_disabled");
    assert_eq!(patch(json!({ "disabled": false })).send().await.ok(200)["disabled_at"], Value::Null);
    for (body, param) in [
        (json!({ "role": "root" }), "role"),
        (json!({ "daily_requests": 1_000_000_001 }), "daily_requests"),
        (json!({ "daily_requests": -1 }), "daily_requests"),
        (json!({ "email": "x@y" }), "email"),
        (json!({ "disabled": "yes" }), "disabled"),
    ] {
        let refused = patch(body).send().await.refused(400, "invalid_field");
        assert_eq!(refused["error"]["param"], param);
    }
}

#[tokio::test]
async fn an_operator_does_not_lock_themselves_out() {
    let harness = start().await;
    let olga = harness.operator().await;
    let path = format!("/api/operator/users/{}", olga.id.0);
    let patch = |body: Value| harness.ask(Method::PATCH, &path).json(&body).by(&olga);
    assert_eq!(
        patch(json!({ "disabled": true })).send().await.refused(409, "own_account")["error"]["param"],
        "disabled"
    );
    assert_eq!(patch(json!({ "role": "member" })).send().await.refused(409, "own_account")["error"]["param"], "role");
    patch(json!({ "daily_requests": 9, "disabled": false, "role": "operator" })).send().await.ok(200);
}

#[tokio::test]
async fn of_two_operators_who_demote_each_other_at_once_one_is_left() {
    let harness = start().await;
    for (round, body) in
        [json!({ "role": "member" }), json!({ "disabled": true })].into_iter().cycle().take(8).enumerate()
    {
        let olga = harness.someone(&format!("olga{round}@example.org"), Role::Operator).await;
        let otto = harness.someone(&format!("otto{round}@example.org"), Role::Operator).await;
        let patch = |of: &Someone, by: &Someone| {
            let path = format!("/api/operator/users/{}", of.id.0);
            harness.ask(Method::PATCH, &path).json(&body).by(by).send()
        };
        let (hers, his) = tokio::join!(patch(&otto, &olga), patch(&olga, &otto));
        let done = [hers.status, his.status].iter().filter(|status| **status == 200).count();
        assert_eq!(done, 1, "{} {}", hers.status, his.status);
    }
}

#[tokio::test]
async fn an_invitation_is_sent_and_used() {
    let harness = start().await;
    let olga = harness.operator().await;
    let wanted = json!({ "email": "ada@example.org", "role": "operator" });
    let made = harness.post("/api/operator/invitations", &wanted).by(&olga).send().await.ok(201);
    assert_eq!(made["expires_at"], "2026-02-07T12:00:00Z");
    let body = json!({ "email": "ada@example.org", "password": PASSWORD, "invitation": made["link"] });
    let registered = harness.post("/api/register", &body).send().await.ok(201);
    assert_eq!(registered["me"]["role"], "operator");
    harness.post("/api/operator/invitations", &wanted).by(&olga).send().await.refused(409, "email_taken");
    harness.post("/api/operator/invitations", &json!({})).by(&olga).send().await.ok(201);
}

#[tokio::test]
async fn an_operator_sees_users_their_use_and_the_edge() {
    let harness = start().await;
    let (olga, ada) = (harness.operator().await, harness.someone("ada@example.org", Role::Member).await);
    harness.log(ada.id, 60, |_| ()).await;
    let users = harness.get("/api/operator/users").by(&olga).send().await.ok(200);
    let emails: Vec<_> = users.as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap()).collect();
    assert_eq!(emails, ["ada@example.org", "olga@example.org"]);
    assert!(!users.to_string().contains("argon2"));
    let path = format!("/api/operator/users/{}/usage", ada.id.0);
    let of_ada = harness.get(&path).by(&olga).send().await.ok(200);
    assert_eq!((&of_ada["user"]["email"], &of_ada["today"]["requests"]), (&json!("ada@example.org"), &json!(1)));
    assert_eq!(of_ada["days"].as_array().unwrap().len(), 1);
    let nobody = format!("/api/operator/users/{}/usage", uuid::Uuid::nil());
    harness.get(&nobody).by(&olga).send().await.refused(404, "not_found");
    let state = harness.get("/api/operator/state").by(&olga).send().await.ok(200);
    assert_eq!(state["configuration"]["problems"][0], "conf/cfx.yaml:14:7 routes[2]: no");
    let reloaded = harness.ask(Method::POST, "/api/operator/reload").by(&olga).send().await.ok(200);
    assert_eq!(reloaded["ok"], true);
}
