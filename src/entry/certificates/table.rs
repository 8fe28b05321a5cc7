//! Which certificate is shown to whom. Never changed: a swap puts another in its place.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Certificate;

/// Certificates by name.
#[derive(Debug)]
pub struct Table {
    /// The first is shown to who asks for no name, or for one that no certificate has.
    all: Vec<Arc<Certificate>>,
    /// By exact name; the first certificate that has it.
    exact: HashMap<String, usize>,
    /// By what follows `*.`.
    wildcard: HashMap<String, usize>,
}

impl Table {
    pub(super) fn of(all: Vec<Arc<Certificate>>) -> Self {
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for (place, served) in all.iter().enumerate() {
            for name in &served.names {
                match name.strip_prefix("*.") {
                    Some(parent) => wildcard.entry(parent.to_owned()).or_insert(place),
                    None => exact.entry(name.clone()).or_insert(place),
                };
            }
        }
        Self { all, exact, wildcard }
    }

    pub fn all(&self) -> &[Arc<Certificate>] {
        &self.all
    }

    /// The certificate for a server name in lower case: its own, else a wildcard's, else the first of all.
    pub fn choose(&self, server_name: Option<&str>) -> Option<&Arc<Certificate>> {
        let place = server_name.and_then(|name| self.find(name)).unwrap_or(0);
        self.all.get(place)
    }

    /// A wildcard stands for one label.
    fn find(&self, name: &str) -> Option<usize> {
        let by_wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(by_wildcard).copied()
    }
}

/// A server name as certificates have it.
pub fn normal(server_name: &str) -> String {
    server_name.trim_end_matches('.').to_ascii_lowercase()
}
