//! Which of an upstream's targets is asked first: each in its turn, by pingora's round robin.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::Extensions;
use pingora_core::protocols::l4::socket::SocketAddr as Address;
use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, RoundRobin};

use crate::config::{Target, Upstream};

/// The turns of every upstream that has a choice. An upstream with one target costs nothing here.
pub struct Balancer {
    turns: HashMap<String, Arc<RoundRobin>>,
}

impl Balancer {
    pub fn new<'a>(upstreams: impl IntoIterator<Item = &'a Arc<Upstream>>) -> Self {
        let several = upstreams.into_iter().filter(|upstream| upstream.targets.len() > 1);
        Self { turns: several.map(|upstream| (upstream.name.clone(), Arc::new(turns(upstream)))).collect() }
    }

    /// The targets of an upstream, each once, beginning with the one whose turn it is; the others follow in the file's
    /// order. The order is ours and not the selection's: its later picks take turns from other requests, and may yield
    /// the target that has just failed.
    pub fn in_turn<'a>(&self, upstream: &'a Upstream) -> impl Iterator<Item = &'a Arc<Target>> + use<'a> {
        let count = upstream.targets.len();
        let first = if count > 1 { self.turn_of(&upstream.name) % count } else { 0 };
        upstream.targets.iter().cycle().skip(first).take(count)
    }

    fn turn_of(&self, upstream: &str) -> usize {
        let Some(turns) = self.turns.get(upstream) else { return 0 };
        turns.iter(&[]).next().map_or(0, position)
    }
}

/// A backend's address is its position in the upstream's list, written as a port: names are resolved when they are
/// dialled, so that there is no address yet. Whoever has more targets than ports uses the first 65,535.
fn turns(upstream: &Upstream) -> RoundRobin {
    let positions = (0..u16::MAX).zip(&upstream.targets).map(|(position, _)| position);
    let backend = |position| Backend {
        addr: Address::Inet(SocketAddr::from((Ipv4Addr::UNSPECIFIED, position))),
        weight: 1,
        ext: Extensions::new(),
    };
    RoundRobin::build(&positions.map(backend).collect::<BTreeSet<_>>())
}

fn position(backend: &Backend) -> usize {
    backend.addr.as_inet().map_or(0, |address| address.port().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Timeouts;

    fn upstream(name: &str, targets: u16) -> Arc<Upstream> {
        let target = |port| Arc::new(Target::new(false, "model".to_owned(), port).unwrap());
        let second = std::time::Duration::from_secs(1);
        let timeouts = Timeouts { connect: second, first_byte: second, between_chunks: second, total: second };
        let targets = (1..=targets).map(target).collect();
        Arc::new(Upstream { name: name.to_owned(), targets, authorization: None, timeouts, keep_alive: None })
    }

    fn ports(balancer: &Balancer, upstream: &Upstream) -> Vec<u16> {
        balancer.in_turn(upstream).map(|target| target.port).collect()
    }

    #[test]
    fn each_target_comes_first_in_its_turn_and_once_in_all() {
        let three = upstream("three", 3);
        let balancer = Balancer::new([&three]);
        let orders: Vec<_> = (0..4).map(|_| ports(&balancer, &three)).collect();
        assert_eq!(orders, [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]);
    }

    #[test]
    fn upstreams_take_turns_apart_from_each_other() {
        let (one, other) = (upstream("one", 2), upstream("other", 2));
        let balancer = Balancer::new([&one, &other]);
        for first in [1, 2, 1, 2] {
            assert_eq!((ports(&balancer, &one)[0], ports(&balancer, &other)[0]), (first, first));
        }
    }

    #[test]
    fn one_target_needs_no_turn_and_an_unknown_upstream_keeps_its_order() {
        let (one, unknown) = (upstream("one", 1), upstream("unknown", 2));
        let balancer = Balancer::new([&one]);
        assert!(balancer.turns.is_empty());
        assert_eq!(ports(&balancer, &one), [1]);
        assert_eq!(ports(&balancer, &unknown), [1, 2]);
    }
}
