//! How long an upstream is waited for, in general and for one stage.

use std::time::Duration;

/// How long each part of an exchange with an upstream may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// From when the request is sent to the answer's head; for streams only.
    pub first_byte: Duration,
    pub between_chunks: Duration,
    pub total: Duration,
    /// A stream whose head is not there after this long gets its 200 all the same, and comments. None: it waits.
    pub commit_after: Option<Duration>,
}

/// A stage's own values in place of its upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeoutOverrides {
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub between_chunks: Option<Duration>,
    pub total: Option<Duration>,
    pub commit_after: Option<CommitAfter>,
}

/// `commit_after` as it is written: a stage may switch off what its upstream has on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitAfter {
    Off,
    Silence(Duration),
}

impl TimeoutOverrides {
    /// `base`, with every value that is set here in its place.
    pub fn over(self, base: Timeouts) -> Timeouts {
        Timeouts {
            connect: self.connect.unwrap_or(base.connect),
            first_byte: self.first_byte.unwrap_or(base.first_byte),
            between_chunks: self.between_chunks.unwrap_or(base.between_chunks),
            total: self.total.unwrap_or(base.total),
            commit_after: match self.commit_after {
                None => base.commit_after,
                Some(CommitAfter::Off) => None,
                Some(CommitAfter::Silence(silence)) => Some(silence),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_keeps_what_it_does_not_set_and_may_switch_off() {
        let second = Duration::from_secs(1);
        let base = Timeouts {
            connect: second,
            first_byte: second,
            between_chunks: second,
            total: second,
            commit_after: Some(second),
        };
        assert_eq!(TimeoutOverrides::default().over(base), base);
        let stage =
            TimeoutOverrides { total: Some(2 * second), commit_after: Some(CommitAfter::Off), ..Default::default() };
        assert_eq!(stage.over(base), Timeouts { total: 2 * second, commit_after: None, ..base });
    }
}
