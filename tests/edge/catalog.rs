//! `/v1/models` and its like: what a client's model picker shows, answered by cfx alone.

use crate::harness::{Harness, Request};

#[test]
fn the_lists_hold_what_pickers_read() {
    let edge = Harness::start();
    let get = |path: &str| edge.ask(&Request::get(path).key(&edge.key));

    let models = get("/v1/models");
    assert_eq!(models.status, 200, "{models}");
    let models = models.json();
    assert_eq!(models["object"], "list");
    let ids: Vec<&str> =
        models["data"].as_array().expect("a list").iter().filter_map(|model| model["id"].as_str()).collect();
    for stage in ["cfx-plan", "cfx-code", "cfx-review"] {
        assert!(ids.contains(&stage), "a stage can be picked as a model: {ids:?}");
    }
    assert!(models["data"].as_array().is_some_and(|list| list.iter().all(|model| model["object"] == "model")));
    assert!(!models.to_string().contains("upstream-"), "the names behind are nobody's business: {models}");

    let one = get(&format!("/v1/models/{}", ids[0]));
    assert_eq!((one.status, one.json()["id"].as_str()), (200, Some(ids[0])), "{one}");
    assert_eq!(get("/v1/models/unheard-of").status, 404);

    let information = get("/v1/model/info").json();
    let first = &information["data"][0];
    assert!(first["model_name"].is_string() && first["model_info"].is_object(), "{information}");
    assert!(first["litellm_params"]["model"].is_string(), "Roo Code's LiteLLM provider reads this: {information}");
    assert_eq!(edge.upstream.count(), 0);
}

#[test]
fn they_want_a_key_too() {
    let edge = Harness::start();
    for path in ["/v1/models", "/v1/models/cfx-plan", "/v1/model/info"] {
        assert_eq!(edge.ask(&Request::get(path)).status, 401, "{path}");
        assert_eq!(edge.ask(&Request::get(path).key("cfx_live_nonsense")).status, 401, "{path}");
    }
}

#[test]
fn whether_it_lives_is_nobodys_secret() {
    let edge = Harness::start();
    let health = edge.ask(&Request::get("/health"));
    assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("ok")));
    assert_eq!(edge.ask(&Request::get("/ready")).status, 200);
}
