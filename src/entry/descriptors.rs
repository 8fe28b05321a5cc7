//! How many files the process may open, and so how many connections it can hold.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Beyond this a kernel may refuse to be asked, and no edge has memory for as many connections.
const ENOUGH: u64 = 1 << 20;
/// What is not for connections: the store's, the spool's, the listeners'.
const OTHERS: u64 = 256;
/// What is taken in where the process may open next to nothing, and however much it may open: by then memory is short,
/// not descriptors. Whoever has more of it says how many.
const CONNECTIONS: std::ops::RangeInclusive<u64> = 64..=65_536;

/// Takes all the descriptors that the system lets this process have. Shells, systemd and container runtimes start
/// programs with 1,024, for the sake of those that use `select`, and leave it to the others to ask for more.
pub fn take_all() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }) {
        tracing::warn!(%error, wanted, "cannot have as many open files as are allowed");
    }
}

/// As many connections as there are descriptors for, with one for each and one for its upstream's.
pub fn room_for_connections() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(ENOUGH);
    usize::try_from(room(descriptors)).unwrap_or(usize::MAX)
}

fn room(descriptors: u64) -> u64 {
    (descriptors.saturating_sub(OTHERS) / 2).clamp(*CONNECTIONS.start(), *CONNECTIONS.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_may_be_opened_is_for_connections_within_reason() {
        for (descriptors, connections) in
            [(10, 64), (1_024, 384), (20_000, 9_872), (65_536, 32_640), (1 << 20, 65_536), (u64::MAX, 65_536)]
        {
            assert_eq!(room(descriptors), connections, "{descriptors}");
        }
    }
}
