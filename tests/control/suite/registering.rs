//! Making an account of one's own: closed, by invitation, open.

use cfx::config::Registration;
use cfx::identity::{Email, Purpose, Role};
use serde_json::json;

use super::start;
use crate::harness::PASSWORD;

#[tokio::test]
async fn an_invitation_makes_one_account() {
    let harness = start().await;
    let ada = json!({ "email": "ada@example.org", "password": PASSWORD });
    let refused = harness.post("/api/register", &ada).send().await.refused(403, "invalid_invitation");
    assert_eq!(refused["error"]["param"], "invitation");

    let invitation = harness.link(Purpose::Invitation { email: None, role: Role::Operator }).await;
    let invited = |email: &str| json!({ "email": email, "password": PASSWORD, "invitation": invitation });
    let olga = harness.post("/api/register", &invited("Olga@Example.org")).send().await;
    assert_eq!(olga.ok(201)["me"]["role"], "operator");
    harness.get("/api/me").by(&olga.session(201)).send().await.ok(200);
    harness.post("/api/register", &invited("eve@example.org")).send().await.refused(403, "invalid_invitation");
}

#[tokio::test]
async fn an_invitation_for_an_address_is_for_nobody_else() {
    let harness = start().await;
    let email = Some(Email::parse("ada@example.org").unwrap());
    let invitation = harness.link(Purpose::Invitation { email, role: Role::Member }).await;
    let invited = |email: &str| json!({ "email": email, "password": PASSWORD, "invitation": invitation });
    harness.post("/api/register", &invited("eve@example.org")).send().await.refused(403, "invalid_invitation");
    let account = harness.account("bob@example.org", Role::Member, None).await;
    let sign_in = harness.link(Purpose::SignIn(account.id)).await;
    let by_sign_in = json!({ "email": "ada@example.org", "password": PASSWORD, "invitation": sign_in });
    harness.post("/api/register", &by_sign_in).send().await.refused(403, "invalid_invitation");
    harness.post("/api/register", &invited("ADA@example.org")).send().await.session(201);
}

#[tokio::test]
async fn registration_is_as_configured_at_that_moment() {
    let harness = start().await;
    let body = |email: &str| json!({ "email": email, "password": PASSWORD });
    harness.configure(|identity| identity.registration = Registration::Closed);
    harness.post("/api/register", &body("ada@example.org")).send().await.refused(403, "registration_closed");
    harness.open_registration();
    harness.post("/api/register", &body("ada@example.org")).send().await.session(201);
    harness.post("/api/register", &body("ADA@example.org")).send().await.refused(409, "email_taken");
    harness.post("/api/register", &body("ünïcode@exämple.org")).send().await.session(201);
}

#[tokio::test]
async fn an_address_registers_twenty_times_an_hour_where_anybody_may() {
    let harness = start().await;
    harness.open_registration();
    let register = |guest: u32| {
        let body = json!({ "email": format!("guest{guest}@example.org"), "password": PASSWORD });
        harness.post("/api/register", &body)
    };
    register(0).send().await.session(201);
    for _ in 1..20 {
        register(0).send().await.refused(409, "email_taken");
    }
    let held_up = register(20).send().await;
    held_up.refused(429, "too_many_attempts");
    assert!((3_000..=3_600).contains(&held_up.header("retry-after").parse::<u64>().unwrap()));
    register(20).instead("x-real-ip", "192.0.2.99").send().await.session(201);
}
