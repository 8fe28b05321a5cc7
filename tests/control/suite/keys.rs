//! Keys: made, listed, changed, rotated, revoked, and nobody else's.

use std::time::Duration;

use cfx::admission::{NewKey, Pepper, RawKey};
use cfx::clock::Clock;
use cfx::identity::Role;
use hyper::Method;
use serde_json::{Value, json};

use super::start;
use crate::harness::{Harness, Someone};

async fn create(harness: &Harness, who: &Someone, body: Value) -> Value {
    harness.post("/api/keys", &body).by(who).send().await.ok(201)
}

#[tokio::test]
async fn a_key_is_shown_once() {
    let harness = start().await;
    let ada = harness.member().await;
    let wanted = json!({
        "label": "laptop 💻 <b>", "expires_at": "2026-03-01T00:00:00+03:00", "stages": ["plan", "code", "plan"],
        "models": ["claude-sonnet"], "daily_requests": 50,
    });
    let made = create(&harness, &ada, wanted).await;
    let raw = RawKey::parse(made["key"].as_str().unwrap()).unwrap();
    assert_eq!(made["prefix"], raw.display_prefix());
    assert_eq!(made["label"], "laptop 💻 <b>");
    assert_eq!(made["expires_at"], "2026-02-28T21:00:00Z");
    assert_eq!(made["stages"], json!(["plan", "code"]));
    assert_eq!(made["state"], "active");

    let listed = harness.get("/api/keys").by(&ada).send().await;
    let text = listed.text();
    assert!(!text.contains(raw.expose()) && !text.contains(&Pepper::new(b"pepper").hash(&raw).to_hex()));
    let mut row = made.clone();
    row.as_object_mut().unwrap().remove("key");
    assert_eq!(listed.ok(200), json!([row]));
}

#[tokio::test]
async fn a_key_is_given_another_label_and_end() {
    let harness = start().await;
    let ada = harness.member().await;
    let made = create(&harness, &ada, json!({ "label": "old", "expires_at": "2026-03-01T00:00:00Z" })).await;
    let path = format!("/api/keys/{}", made["id"].as_str().unwrap());
    let patch = |body: Value| harness.ask(Method::PATCH, &path).json(&body).by(&ada);
    let changed = patch(json!({ "label": "new", "expires_at": "never" })).send().await.ok(200);
    assert_eq!((&changed["label"], &changed["expires_at"]), (&json!("new"), &Value::Null));
    let ends = patch(json!({ "expires_at": "2026-01-31T13:00:00Z" })).send().await.ok(200);
    assert_eq!((&ends["label"], &ends["state"]), (&json!("new"), &json!("active")));
    harness.clock.advance(Duration::from_secs(3600));
    assert_eq!(harness.get("/api/keys").by(&ada).send().await.ok(200)[0]["state"], "expired");
    let past = patch(json!({ "expires_at": "2026-01-31T13:00:00Z" })).send().await.refused(400, "invalid_field");
    assert_eq!(past["error"]["param"], "expires_at");
}

#[tokio::test]
async fn a_rotated_key_holds_for_its_overlap_and_is_rotated_once() {
    let harness = start().await;
    let ada = harness.member().await;
    let old = create(&harness, &ada, json!({ "label": "ci", "stages": ["review"], "daily_requests": 9 })).await;
    let path = format!("/api/keys/{}/rotate", old["id"].as_str().unwrap());
    harness.clock.advance(Duration::from_secs(1));
    let new = harness.post(&path, &json!({ "overlap_seconds": 3600 })).by(&ada).send().await.ok(201);
    assert_ne!(new["key"], old["key"]);
    for same in ["label", "stages", "daily_requests"] {
        assert_eq!(new[same], old[same]);
    }
    let listed = || async { harness.get("/api/keys").by(&ada).send().await.ok(200) };
    let states = |list: Value| list.as_array().unwrap().iter().map(|key| key["state"].clone()).collect::<Vec<_>>();
    assert_eq!(states(listed().await), ["active", "retiring"]);
    harness.post(&path, &json!({})).by(&ada).send().await.refused(409, "key_not_active");
    harness.clock.advance(Duration::from_secs(3600));
    assert_eq!(states(listed().await), ["active", "revoked"]);
    let again = format!("/api/keys/{}/rotate", new["id"].as_str().unwrap());
    harness.clock.advance(Duration::from_secs(1));
    harness.post(&again, &json!({})).by(&ada).send().await.ok(201);
    assert_eq!(states(listed().await), ["active", "revoked", "revoked"]);
    let replaced = harness.ask(Method::PATCH, &format!("/api/keys/{}", old["id"].as_str().unwrap()));
    replaced.json(&json!({ "label": "b" })).by(&ada).send().await.refused(409, "key_not_active");
    let long = harness.post(&path, &json!({ "overlap_seconds": 7_776_001 })).by(&ada).send().await;
    assert_eq!(long.refused(400, "invalid_field")["error"]["param"], "overlap_seconds");
}

#[tokio::test]
async fn a_revoked_key_stays_revoked() {
    let harness = start().await;
    let ada = harness.member().await;
    let made = create(&harness, &ada, json!({ "label": "a" })).await;
    let path = format!("/api/keys/{}", made["id"].as_str().unwrap());
    harness.ask(Method::DELETE, &path).by(&ada).send().await.ok(204);
    harness.ask(Method::DELETE, &path).by(&ada).send().await.ok(204);
    assert_eq!(harness.get("/api/keys").by(&ada).send().await.ok(200)[0]["state"], "revoked");
    for change in [json!({ "label": "b" }), json!({})] {
        let patch = harness.ask(Method::PATCH, &path).json(&change).by(&ada);
        patch.send().await.refused(409, "key_not_active");
    }
}

#[tokio::test]
async fn the_playground_has_three_keys_alive_and_leaves_others_alone() {
    let harness = start().await;
    let ada = harness.member().await;
    create(&harness, &ada, json!({ "label": "playground" })).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        harness.clock.advance(Duration::from_secs(1));
        made.push(harness.ask(Method::POST, "/api/keys/playground").by(&ada).send().await.ok(201));
    }
    assert_eq!(made[0]["expires_at"], "2026-01-31T12:15:01Z");
    let listed = harness.get("/api/keys").by(&ada).send().await.ok(200);
    let active: Vec<&Value> = listed.as_array().unwrap().iter().filter(|key| key["state"] == "active").collect();
    let ids: Vec<&Value> = active.iter().map(|key| &key["id"]).collect();
    assert_eq!(ids[..3], [&made[4]["id"], &made[3]["id"], &made[2]["id"]]);
    assert_eq!(active[3]["expires_at"], Value::Null, "a key of her own that happens to have that label");
    assert_eq!(active.len(), 4);
}

#[tokio::test]
async fn nobody_has_more_than_a_hundred_keys() {
    let harness = start().await;
    let ada = harness.member().await;
    let first = create(&harness, &ada, json!({ "label": "a" })).await;
    for _ in 1..100 {
        let raw = RawKey::mint().unwrap();
        let key = NewKey::of(&raw, &Pepper::new(b"pepper"), ada.id, "a", harness.clock.now());
        harness.stores.registry.create(key, None).await.unwrap();
    }
    harness.post("/api/keys", &json!({ "label": "a" })).by(&ada).send().await.refused(409, "too_many_keys");
    let path = format!("/api/keys/{}/rotate", first["id"].as_str().unwrap());
    let rotate = |overlap: u32| harness.post(&path, &json!({ "overlap_seconds": overlap })).by(&ada);
    rotate(60).send().await.refused(409, "too_many_keys");
    rotate(0).send().await.ok(201);
    let bob = harness.someone("bob@example.org", Role::Member).await;
    create(&harness, &bob, json!({ "label": "a" })).await;
}

#[tokio::test]
async fn a_key_that_has_ended_does_not_come_back_beside_a_hundred() {
    let harness = start().await;
    let ada = harness.member().await;
    let ended = create(&harness, &ada, json!({ "label": "a", "expires_at": "2026-01-31T12:00:01Z" })).await;
    harness.clock.advance(Duration::from_secs(1));
    for _ in 0..100 {
        let raw = RawKey::mint().unwrap();
        let key = NewKey::of(&raw, &Pepper::new(b"pepper"), ada.id, "a", harness.clock.now());
        harness.stores.registry.create(key, None).await.unwrap();
    }
    let patch = |id: &Value, body: Value| {
        harness.ask(Method::PATCH, &format!("/api/keys/{}", id.as_str().unwrap())).json(&body).by(&ada)
    };
    for end in ["never", "2026-03-01T00:00:00Z"] {
        let change = json!({ "label": "b", "expires_at": end });
        patch(&ended["id"], change).send().await.refused(409, "too_many_keys");
    }
    let playground = harness.ask(Method::POST, "/api/keys/playground").by(&ada).send().await.ok(201);
    patch(&playground["id"], json!({ "expires_at": "never" })).send().await.refused(409, "too_many_keys");
    patch(&ended["id"], json!({ "label": "b" })).send().await.ok(200);
    let listed = harness.get("/api/keys").by(&ada).send().await.ok(200);
    let of = |id: &Value| listed.as_array().unwrap().iter().find(|key| key["id"] == *id).unwrap().clone();
    let (ended, playground) = (of(&ended["id"]), of(&playground["id"]));
    assert_eq!((&ended["label"], &ended["state"]), (&json!("b"), &json!("expired")));
    assert_eq!(playground["expires_at"], "2026-01-31T12:15:01Z");
    let lasting = listed.as_array().unwrap().iter().find(|key| key["expires_at"].is_null()).unwrap();
    let id = lasting["id"].as_str().unwrap();
    harness.ask(Method::DELETE, &format!("/api/keys/{id}")).by(&ada).send().await.ok(204);
    harness
        .ask(Method::DELETE, &format!("/api/keys/{}", playground["id"].as_str().unwrap()))
        .by(&ada)
        .send()
        .await
        .ok(204);
    let back = patch(&ended["id"], json!({ "expires_at": "never" })).send().await.ok(200);
    assert_eq!(back["state"], "active");
}

#[tokio::test]
async fn keys_are_made_at_a_pace() {
    let harness = start().await;
    let ada = harness.member().await;
    let playground = || harness.ask(Method::POST, "/api/keys/playground").by(&ada);
    for _ in 0..10 {
        playground().send().await.ok(201);
    }
    let held_up = playground().send().await;
    held_up.refused(429, "too_many_attempts");
    assert!((1..=60).contains(&held_up.header("retry-after").parse::<u64>().unwrap()));
    for _ in 0..30 {
        create(&harness, &ada, json!({ "label": "a" })).await;
    }
    harness.post("/api/keys", &json!({ "label": "a" })).by(&ada).send().await.refused(429, "too_many_attempts");
    let bob = harness.someone("bob@example.org", Role::Member).await;
    create(&harness, &bob, json!({ "label": "a" })).await;
}

#[tokio::test]
async fn keys_of_the_playground_are_listed_for_a_day_behind_their_end() {
    let harness = start().await;
    let ada = harness.member().await;
    harness.ask(Method::POST, "/api/keys/playground").by(&ada).send().await.ok(201);
    let listed = || async {
        let token = harness.session(ada.id).await;
        let ada = Someone { token, ..ada.clone() };
        harness.get("/api/keys").by(&ada).send().await.ok(200).as_array().unwrap().len()
    };
    harness.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(listed().await, 1);
    harness.clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(listed().await, 0);
}
