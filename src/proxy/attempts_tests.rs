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
