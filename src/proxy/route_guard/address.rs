//! How often an address may come to a route, and how often at once. Counted on this edge alone, by IPv6 networks of 64
//! bits, which is what one client has to choose from. How many can be told apart is bounded (`buckets`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{Quota, RateLimiter};

use super::buckets::Buckets;
use crate::config::{Matching, Rate, RouteGuards};
use crate::proxy::refuse::{Reason, Refusal};

/// What is counted, by what the route matches, which no two have in common: so a reload goes on with what was counted
/// before it.
#[derive(Default)]
pub struct AddressLimits {
    routes: RwLock<HashMap<Matching, Arc<Counts>, ahash::RandomState>>,
}

/// Of one route.
struct Counts {
    /// What the rate was counted by; another one starts anew.
    rate: Option<(Rate, RateLimiter<u128, Buckets, DefaultClock>)>,
    under_way: Arc<UnderWay>,
}

type UnderWay = Mutex<HashMap<u128, u32, ahash::RandomState>>;

/// A request that is counted as under way, until this is dropped.
#[must_use = "the request counts for as long as this lives"]
pub struct Place {
    of: u128,
    under_way: Arc<UnderWay>,
}

impl AddressLimits {
    /// Counts a request. A client whose address nobody knows is counted with all others of its kind.
    pub fn enter(
        &self,
        route: &Matching,
        guards: &RouteGuards,
        client: Option<IpAddr>,
    ) -> Result<Option<Place>, Refusal> {
        if guards.rate.is_none() && guards.in_flight.is_none() {
            return Ok(None);
        }
        let (counts, of) = (self.counts(route, guards.rate), key(client));
        counts.count(of)?;
        guards.in_flight.map(|most| Place::take(&counts.under_way, of, most)).transpose()
    }

    fn counts(&self, route: &Matching, rate: Option<Rate>) -> Arc<Counts> {
        let fits = |counts: &&Arc<Counts>| counts.rate.as_ref().map(|(rate, _)| *rate) == rate;
        let known = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(route).filter(fits).cloned();
        known.unwrap_or_else(|| {
            let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(counts) = routes.get(route).filter(fits) {
                return Arc::clone(counts);
            }
            let under_way = routes.get(route).map(|counts| Arc::clone(&counts.under_way)).unwrap_or_default();
            let rate = rate.and_then(|rate| Some((rate, limiter(rate)?)));
            let counts = Arc::new(Counts { rate, under_way });
            routes.insert(route.clone(), Arc::clone(&counts));
            counts
        })
    }
}

fn limiter(rate: Rate) -> Option<RateLimiter<u128, Buckets, DefaultClock>> {
    let quota = Quota::with_period(rate.per / rate.requests.get())?.allow_burst(rate.burst);
    let refills_in = quota.burst_size_replenished_in() + quota.replenish_interval();
    Some(RateLimiter::new(quota, Buckets::new(refills_in), DefaultClock::default()))
}

impl Counts {
    fn count(&self, of: u128) -> Result<(), Refusal> {
        let Some((_, limiter)) = &self.rate else { return Ok(()) };
        limiter.check_key(&of).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            let refusal = Refusal::new(Reason::RateLimitExceeded, "this address has asked too often");
            refusal.retry_after(wait.max(Duration::from_millis(1)))
        })
    }
}

impl Place {
    fn take(under_way: &Arc<UnderWay>, of: u128, most: u32) -> Result<Self, Refusal> {
        let mut counts = under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(of).or_default();
        if *count >= most {
            let refusal =
                Refusal::new(Reason::TooManyConcurrentRequests, "this address has too many requests under way");
            return Err(refusal.retry_after(Duration::from_secs(1)));
        }
        *count += 1;
        Ok(Self { of, under_way: Arc::clone(under_way) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.of);
            }
        }
    }
}

fn key(client: Option<IpAddr>) -> u128 {
    match client {
        None => 0,
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped().to_bits(),
        Some(IpAddr::V6(address)) => (address.to_bits() >> 64) << 64,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::config::{HostPattern, PathPattern};

    fn guards(requests: u32, in_flight: u32) -> RouteGuards {
        let requests = NonZeroU32::new(requests).unwrap();
        let rate = Rate { requests, per: Duration::from_secs(3600), burst: requests };
        RouteGuards { rate: Some(rate), in_flight: Some(in_flight), ..RouteGuards::default() }
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let address = |text: &str| Some(text.parse().unwrap());
        assert_eq!(key(address("2001:db8::1")), key(address("2001:db8::ffff:1")));
        assert_ne!(key(address("2001:db8::1")), key(address("2001:db8:0:1::1")));
        assert_ne!(key(address("10.0.0.1")), key(address("10.0.0.2")));
    }

    #[test]
    fn counts_outlive_a_reload_that_changes_nothing_and_places_any() {
        let limits = AddressLimits::default();
        let path = PathPattern::Prefix("/app".to_owned());
        let route = Matching { host: HostPattern::Any, path, methods: Vec::new(), headers: Vec::new() };
        let client = Some("10.0.0.1".parse().unwrap());
        let place = limits.enter(&route, &guards(2, 1), client).unwrap();
        let reason = |guards: &RouteGuards| limits.enter(&route, guards, client).err().map(|refusal| refusal.reason);
        // The refusal of a place has used up the second request.
        assert_eq!(reason(&guards(2, 1)), Some(Reason::TooManyConcurrentRequests));
        assert_eq!(reason(&guards(2, 9)), Some(Reason::RateLimitExceeded));
        assert_eq!(reason(&guards(3, 1)), Some(Reason::TooManyConcurrentRequests), "another rate counts anew");
        drop(place);
        assert_eq!(reason(&guards(3, 1)), None);
        assert!(limits.enter(&route, &guards(2, 1), Some("10.0.0.2".parse().unwrap())).is_ok(), "who else comes");
    }
}
