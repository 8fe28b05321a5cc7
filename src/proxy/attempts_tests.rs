use http::HeaderValue;

use super::*;
use crate::config::{Overrides, Price, Source, load};
use crate::upstream::{Balancer, By};

/// A shipped upstream of one target, and the models it is asked for.
fn group(models: &[&Arc<Model>]) -> Arc<Group> {
    let snapshot = load(&Source::Embedded, &Overrides::default(), &|_| None).unwrap();
    let upstream = snapshot.edge.upstreams.values().find(|upstream| upstream.targets.len() == 1).unwrap();
    Balancer::new([upstream], models.iter().map(|model| &model.upstream_model)).of(upstream).unwrap().clone()
}

fn model(name: &str) -> Arc<Model> {
    Arc::new(Model {
        alias: name.into(),
        upstream_model: name.into(),
        price: Price::default(),
        context_window: None,
        max_output_tokens: None,
        vision: false,
    })
}

#[test]
fn a_request_is_moved_from_a_target_that_was_just_taken_out_whatever_the_budget_says() {
    let group = group(&[]);
    let member = Arc::clone(&group.members()[0]);
    while group.budget.take(Instant::now()) {}
    assert!(!may_go_on(&group, &member, Fault::Target), "nothing left, and the target still stands");
    (0..5).for_each(|_| group.seat(None, Instant::now()).unwrap().failed(By::Anyone));
    assert!(may_go_on(&group, &member, Fault::Target));
    assert!(!may_go_on(&group, &member, Fault::Model), "what the model said is no reason to move");
}

#[test]
fn a_fallback_is_asked_for_at_the_target_that_has_just_failed_too() {
    let (own, other) = (model("own"), model("other"));
    let group = group(&[&own, &other]);
    let left = Arc::clone(&group.members()[0]);
    assert!(way(&group, (&own, Some(&left)), None).is_err());
    let found = way(&group, (&own, Some(&left)), Some(&other)).ok().unwrap();
    assert_eq!(&*found.model.alias, "other");
    assert!(Arc::ptr_eq(found.seat.member(), &left));
}

#[test]
fn a_head_that_is_not_passed_on_is_called_what_it_is() {
    let head = |status: u16, kind: Option<&'static str>, content_length, encoded| Head {
        status: StatusCode::from_u16(status).unwrap(),
        content_type: kind.map(HeaderValue::from_static),
        content_length,
        encoded,
        retry_after: None,
        retry_after_ms: None,
    };
    let (json, events, html) = (Some("application/json"), Some("text/event-stream"), Some("text/html"));
    for (head, wanted) in [
        (head(200, json, Some(0), false), "with an empty body"),
        (head(200, json, None, true), "in a content coding that was not asked for"),
        (head(429, json, None, true), "in a content coding that was not asked for"),
        (head(200, html, None, false), "without the Content-Type of JSON or of an event stream"),
        (head(200, None, None, false), "without the Content-Type of JSON or of an event stream"),
        (head(404, html, None, false), "404 without the Content-Type of JSON"),
        (head(404, events, None, false), "404 without the Content-Type of JSON"),
        (head(204, None, None, false), "204, which is no answer of a model"),
        (head(206, json, None, false), "206, which is no answer of a model"),
        (head(302, html, Some(0), false), "302, which is no answer of a model"),
    ] {
        let failure = judge(&head).err().unwrap();
        assert_eq!(failure.refusal.message, format!("the model's service answered {wanted}"));
        assert_eq!((failure.refusal.reason, failure.outcome), (Reason::UpstreamError, "not_json"));
    }
}
