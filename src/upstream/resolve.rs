//! Where a target is: its name looked up beside the requests, again and again, and at once where what was found leads
//! nowhere any more.
//!
//! Failure stance: a name that cannot be looked up at the moment is where it was before.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use tokio::time::timeout;

/// Between two looks beside the requests. The resolver tells no time to live.
pub(super) const AGAIN_EVERY: Duration = Duration::from_secs(30);
/// What was found, or looked for in vain, so lately is not doubted.
const FRESH: Duration = Duration::from_secs(1);

/// How long a request waits to hear whether a name has moved. A resolver that is down would else take all the time that
/// there is for a connection, and with it a target that is where it always was.
const DOUBTED_FOR: Duration = Duration::from_millis(500);

/// Who knows where names are.
#[async_trait]
pub(super) trait Resolver: Send + Sync {
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The operating system's, on a thread of its own.
pub(super) struct System;

/// The addresses of one target.
pub(super) struct Addresses {
    host: String,
    port: u16,
    /// An address and no name: there is nothing to look up.
    literal: bool,
    known: ArcSwapOption<Known>,
    /// Nobody was there when it was last tried.
    doubted: AtomicBool,
}

/// What was found, and when.
#[derive(Debug)]
pub(super) struct Known {
    /// At least one; IPv6 and IPv4 by turns, in the resolver's order otherwise.
    pub list: Vec<SocketAddr>,
    at: Instant,
}

#[async_trait]
impl Resolver for System {
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

impl Addresses {
    pub fn of(host: &str, port: u16) -> Self {
        let literal = host.parse::<IpAddr>().ok();
        let known = literal.map(|ip| Arc::new(Known { list: vec![(ip, port).into()], at: Instant::now() }));
        Self {
            host: host.to_owned(),
            port,
            literal: literal.is_some(),
            known: ArcSwapOption::new(known),
            doubted: AtomicBool::new(false),
        }
    }

    pub fn is_name(&self) -> bool {
        !self.literal
    }

    pub fn count(&self) -> usize {
        self.known.load().as_ref().map_or(0, |known| known.list.len())
    }

    /// Where it is, as far as is known; looked up where it is not, or where that is in doubt.
    pub async fn current(&self, resolver: &dyn Resolver) -> io::Result<Arc<Known>> {
        let Some(known) = self.known.load_full() else { return self.look_up(resolver).await };
        if self.literal || !self.doubted.load(Ordering::Relaxed) || known.at.elapsed() < FRESH {
            return Ok(known);
        }
        if let Ok(Ok(found)) = timeout(DOUBTED_FOR, self.look_up(resolver)).await {
            return Ok(found);
        }
        let same = Arc::new(Known { list: known.list.clone(), at: Instant::now() });
        self.known.compare_and_swap(&known, Some(same)); // unless somebody else has found it
        Ok(known)
    }

    /// Other addresses than those that have just led nowhere, if there are any by now.
    pub async fn others(&self, resolver: &dyn Resolver, tried: &Known) -> Option<Arc<Known>> {
        self.doubt();
        let now = self.current(resolver).await.ok()?;
        (now.list != tried.list).then_some(now)
    }

    /// Nobody was there.
    pub fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Looks, whatever is known.
    pub async fn look_up(&self, resolver: &dyn Resolver) -> io::Result<Arc<Known>> {
        if let (true, Some(known)) = (self.literal, self.known.load_full()) {
            return Ok(known);
        }
        let list = by_turns(resolver.look_up(&self.host, self.port).await?);
        if list.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name resolves to no address"));
        }
        let known = Arc::new(Known { list, at: Instant::now() });
        self.known.store(Some(Arc::clone(&known)));
        self.doubted.store(false, Ordering::Relaxed);
        Ok(known)
    }
}

/// One of each family after the other (RFC 8305, 4), so that a family without a route costs one try and not all.
fn by_turns(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let mut second = second.into_iter();
    let mut mixed: Vec<SocketAddr> = first.into_iter().flat_map(|one| [Some(one), second.next()]).flatten().collect();
    mixed.extend(second);
    mixed
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
pub(super) mod tests;
