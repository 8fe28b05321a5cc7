//! Every operation that the description has, asked by who may not: a route that is new is asked too.

use cfx::identity::Role;
use serde_json::json;

use super::start;
use crate::harness::Harness;
use crate::operations::{asked, operations};

/// What needs no session, and why it does not: it is how one is had.
const PUBLIC: [&str; 5] = [
    "POST /api/login",
    "POST /api/login/link",
    "POST /api/login/link/password",
    "POST /api/login/supabase",
    "POST /api/register",
];

#[tokio::test]
async fn none_but_the_public_ones_answer_who_is_not_signed_in() {
    let harness = start().await;
    let mut public = Vec::new();
    for operation in operations(&harness).await {
        if operation.public {
            public.push(operation.name);
            continue;
        }
        let answer = asked(&harness, &operation, &uuid::Uuid::nil().to_string()).send().await;
        assert_eq!(answer.status, 401, "{}", operation.name);
        answer.refused(401, "missing_session");
        assert!(operation.responses.contains(&401), "{}", operation.name);
    }
    public.sort();
    assert_eq!(public, PUBLIC);
}

#[tokio::test]
async fn operators_paths_are_closed_to_members() {
    let harness = start().await;
    let (ada, olga) = (harness.member().await, harness.operator().await);
    let mut closed = 0;
    for operation in operations(&harness).await {
        let asking = asked(&harness, &operation, &olga.id.0.to_string()).by(&ada);
        if operation.path == "/api/logs/tail" {
            assert_eq!(asking.open().await.status(), 200, "it has no end to wait for");
            continue;
        }
        let answer = asking.send().await;
        if operation.path.starts_with("/api/operator/") {
            assert_eq!(answer.status, 403, "{}", operation.name);
            answer.refused(403, "not_permitted");
            closed += 1;
        } else {
            assert_ne!(answer.status, 403, "{}", operation.name);
        }
        assert!(operation.responses.contains(&answer.status), "{} answers {}", operation.name, answer.status);
        if operation.path == "/api/logout" || operation.path == "/api/refresh" {
            break_is_over(&harness, &ada).await;
        }
    }
    assert!(closed >= 8, "{closed}");
}

/// Signs her in again by the same token, so that the next operation is asked by somebody.
async fn break_is_over(harness: &Harness, who: &crate::harness::Someone) {
    use cfx::clock::Clock;
    let now = harness.clock.now();
    let session = cfx::identity::Session {
        token_hash: who.token.hash(),
        user: who.id,
        created_at: now,
        began_at: now,
        expires_at: cfx::units::Timestamp(now.0 + 3_600_000_000),
    };
    harness.stores.sessions.open(session).await.unwrap();
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_there() {
    let harness = start().await;
    let (ada, bob) = (harness.member().await, harness.someone("bob@example.org", Role::Operator).await);
    let made = harness.post("/api/keys", &json!({ "label": "hers" })).by(&ada).send().await.ok(201);
    let request = harness.log(ada.id, 10, |_| ()).await;
    let mut asked_for = 0;
    for operation in operations(&harness).await {
        let id = match operation.path.as_str() {
            path if path.starts_with("/api/keys/{id}") => made["id"].as_str().unwrap().to_owned(),
            path if path.contains("{request_id}") => request.0.to_string(),
            path if path.contains('{') => uuid::Uuid::nil().to_string(),
            _ => continue,
        };
        let answer = asked(&harness, &operation, &id).by(&bob).send().await;
        assert_eq!(answer.status, 404, "{}", operation.name);
        answer.refused(404, "not_found");
        for id in ["7", "%00", "%ff%fe", "..%2f..%2fetc", "' or 1=1 --", "00000000000000000000000000000000"] {
            let id = id.replace(' ', "%20");
            let answer = asked(&harness, &operation, &id).by(&bob).send().await;
            assert_eq!(answer.status, 404, "{} {id}", operation.name);
        }
        asked_for += 1;
    }
    assert!(asked_for >= 7, "{asked_for}");
    let listed = harness.get("/api/keys").by(&ada).send().await.ok(200);
    assert_eq!((&listed[0]["label"], &listed[0]["state"]), (&json!("hers"), &json!("active")));
}
