//! The words edges say to each other about quotas, as `migrations/postgres/0010_quota.sql` describes them.

use uuid::Uuid;

use crate::admission::{Subject, Word};
use crate::units::{Day, EdgeId, KeyId, UserId};

/// A word and, where it is known, which edge said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Word(Word, Option<EdgeId>),
    /// The connection was away.
    Missed,
}

impl Said {
    pub(super) fn parse(payload: &str) -> Option<Self> {
        let mut parts = payload.split(' ');
        let (verb, kind, id) = (parts.next()?, parts.next()?, Uuid::parse_str(parts.next()?).ok()?);
        let day = Day(parts.next()?.parse().ok()?);
        let by = match parts.next()? {
            "-" => None,
            edge => Some(EdgeId(Uuid::parse_str(edge).ok()?)),
        };
        let subject = match kind {
            "user" => Subject::User(UserId(id)),
            "key" => Subject::Key(KeyId(id)),
            _ => return None,
        };
        match (verb, parts.next()) {
            ("recall", None) => Some(Self::Word(Word::Recall { subject, day }, by)),
            ("freed", None) => Some(Self::Word(Word::Freed { subject, day }, by)),
            _ => None,
        }
    }

    /// What `edge` is told of it: nothing of what it said itself.
    pub(super) fn to(self, edge: EdgeId) -> Option<Word> {
        match self {
            Self::Word(_, Some(by)) if by == edge => None,
            Self::Word(word, _) => Some(word),
            Self::Missed => Some(Word::Missed),
        }
    }
}

/// The payload of a recall.
pub(super) fn recall(edge: EdgeId, subject: Subject, day: Day) -> String {
    let (kind, id) = match subject {
        Subject::User(user) => ("user", user.0),
        Subject::Key(key) => ("key", key.0),
    };
    format!("recall {kind} {id} {} {}", day.0, edge.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recall_is_heard_by_all_but_the_edge_that_said_it() {
        let (edge, other) = (EdgeId(Uuid::from_u128(1)), EdgeId(Uuid::from_u128(2)));
        for subject in [Subject::User(UserId(Uuid::from_u128(3))), Subject::Key(KeyId(Uuid::from_u128(4)))] {
            let said = Said::parse(&recall(edge, subject, Day(20_484))).unwrap();
            assert_eq!(said.to(edge), None);
            assert_eq!(said.to(other), Some(Word::Recall { subject, day: Day(20_484) }));
        }
    }

    #[test]
    fn what_means_nothing_is_passed_over() {
        let user = Uuid::from_u128(3);
        let freed = format!("freed user {user} 20484 -");
        assert!(matches!(Said::parse(&freed), Some(Said::Word(Word::Freed { .. }, None))));
        for payload in ["", "freed", &freed[..20], &format!("{freed} more"), &freed.replace("user", "team")] {
            assert_eq!(Said::parse(payload), None, "{payload:?}");
        }
    }
}
