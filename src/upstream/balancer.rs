//! Which of an upstream's targets is asked: of those that may be, and have not answered in vain lately, the one with the
//! least in flight for its weight; of equals, the one whose turn it is by pingora's round robin.
//!
//! What is known of targets and models lives here, beside the configuration, and outlives it: where the next one has a target
//! or a model too, what was learnt of it stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::Extensions;
use pingora_core::protocols::l4::socket::SocketAddr as Address;
use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, RoundRobin};
use tokio::sync::watch;

use super::breaker::{Rule, Stand};
use super::budget::Budget;
use super::member::{Member, Seat};
use super::shared_breaker::{Reading, SharedBreaker, Subject, Trial};
use crate::config::{Health, Target, Upstream};
use crate::telemetry::seldom::Seldom;

/// When to come back where nothing says when.
const BACK_IN: Duration = Duration::from_secs(5);

/// All upstreams of this edge.
pub struct Balancer {
    table: ArcSwap<Table>,
    /// Marked whenever there is another table.
    changes: watch::Sender<()>,
}

/// The groups at one moment.
#[derive(Default)]
struct Table {
    /// Of the present configuration, by name.
    present: BTreeMap<String, Arc<Group>>,
    /// By where in memory the configuration's own words on it lie, so that a request has the group of the configuration
    /// that it began with. Those words are held, or others could come to lie there.
    by_place: HashMap<usize, (Arc<Upstream>, Arc<Group>), ahash::RandomState>,
}

/// One upstream: its targets, and the models that it was asked for.
pub struct Group {
    name: String,
    members: Vec<Arc<Member>>,
    /// None where there is no choice.
    turns: Option<Arc<RoundRobin>>,
    /// By the upstream's name for the model.
    models: HashMap<Arc<str>, Arc<SharedBreaker>, ahash::RandomState>,
    /// None: its targets are not asked how they are.
    health: Option<Health>,
    pub budget: Arc<Budget>,
    /// What is said of attempts that fail.
    pub complaints: Arc<Seldom>,
}

impl Balancer {
    /// `models` are the upstreams' own names of all models that they may be asked for.
    pub fn new<'a>(
        upstreams: impl IntoIterator<Item = &'a Arc<Upstream>>,
        models: impl Iterator<Item = &'a Arc<str>> + Clone,
    ) -> Self {
        let balancer = Self { table: ArcSwap::default(), changes: watch::Sender::default() };
        balancer.adopt(upstreams, models);
        balancer
    }

    /// Goes over to another configuration. To be told before any request can have it, and by one caller at a time.
    ///
    /// A target that an upstream of the same name has already goes on as it is, and so does a model. Requests that began
    /// before keep what they began with.
    pub fn adopt<'a>(
        &self,
        upstreams: impl IntoIterator<Item = &'a Arc<Upstream>>,
        models: impl Iterator<Item = &'a Arc<str>> + Clone,
    ) {
        let before = self.table.load_full();
        let in_use = before.by_place.iter().filter(|(_, (upstream, _))| Arc::strong_count(upstream) > 1);
        let mut table = Table {
            present: BTreeMap::new(),
            by_place: in_use.map(|(place, known)| (*place, known.clone())).collect(),
        };
        for upstream in upstreams {
            let group = match before.present.get(&upstream.name) {
                Some(known) => known.adapted(upstream, models.clone()),
                None => Arc::new(Group::new(upstream, models.clone())),
            };
            table.by_place.insert(place(upstream), (Arc::clone(upstream), Arc::clone(&group)));
            table.present.insert(upstream.name.clone(), group);
        }
        self.table.store(Arc::new(table));
        self.changes.send_replace(());
    }

    /// What is known of an upstream. None of one that no configuration of this edge had: made up for a request, it would
    /// forget with each what its breakers and its budget had learnt.
    pub fn of(&self, upstream: &Upstream) -> Option<Arc<Group>> {
        self.table.load().by_place.get(&place(upstream)).map(|(_, group)| Arc::clone(group))
    }

    /// Those of the present configuration.
    pub fn groups(&self) -> Vec<Arc<Group>> {
        self.table.load().present.values().cloned().collect()
    }

    pub(super) fn group(&self, name: &str) -> Option<Arc<Group>> {
        self.table.load().present.get(name).cloned()
    }

    /// Hears whenever there is another configuration.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Targets and models that nothing is sent to at this moment, for the operator.
    pub fn problem(&self, now: Instant) -> Option<String> {
        let mut problems: Vec<String> = self.groups().iter().flat_map(|group| group.problems(now)).collect();
        problems.sort_unstable();
        (!problems.is_empty()).then(|| problems.join("; "))
    }
}

impl Group {
    fn new<'a>(upstream: &Upstream, models: impl Iterator<Item = &'a Arc<str>>) -> Self {
        let nothing = Self {
            name: upstream.name.clone(),
            members: Vec::new(),
            turns: None,
            models: HashMap::default(),
            health: None,
            budget: Arc::new(Budget::new(Instant::now())),
            complaints: Arc::new(Seldom::new(Instant::now())),
        };
        nothing.with(upstream, models)
    }

    /// The group of another configuration: this one, where it knows the same targets and models.
    fn adapted<'a>(self: &Arc<Self>, upstream: &Upstream, models: impl Iterator<Item = &'a Arc<str>>) -> Arc<Self> {
        let next = self.with(upstream, models);
        let same_members = self.members.len() == next.members.len()
            && self.members.iter().zip(&next.members).all(|(one, other)| Arc::ptr_eq(one, other));
        let same_models =
            self.models.len() == next.models.len() && next.models.keys().all(|model| self.models.contains_key(model));
        let same = same_members && same_models && self.health == next.health;
        if same { Arc::clone(self) } else { Arc::new(next) }
    }

    /// What the configuration names, each as it is known here or else as new, by the rules that hold from now on.
    fn with<'a>(&self, upstream: &Upstream, models: impl Iterator<Item = &'a Arc<str>>) -> Self {
        let rule = Rule { failures: upstream.breaker.failures, open_for: upstream.breaker.open_for };
        let member = |target: &Arc<Target>| match self.members.iter().find(|member| member.target == *target) {
            Some(known) => {
                known.breaker.set_rule(rule);
                if upstream.health.is_none() {
                    known.is_no_longer_checked();
                }
                Arc::clone(known)
            }
            None => Arc::new(Member::new(&upstream.name, target, rule)),
        };
        let members: Vec<_> = upstream.targets.iter().map(member).collect();
        let model = |model: &Arc<str>| {
            let breaker = match self.models.get(model) {
                Some(known) => {
                    known.set_rule(rule);
                    Arc::clone(known)
                }
                None => {
                    let (upstream, model) = (upstream.name.clone(), model.to_string());
                    Arc::new(SharedBreaker::new(Subject { upstream, target: String::new(), model }, rule))
                }
            };
            (Arc::clone(model), breaker)
        };
        let turns = self.turns.as_ref().filter(|_| self.members.len() == members.len()).cloned();
        Self {
            name: upstream.name.clone(),
            turns: turns.or_else(|| (members.len() > 1).then(|| Arc::new(turns_of(upstream)))),
            members,
            models: models.map(model).collect(),
            health: upstream.health.clone(),
            budget: Arc::clone(&self.budget),
            complaints: Arc::clone(&self.complaints),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// A seat at the best target there is, `except` one that has just failed. Else how long until there may be one.
    /// Where several are all left alone, one that failed a second ago is asked again: two that were away one after the
    /// other, for a moment each, would else be an outage of half a minute.
    pub fn seat(&self, except: Option<&Arc<Member>>, now: Instant) -> Result<Seat, Duration> {
        let first = self.turn();
        self.seat_from((first, except), now).or_else(|wait| {
            if self.members.len() < 2 {
                return Err(wait);
            }
            self.members.iter().for_each(|member| member.breaker.hasten());
            self.seat_from((first, except), now)
        })
    }

    /// Where all fail their health checks they are asked as though none did: what fails may be the checks.
    fn seat_from(&self, from: (usize, Option<&Arc<Member>>), now: Instant) -> Result<Seat, Duration> {
        self.seat_by(from, now, |member| member.wait(now)).or_else(|wait| match self.is_ill() {
            true => self.seat_by(from, now, |member| member.breaker.wait(now)),
            false => Err(wait),
        })
    }

    /// A seat at the target that `wanted` picks, where it may be asked.
    pub fn seat_at(&self, wanted: impl Fn(&Member) -> bool, now: Instant) -> Option<Seat> {
        let member = self.members.iter().find(|member| wanted(member))?;
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
    pub(super) fn is_ill(&self) -> bool {
        self.members.iter().all(|member| !member.is_well())
    }

    /// Whether nothing is sent to this target at this moment.
    pub fn leaves_alone(&self, member: &Member, now: Instant) -> bool {
        if self.is_ill() { member.breaker.wait(now).is_some() } else { member.wait(now).is_some() }
    }

    /// Whether a 5xx from this target says something of the model, and not of the target: it does where it is the first
    /// of late, or where no other target does better.
    pub fn blames_model(&self, member: &Member, now: Instant) -> bool {
        !member.favour.is_lost(now) || self.members.iter().all(|member| member.favour.is_lost(now))
    }

    /// Leave to ask a model. Else how long until it may be asked.
    pub fn trial(&self, model: &str, now: Instant) -> Result<Trial, Duration> {
        self.models.get(model).map_or(Ok(Trial::FREE), |breaker| Trial::of(breaker, now))
    }

    /// How its targets are asked how they are; None where they are not.
    pub fn health(&self) -> Option<&Health> {
        self.health.as_ref()
    }

    /// All its breakers.
    pub fn readings(&self, now: Instant) -> impl Iterator<Item = Reading<'_>> {
        let breakers = self.members.iter().map(|member| &member.breaker);
        breakers.chain(self.models.values().map(|breaker| &**breaker)).map(move |breaker| breaker.reading(now))
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

/// Where in memory it lies.
fn place(upstream: &Upstream) -> usize {
    std::ptr::from_ref(upstream).addr()
}

/// A backend's address is its position in the upstream's list, written as a port: names are resolved when they are
/// dialled, so that there is no address yet. Whoever has more targets than ports uses the first 65,535.
fn turns_of(upstream: &Upstream) -> RoundRobin {
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
