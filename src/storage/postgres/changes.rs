//! What was heard of keys that changed, for whoever asks since when: a short log of names, forgotten where it would be
//! too long or where names were missed.

use std::collections::VecDeque;

use crate::admission::{Changed, Changes, PublicId};

/// Names kept; whoever asks for more is told that any key may have changed.
const KEPT: usize = 1_024;

#[derive(Default)]
pub(super) struct Log {
    /// Changes so far.
    count: u64,
    /// The last of them.
    names: VecDeque<PublicId>,
}

impl Log {
    /// One key changed or, without a name, any may have.
    pub(super) fn note(&mut self, name: Option<PublicId>) {
        self.count += 1;
        match name {
            Some(name) => self.names.push_back(name),
            None => self.names.clear(),
        }
        if self.names.len() > KEPT {
            self.names.pop_front();
        }
    }

    pub(super) fn since(&self, mark: Option<u64>) -> Changes {
        let names = mark.and_then(|mark| {
            let new = usize::try_from(self.count.checked_sub(mark)?).ok()?;
            Some(self.names.iter().skip(self.names.len().checked_sub(new)?).copied().collect())
        });
        Changes { what: names.map_or(Changed::Any, Changed::Keys), mark: self.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Option<PublicId> {
        PublicId::parse(&format!("{number:012}"))
    }

    fn names(numbers: std::ops::Range<usize>) -> Changed {
        Changed::Keys(numbers.filter_map(name).collect())
    }

    #[test]
    fn names_are_told_once_to_whoever_says_what_it_has_heard() {
        let mut log = Log::default();
        assert_eq!(log.since(None), Changes { what: Changed::Any, mark: 0 }, "nothing is known of the time before");
        assert_eq!(log.since(Some(0)).what, names(0..0));
        (0..3).for_each(|number| log.note(name(number)));
        assert_eq!(log.since(Some(0)), Changes { what: names(0..3), mark: 3 });
        assert_eq!(log.since(Some(2)).what, names(2..3));
        assert_eq!(log.since(Some(3)).what, names(0..0));
    }

    #[test]
    fn what_has_no_name_or_came_too_long_ago_may_be_any() {
        let mut log = Log::default();
        log.note(name(0));
        log.note(None);
        log.note(name(2));
        assert_eq!((log.since(Some(0)).what, log.since(Some(1)).what), (Changed::Any, Changed::Any));
        assert_eq!(log.since(Some(2)).what, names(2..3));
        (3..2_000).for_each(|number| log.note(name(number)));
        assert_eq!(log.since(Some(2)).what, Changed::Any);
        assert_eq!(log.since(Some(1_999)).what, names(1_999..2_000));
        assert_eq!(log.names.len(), KEPT);
    }
}
