//! Values that other places of a file refer to by name: upstreams, models.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::problem::{Checked, Reported};
use super::read::{At, Named};
use super::suggest::instead_of;

/// A section by name. A broken value is known by its name all the same, so that what refers to it is no second problem.
pub(super) struct Names<T> {
    by_name: BTreeMap<String, Checked<Arc<T>>>,
    /// The section cannot be read: any name may be meant to be in it.
    broken: Option<Reported>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), broken: None }
    }
}

impl<T> Names<T> {
    pub(super) fn read(section: Checked<Vec<Named>>, read: impl Fn(&Named) -> Checked<T>) -> Self {
        match section {
            Err(reported) => Self { by_name: BTreeMap::new(), broken: Some(reported) },
            Ok(named) => {
                let values = named.iter().map(|named| (named.name.to_owned(), read(named).map(Arc::new)));
                Self { by_name: values.collect(), broken: None }
            }
        }
    }

    /// The value that the text at this place names. `what` is the word for one: "model".
    pub(super) fn resolve(&self, at: &At, what: &str) -> Checked<Arc<T>> {
        let name = at.text()?;
        self.by_name.get(name).cloned().or(self.broken.map(Err)).unwrap_or_else(|| {
            let remedy = instead_of(name, self.by_name.keys().map(String::as_str));
            Err(at.problem_with(format!("no {what} {}", at.quoted()), remedy))
        })
    }

    /// All of them, where none is broken.
    pub(super) fn sound(self) -> Checked<BTreeMap<String, Arc<T>>> {
        self.broken.map_or(Ok(()), Err)?;
        self.by_name.into_iter().map(|(name, value)| Ok((name, value?))).collect()
    }
}
