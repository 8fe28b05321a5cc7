//! What is done for targets beside the requests, for as long as the configuration has them: they are asked how they are,
//! where that is wanted, and their names are looked up anew.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::balancer::Balancer;
use super::connect::Dialer;
use super::health;
use super::member::Member;
use crate::config::Health;

/// One target that is looked after until this is dropped.
struct Care {
    member: Arc<Member>,
    health: Option<Health>,
    task: JoinHandle<()>,
}

/// Runs for the life of an edge. A target that stays as it is when the configuration changes notices nothing of it.
pub async fn look_after(balancer: Arc<Balancer>, dialer: Dialer) {
    let mut changes = balancer.changes();
    let mut cares: Vec<Care> = Vec::new();
    loop {
        let groups = balancer.groups();
        let wanted = || groups.iter().flat_map(|group| group.members().iter().map(move |member| (group, member)));
        cares.retain(|care| wanted().any(|(group, member)| care.is_for(member, group.health())));
        for (group, member) in wanted() {
            if !cares.iter().any(|care| care.is_for(member, group.health())) {
                cares.push(Care::begin(&balancer, &dialer, group.name(), member, group.health()));
            }
        }
        if changes.changed().await.is_err() {
            return; // never: the sender is the balancer's
        }
    }
}

impl Care {
    fn begin(
        balancer: &Arc<Balancer>,
        dialer: &Dialer,
        upstream: &str,
        member: &Arc<Member>,
        health: Option<&Health>,
    ) -> Self {
        let work = work(Arc::clone(balancer), dialer.clone(), upstream.to_owned(), Arc::clone(member), health.cloned());
        Self { member: Arc::clone(member), health: health.cloned(), task: tokio::spawn(work) }
    }

    fn is_for(&self, member: &Arc<Member>, health: Option<&Health>) -> bool {
        Arc::ptr_eq(&self.member, member) && self.health.as_ref() == health
    }
}

impl Drop for Care {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn work(balancer: Arc<Balancer>, dialer: Dialer, upstream: String, member: Arc<Member>, health: Option<Health>) {
    let nobody_is_well = || balancer.group(&upstream).is_some_and(|group| group.is_ill());
    let checks = async {
        if let Some(health) = &health {
            health::watch(&dialer, &upstream, &member, health, nobody_is_well).await;
        }
    };
    tokio::join!(checks, dialer.look_up_again_and_again(&member));
}
