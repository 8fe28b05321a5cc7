//! Which requests are wanted, as the page's address says it: the names are those of the control API's `/api/logs`.

use crate::dashboard::form::Form;
use crate::ledger::{Cursor, Filter, LogRow, Status};
use crate::units::{Day, KeyId, RequestId, Stage, Timestamp};
use uuid::Uuid;

/// The longest text that a store is asked to look for.
const LONGEST: usize = 200;

/// The form as it was filled in, and what it asks of the ledger.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub stage: String,
    pub model: String,
    pub status: String,
    pub key: String,
    pub session: String,
    pub error: String,
    /// `2026-01-31`, or RFC 3339.
    pub from: String,
    /// Likewise; a day is meant whole.
    pub until: String,
    pub before: Option<Cursor>,
    pub filter: Filter,
    /// Whether something could not be understood, and nothing is to be shown in its place.
    pub wrong: bool,
}

impl Wanted {
    pub fn of(query: &str) -> Self {
        let form = Form::of_query(query);
        let text = |name: &str| form.given(name).unwrap_or_default();
        let mut wanted = Self {
            stage: text("stage"),
            model: text("model"),
            status: text("status"),
            key: text("key"),
            session: text("session"),
            error: text("error"),
            from: text("from"),
            until: text("until"),
            ..Self::default()
        };
        let mut wrong = false;
        wanted.filter = Filter {
            stage: parsed(&wanted.stage, Stage::parse, &mut wrong),
            model: plain(&wanted.model, &mut wrong),
            status: parsed(&wanted.status, Status::parse, &mut wrong),
            key: parsed(&wanted.key, |key| Uuid::parse_str(key).ok().map(KeyId), &mut wrong),
            session_id: plain(&wanted.session, &mut wrong),
            error: plain(&wanted.error, &mut wrong),
            since: parsed(&wanted.from, |text| instant(text, Day::start), &mut wrong),
            until: parsed(&wanted.until, |text| instant(text, Day::end), &mut wrong),
        };
        wanted.before = parsed(&text("before"), cursor, &mut wrong);
        wanted.wrong = wrong;
        wanted
    }

    pub fn is_narrowed(&self) -> bool {
        self.filter != Filter::default()
    }

    /// The filter as a query, for the control API and for the next page of this one.
    pub fn query(&self, more: &[(&str, &str)]) -> String {
        let instant = |at: Option<Timestamp>| at.map(Timestamp::rfc3339).unwrap_or_default();
        let (from, until) = (instant(self.filter.since), instant(self.filter.until));
        let named = [
            ("stage", self.stage.as_str()),
            ("model", &self.model),
            ("status", &self.status),
            ("key", &self.key),
            ("session", &self.session),
            ("error", &self.error),
            ("from", &from),
            ("until", &until),
        ];
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in named.iter().chain(more).filter(|(_, value)| !value.is_empty()) {
            query.append_pair(name, value);
        }
        query.finish()
    }
}

/// Where the page after this row begins.
pub(super) fn after(row: &LogRow) -> String {
    format!("{}_{}", row.created_at.0, row.request.0.simple())
}

fn cursor(text: &str) -> Option<Cursor> {
    let (at, request) = text.split_once('_')?;
    Some(Cursor { created_at: Timestamp(at.parse().ok()?), request: RequestId(Uuid::parse_str(request).ok()?) })
}

fn parsed<T>(text: &str, parse: impl Fn(&str) -> Option<T>, wrong: &mut bool) -> Option<T> {
    if text.is_empty() {
        return None;
    }
    let value = parse(text);
    *wrong |= value.is_none();
    value
}

fn plain(text: &str, wrong: &mut bool) -> Option<String> {
    let fits = |text: &str| text.len() <= LONGEST && !text.contains('\0');
    parsed(text, |text| fits(text).then(|| text.to_owned()), wrong)
}

fn instant(text: &str, of_day: fn(Day) -> Timestamp) -> Option<Timestamp> {
    let instant = if text.len() == 10 {
        of_day(Timestamp::parse(&format!("{text}T00:00:00Z"))?.day())
    } else {
        Timestamp::parse(text)?
    };
    // What a store's calendar holds, too.
    (0..=253_402_300_799_000_000).contains(&instant.0).then_some(instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_meant_whole() {
        let wanted = Wanted::of("from=2026-01-31&until=2026-01-31&stage=plan");
        assert_eq!(wanted.filter.since.unwrap().rfc3339(), "2026-01-31T00:00:00Z");
        assert_eq!(wanted.filter.until.unwrap().rfc3339(), "2026-02-01T00:00:00Z");
        assert!(wanted.is_narrowed() && !wanted.wrong);
        let query = wanted.query(&[("before", "1_2")]);
        assert_eq!(query, "stage=plan&from=2026-01-31T00%3A00%3A00Z&until=2026-02-01T00%3A00%3A00Z&before=1_2");
        let again = Wanted::of(&query.replace("&before=1_2", ""));
        assert_eq!(again.filter, wanted.filter, "the next page asks for the same");
    }

    #[test]
    fn what_is_not_understood_is_said_and_not_passed_over() {
        for query in [
            "stage=nope",
            "status=ok",
            "key=1",
            "from=yesterday",
            "until=99999-01-01",
            "from=0001-01-01",
            "before=x",
            "before=1_x",
            "error=%00",
            "from=2026-02-30",
        ] {
            assert!(Wanted::of(query).wrong, "{query}");
        }
        let long = "x".repeat(LONGEST + 1);
        assert!(Wanted::of(&format!("model={long}")).wrong);
        assert!(!Wanted::of("stage=&status=&unknown=1").wrong);
    }

    #[test]
    fn a_page_goes_on_where_the_last_ended() {
        let before = Wanted::of("before=1769903999999999_0197f9a1b2c37d4e8f900a1b2c3d4e5f").before.unwrap();
        assert_eq!(before.created_at, Timestamp(1_769_903_999_999_999));
        assert_eq!(before.request.0.to_string(), "0197f9a1-b2c3-7d4e-8f90-0a1b2c3d4e5f");
    }
}
