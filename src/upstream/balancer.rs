//! Which of an upstream's targets is asked: of those that may be, and have not answered in vain lately, the one with the
//! least in flight for its weight; of equals, the one whose turn it is by pingora's round robin. What is known of targets and models lives here, beside the configuration.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Extensions;
use pingora_core::protocols::l4::socket::SocketAddr as Address;
use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, RoundRobin};

use super::breaker::{Rule, Stand};
use super::budget::Budget;
use super::connect::Dialer;
use super::guard::{Guard, Reading, Subject, Trial};
use super::health;
use super::member::{Member, Seat};
use crate::config::{Health, Target, Upstream};
use crate::telemetry::seldom::Seldom;

/// When to come back where nothing says when.
const BACK_IN: Duration = Duration::from_secs(5);

/// All upstreams of this edge.
pub struct Balancer {
    groups: HashMap<String, Arc<Group>, ahash::RandomState>,
}

/// One upstream: its targets, and the models that it was asked for.
pub struct Group {
    name: String,
    members: Vec<Arc<Member>>,
    /// None where there is no choice.
    turns: Option<Arc<RoundRobin>>,
    /// By the upstream's name for the model.
    models: HashMap<Arc<str>, Arc<Guard>, ahash::RandomState>,
    /// None: its targets are not asked how they are.
    health: Option<Health>,
    pub budget: Budget,
    /// What is said of attempts that fail.
    pub complaints: Seldom,
}

impl Balancer {
    /// `models` are the upstreams' own names of all models that they may be asked for.
    pub fn new<'a>(
        upstreams: impl IntoIterator<Item = &'a Arc<Upstream>>,
        models: impl Iterator<Item = &'a Arc<str>> + Clone,
    ) -> Self {
        let group = |upstream: &Arc<Upstream>| (upstream.name.clone(), Arc::new(Group::new(upstream, models.clone())));
        Self { groups: upstreams.into_iter().map(group).collect() }
    }

    /// What is known of an upstream. Of one that this edge did not start with nothing is.
    pub fn of(&self, upstream: &Upstream) -> Arc<Group> {
        match self.groups.get(&upstream.name) {
            Some(group) => Arc::clone(group),
            None => Arc::new(Group::new(upstream, std::iter::empty())),
        }
    }

    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups.values()
    }

    /// Runs for the life of an edge: asks targets how they are, where that is wanted, and looks their names up anew.
    pub fn look_after(&self, dialer: Dialer) -> impl Future<Output = ()> + Send + use<> {
        let groups: Vec<Arc<Group>> = self.groups().cloned().collect();
        async move {
            let cares = groups.iter().flat_map(|group| {
                group.members.iter().map(|member| async {
                    let health = async {
                        if let Some(health) = &group.health {
                            health::watch(&dialer, &group.name, (member, &group.members), health).await;
                        }
                    };
                    futures_util::future::join(health, dialer.look_up_again_and_again(member)).await;
                })
            });
            futures_util::future::join_all(cares).await;
        }
    }

    /// Targets and models that nothing is sent to at this moment, for the operator.
    pub fn problem(&self, now: Instant) -> Option<String> {
        let mut problems: Vec<String> = self.groups().flat_map(|group| group.problems(now)).collect();
        problems.sort_unstable();
        (!problems.is_empty()).then(|| problems.join("; "))
    }
}

impl Group {
    fn new<'a>(upstream: &Upstream, models: impl Iterator<Item = &'a Arc<str>>) -> Self {
        let rule = Rule { failures: upstream.breaker.failures, open_for: upstream.breaker.open_for };
        let member = |target| Arc::new(Member::new(&upstream.name, target, rule));
        let model = |model: &Arc<str>| {
            let subject = Subject { upstream: upstream.name.clone(), target: String::new(), model: model.to_string() };
            (Arc::clone(model), Arc::new(Guard::new(subject, rule)))
        };
        Self {
            name: upstream.name.clone(),
            members: upstream.targets.iter().map(member).collect(),
            turns: (upstream.targets.len() > 1).then(|| Arc::new(turns(upstream))),
            models: models.map(model).collect(),
            health: upstream.health.clone(),
            budget: Budget::new(Instant::now()),
            complaints: Seldom::new(Instant::now()),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// A seat at the best target there is, `except` one that has just failed. Else how long until there may be one.
    /// Where all fail their health checks it is asked as though none did: what fails may be the checks.
    pub fn seat(&self, except: Option<&Arc<Member>>, now: Instant) -> Result<Seat, Duration> {
        let first = self.turn();
        self.seat_by((first, except), now, |member| member.wait(now)).or_else(|wait| match self.is_ill() {
            true => self.seat_by((first, except), now, |member| member.guard.wait(now)),
            false => Err(wait),
        })
    }

    /// A seat at the target that `wanted` picks, where it may be asked.
    pub fn seat_at(&self, wanted: impl Fn(&Target) -> bool, now: Instant) -> Option<Seat> {
        let member = self.members.iter().find(|member| wanted(&member.target))?;
        (!self.leaves_alone(member, now)).then(|| Seat::take(member, now)).flatten()
    }

    fn seat_by(
        &self,
        (first, except): (usize, Option<&Arc<Member>>),
        now: Instant,
        wait: impl Fn(&Member) -> Option<Duration>,
    ) -> Result<Seat, Duration> {
        let count = self.members.len();
        loop {
            let mut soonest = None::<Duration>;
            let others = self.members.iter().cycle().skip(first).take(count);
            let others = others.filter(|member| except.is_none_or(|except| !Arc::ptr_eq(except, member)));
            let open = others.filter(|member| match wait(member) {
                None => true,
                Some(wait) => {
                    soonest = Some(soonest.map_or(wait, |soonest| soonest.min(wait)));
                    false
                }
            });
            // Of equals this is the first.
            let load = |member: &Member| member.in_flight() / usize::from(member.target.weight.max(1));
            let Some(member) = open.min_by_key(|member| (member.favour.is_lost(now), load(member))) else {
                return Err(soonest.unwrap_or(BACK_IN));
            };
            // Another may have taken the only seat at one that is half-open; it is not looked at again then.
            if let Some(seat) = Seat::take(member, now) {
                return Ok(seat);
            }
        }
    }

    /// Whether all its targets fail their health checks.
    fn is_ill(&self) -> bool {
        self.members.iter().all(|member| !member.is_well())
    }

    /// Whether nothing is sent to this target at this moment.
    pub fn leaves_alone(&self, member: &Member, now: Instant) -> bool {
        if self.is_ill() { member.guard.wait(now).is_some() } else { member.wait(now).is_some() }
    }

    /// Whether a 5xx from this target says something of the model, and not of the target: it does where it is the first
    /// of late, or where no other target does better.
    pub fn blames_model(&self, member: &Member, now: Instant) -> bool {
        !member.favour.is_lost(now) || self.members.iter().all(|member| member.favour.is_lost(now))
    }

    /// Leave to ask a model. Else how long until it may be asked.
    pub fn trial(&self, model: &str, now: Instant) -> Result<Trial, Duration> {
        self.models.get(model).map_or(Ok(Trial::FREE), |guard| Trial::of(guard, now))
    }

    /// Whether its targets are asked how they are.
    pub fn is_checked(&self) -> bool {
        self.health.is_some()
    }

    /// All its breakers.
    pub fn readings(&self, now: Instant) -> impl Iterator<Item = Reading<'_>> {
        let guards = self.members.iter().map(|member| &member.guard);
        guards.chain(self.models.values().map(|guard| &**guard)).map(move |guard| guard.reading(now))
    }

    fn problems(&self, now: Instant) -> Vec<String> {
        let ill = self.members.iter().filter(|member| !member.is_well());
        let ill = ill.map(|member| format!("upstream {}: {} fails its health check", self.name, member.target));
        let open = self.readings(now).filter_map(|Reading { subject, stand, .. }| {
            let Subject { upstream, target, model } = subject;
            let what = if model.is_empty() { target.clone() } else { format!("model {model}") };
            (stand != Stand::Closed)
                .then(|| format!("upstream {upstream}: the breaker of {what} is {}", stand.as_str()))
        });
        let all =
            self.is_ill().then(|| format!("upstream {}: none passes, and all are asked as if they did", self.name));
        ill.chain(all).chain(open).collect()
    }

    fn turn(&self) -> usize {
        let Some(turns) = &self.turns else { return 0 };
        turns.iter(&[]).next().map_or(0, position) % self.members.len().max(1)
    }
}
/// A backend's address is its position in the upstream's list, written as a port: names are resolved when they are
/// dialled, so that there is no address yet. Whoever has more targets than ports uses the first 65,535.
fn turns(upstream: &Upstream) -> RoundRobin {
    let positions = (0..u16::MAX).zip(&upstream.targets);
    let backend = |(position, target): (u16, &Arc<Target>)| Backend {
        addr: Address::Inet(SocketAddr::from((Ipv4Addr::UNSPECIFIED, position))),
        weight: target.weight.into(),
        ext: Extensions::new(),
    };
    RoundRobin::build(&positions.map(backend).collect::<BTreeSet<_>>())
}

fn position(backend: &Backend) -> usize {
    backend.addr.as_inet().map_or(0, |address| address.port().into())
}

#[cfg(test)]
#[path = "balancer_tests.rs"]
mod tests;
