//! Which requests are wanted, as the page's address says it: the names are those of the control API's `/api/logs`, and what they
//! take is the API's own rule, so that links to it which stand on the page are never refused. A day alone is the page's own.

use crate::control::logs::{self, LONGEST, NoFilter, Wrong};
use crate::dashboard::form::Form;
use crate::dashboard::texts::{Texts, fill};
use crate::ledger::{Cursor, Filter, LogRow};
use crate::units::{Day, Timestamp};

/// The form as it was filled in, and what it asks of the ledger.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// `from` and `until`: `2026-01-31`, or RFC 3339.
    typed: logs::Wanted,
    pub before: Option<Cursor>,
    pub filter: Filter,
    /// What could not be understood, so that nothing is to be shown in its place.
    pub problem: Option<Problem>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    Field(NoFilter),
    /// The page before it is none.
    Before,
}

impl Wanted {
    pub fn of(query: &str) -> Self {
        let form = Form::of_query(query);
        let typed = logs::Wanted {
            stage: form.given("stage"),
            model: form.given("model"),
            status: form.given("status"),
            key: form.given("key"),
            session: form.given("session"),
            from: form.given("from"),
            until: form.given("until"),
            error: form.given("error"),
        };
        let mut wanted = Self { typed, ..Self::default() };
        match wanted.asked().filter() {
            Ok(_) if wanted.ends_before_it_begins() => {
                wanted.problem = Some(Problem::Field(NoFilter { name: "from", wrong: Wrong::Backwards }));
            }
            Ok(filter) => wanted.filter = filter,
            Err(wrong) => wanted.problem = Some(Problem::Field(wrong)),
        }
        if let Some(text) = form.given("before") {
            wanted.before = logs::parse_cursor(&text);
            wanted.problem = wanted.problem.or(wanted.before.is_none().then_some(Problem::Before));
        }
        wanted
    }

    /// As the control API is asked: a day is its beginning, or the next one's.
    fn asked(&self) -> logs::Wanted {
        let instant = |text: &Option<String>, of_day: fn(Day) -> Timestamp| {
            text.as_deref().map(|text| day(text).map_or_else(|| text.to_owned(), |day| of_day(day).rfc3339()))
        };
        let (from, until) = (instant(&self.typed.from, Day::start), instant(&self.typed.until, Day::end));
        logs::Wanted { from, until, ..self.typed.clone() }
    }

    /// Of two days. The one before another ends where that begins, which is no mistake of who asks by instants.
    fn ends_before_it_begins(&self) -> bool {
        let [from, until] = [&self.typed.from, &self.typed.until].map(|text| day(text.as_deref()?));
        from.zip(until).is_some_and(|(from, until)| from > until)
    }

    pub fn is_narrowed(&self) -> bool {
        self.filter != Filter::default()
    }

    /// What was typed into this field; nothing where there is none of this name.
    pub fn typed(&self, name: &str) -> &str {
        let typed = &self.typed;
        let text = match name {
            "stage" => &typed.stage,
            "model" => &typed.model,
            "status" => &typed.status,
            "key" => &typed.key,
            "session" => &typed.session,
            "from" => &typed.from,
            "until" => &typed.until,
            "error" => &typed.error,
            _ => &None,
        };
        text.as_deref().unwrap_or_default()
    }

    /// The first day that is wanted, for a field that takes a day and shows nothing else.
    pub fn first_day(&self) -> String {
        let from = logs::Wanted { from: self.asked().from, ..logs::Wanted::default() };
        shown(from.filter().ok().and_then(|filter| filter.since), self.typed("from"))
    }

    /// The last one. The end of a day is the beginning of the next: told as the day that was meant, also where nothing comes
    /// of the filter because of something else.
    pub fn last_day(&self) -> String {
        let until = logs::Wanted { until: self.asked().until, ..logs::Wanted::default() };
        let last = until.filter().ok().and_then(|filter| filter.until).map(|until| Timestamp(until.0 - 1));
        shown(last, self.typed("until"))
    }

    /// The filter as a query, for the control API and for the next page of this one.
    pub fn query(&self, more: &[(&str, &str)]) -> String {
        let asked = self.asked();
        let named = [
            ("stage", &asked.stage),
            ("model", &asked.model),
            ("status", &asked.status),
            ("key", &asked.key),
            ("session", &asked.session),
            ("error", &asked.error),
            ("from", &asked.from),
            ("until", &asked.until),
        ];
        let mut query = form_urlencoded::Serializer::new(String::new());
        let named = named.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        query.extend_pairs(named.chain(more.iter().copied()));
        query.finish()
    }
}

impl Problem {
    pub fn words(self, texts: &Texts) -> String {
        let Self::Field(NoFilter { name, wrong }) = self else { return texts.filter_before.to_owned() };
        let field = match name {
            "stage" => texts.stage,
            "model" => texts.model,
            "status" => texts.status,
            "key" => texts.key,
            "session" => texts.session,
            "from" => texts.from,
            "until" => texts.until,
            _ => texts.error_text,
        };
        let why = match wrong {
            Wrong::Stage | Wrong::Status | Wrong::Key => texts.filter_not_listed,
            Wrong::Instant => texts.filter_no_date,
            Wrong::Backwards => texts.filter_backwards,
            Wrong::Long => texts.filter_long,
            Wrong::ControlCharacter => texts.filter_control_character,
        };
        fill(why, &[("field", field), ("until", texts.until), ("n", &LONGEST.to_string())])
    }
}

/// Where the page after this row begins.
pub(super) fn after(row: &LogRow) -> String {
    logs::cursor_text(row.created_at, row.request)
}

/// The day of an instant. Where what was typed is none, the day that it begins with, whatever stands behind, or itself.
fn shown(instant: Option<Timestamp>, typed: &str) -> String {
    let date = || typed.get(..10).filter(|date| day(date).is_some()).unwrap_or(typed).to_owned();
    instant.map_or_else(date, |instant| instant.day().iso())
}

fn day(text: &str) -> Option<Day> {
    let start = (text.len() == 10).then(|| Timestamp::parse(&format!("{text}T00:00:00Z")))?;
    start.map(Timestamp::day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::texts::Language;

    #[test]
    fn a_day_is_meant_whole() {
        let wanted = Wanted::of("from=2026-01-31&until=2026-01-31&stage=plan");
        assert_eq!(wanted.filter.since.unwrap().rfc3339(), "2026-01-31T00:00:00Z");
        assert_eq!(wanted.filter.until.unwrap().rfc3339(), "2026-02-01T00:00:00Z");
        assert!(wanted.is_narrowed() && wanted.problem.is_none());
        let query = wanted.query(&[("before", "1.2")]);
        assert_eq!(query, "stage=plan&from=2026-01-31T00%3A00%3A00Z&until=2026-02-01T00%3A00%3A00Z&before=1.2");
        let again = Wanted::of(&query.replace("&before=1.2", ""));
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
            "before=1.x",
            "error=%00",
            "from=2026-02-30",
            "from=2026-02-01&until=2026-01-31",
            "from=2026-02-01T00:00:01Z&until=2026-01-31",
            "key=0197f9a1b2c37d4e8f900a1b2c3d4e5f",
            "key={0197f9a1-b2c3-7d4e-8f90-0a1b2c3d4e5f}",
            "key=urn:uuid:0197f9a1-b2c3-7d4e-8f90-0a1b2c3d4e5f",
            "session=a%09b",
        ] {
            let problem = Wanted::of(query).problem.expect(query);
            let [english, turkish] = Language::ALL.map(|language| problem.words(language.texts()));
            assert!(!english.contains('{') && english != turkish, "{query}: {english} {turkish}");
        }
        let long = "ş".repeat(LONGEST + 1);
        let problem = Wanted::of(&format!("model={long}")).problem.unwrap();
        assert_eq!(problem.words(Language::English.texts()), "“Model” has more than 256 characters.");
        let backwards = Wanted::of("from=2026-02-01&until=2026-01-31").problem.unwrap();
        assert_eq!(backwards.words(Language::Turkish.texts()), "“Başlangıç”, “Bitiş” alanından sonra olamaz.");
        assert_eq!(Wanted::of("stage=&status=&unknown=1").problem, None);
    }

    /// The links on the page ask the API what the page asked the ledger.
    #[test]
    fn what_the_page_takes_the_api_takes() {
        let long = format!("session={}&error={}", "ş".repeat(LONGEST), "x".repeat(LONGEST));
        for query in [
            "stage=direct&status=rate_limited&model=%20a%2Bb%20&error=%25",
            "from=2026-01-31&until=2026-01-31",
            "from=2026-01-31T12:00:00%2B03:00&until=2026-02-01T00:00:00.5Z",
            "from=2026-01-31T12:00:00+03:00",
            "from=1970-01-01&until=9999-12-29",
            "from=1970-01-01&until=9999-12-30",
            "from=9999-12-31&until=9999-12-31",
            "until=9999-12-31T00:00:00Z",
            "key=0197f9a1-b2c3-7d4e-8f90-0a1b2c3d4e5f&model=a&model=b",
            &long,
        ] {
            let wanted = Wanted::of(query);
            assert_eq!(wanted.problem, None, "{query}");
            let link = wanted.query(&[]);
            let pairs = form_urlencoded::parse(link.as_bytes()).into_owned();
            let asked = serde_json::Value::Object(pairs.map(|(name, value)| (name, value.into())).collect());
            let asked = serde_json::from_value::<logs::Wanted>(asked).unwrap();
            assert_eq!(asked.filter(), Ok(wanted.filter), "{query}");
        }
    }

    #[test]
    fn days_are_shown_back_also_of_what_was_refused() {
        for (query, first, last) in [
            ("from=2026-01-30&until=2026-01-31", "2026-01-30", "2026-01-31"),
            ("from=9999-12-30&until=9999-12-31", "9999-12-30", "9999-12-31"),
            ("from=2026-01-30T12:00:00Z&until=2026-01-31T00:00:00Z", "2026-01-30", "2026-01-30"),
            ("from=2026-01-31T02:00:00 03:00&until=2026-01-31T02:00:00%2B03:00", "2026-01-30", "2026-01-30"),
            ("stage=nope&from=2026-01-30T12:00:00Z&until=2026-01-31T12:00:00Z", "2026-01-30", "2026-01-31"),
            ("stage=nope&until=2026-01-31", "", "2026-01-31"),
            ("from=2026-02-01T12:00:00Z&until=2026-01-31T12:00:00Z", "2026-02-01", "2026-01-31"),
            ("from=2026-01-30T12:00&until=2026-01-31T25:00:00Z", "2026-01-30", "2026-01-31"),
            ("from=2026-01-30 12:00&until=2026-01-31 noon", "2026-01-30", "2026-01-31"),
            ("from=yesterday&until=2026-02-30T12:00:00Z", "yesterday", "2026-02-30T12:00:00Z"),
            ("from=2026-01-ş", "2026-01-ş", ""),
        ] {
            let wanted = Wanted::of(query);
            assert_eq!([wanted.first_day(), wanted.last_day()], [first, last], "{query}");
        }
    }

    #[test]
    fn a_page_goes_on_where_the_last_ended() {
        let before = Wanted::of("before=1769903999999999.0197f9a1-b2c3-7d4e-8f90-0a1b2c3d4e5f").before.unwrap();
        assert_eq!(before.created_at, Timestamp(1_769_903_999_999_999));
        assert_eq!(before.request.0.to_string(), "0197f9a1-b2c3-7d4e-8f90-0a1b2c3d4e5f");
    }
}
