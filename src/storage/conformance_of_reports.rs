//! What every adapter must read back of the ledger: one user's days, what they were spent on, and the rows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::admission::{Posting, PostingId, QuotaStore, Subject};
use crate::ledger::{
    Cursor, DayUsage, Filter, LedgerStore, LogRow, Overview, ReportStore, Reports, Row, Share, Status,
};
use crate::storage::conformance::{NOON, row};
use crate::units::{Day, KeyId, NanoUsd, RequestId, Stage, StageSource, Timestamp, UserId};

const DAY: i64 = 86_400_000_000;
const TODAY: Day = Day(20_484);

/// A row of `user`, so many milliseconds after noon of the day that is `day` days after today.
pub(super) fn logged(user: UserId, day: i64, millis: i64) -> Row {
    // With some microseconds, which the request's id does not hold.
    let created_at = Timestamp(NOON.0 + day * DAY + millis * 1_000 + 7);
    Row { request: RequestId::new(created_at), created_at, user, ..row(0) }
}

/// What stands in the log of somebody who had two days: an answer, a failure and a refusal; then an answer and one that was
/// not waited for.
pub(super) fn two_days(user: UserId) -> Vec<Row> {
    let code = |day, millis| Row {
        stage: Some(Stage::Code),
        source: Some(StageSource::Header),
        model: Some(Arc::from("deepseek")),
        ..logged(user, day, millis)
    };
    vec![
        Row { cost: NanoUsd(50), latency: Duration::from_millis(30), ..logged(user, 0, 1) },
        Row {
            status: Status::Error,
            http_status: 502,
            cost: NanoUsd(3),
            error: Some("Upstream 100%_ of it \\ gone".to_owned()),
            ..code(0, 2)
        },
        Row {
            session_id: None,
            stage: None,
            source: None,
            model: None,
            stream: false,
            status: Status::RateLimited,
            http_status: 429,
            usage: None,
            cost: NanoUsd(0),
            first_token: None,
            attempts: 0,
            error: Some("daily_quota_exceeded \u{d7}190".to_owned()),
            ..logged(user, 0, 3)
        },
        Row {
            key: KeyId(Uuid::from_u128(77)),
            session_id: Some("other".to_owned()),
            latency: Duration::from_millis(10),
            stream: false,
            cost: NanoUsd(60),
            ..code(1, 4)
        },
        Row { status: Status::Cancelled, http_status: 499, error: Some("client_closed".to_owned()), ..code(1, 5) },
    ]
}

/// How `row` reads back.
fn read_back(row: &Row) -> LogRow {
    let usage = row.usage;
    LogRow {
        request: row.request,
        created_at: row.created_at,
        key: row.key,
        session_id: row.session_id.clone(),
        stage: row.stage,
        source: row.source,
        model: row.model.as_deref().map(str::to_owned),
        stream: row.stream,
        body_bytes: row.body_bytes,
        status: row.status,
        http_status: row.http_status,
        input_tokens: usage.map(|usage| usage.input),
        cached_input_tokens: usage.map(|usage| usage.cached_input),
        cache_write_tokens: usage.map(|usage| usage.cache_write),
        output_tokens: usage.map(|usage| usage.output),
        reasoning_tokens: usage.map(|usage| usage.reasoning),
        total_tokens: usage.map(|usage| usage.input + usage.output),
        estimated: row.estimated,
        cost: row.cost,
        latency_ms: u64::try_from(row.latency.as_millis()).unwrap(),
        first_token_ms: row.first_token.map(|time| u64::try_from(time.as_millis()).unwrap()),
        attempts: row.attempts,
        error: row.error.clone(),
    }
}

pub(super) async fn reports<S: LedgerStore + ReportStore + QuotaStore>(store: &S) {
    let (user, other) = (UserId(Uuid::new_v4()), UserId(Uuid::new_v4()));
    let rows = two_days(user);
    let elses = logged(other, 0, 2);
    let batch: Arc<[Row]> = rows.iter().cloned().chain([elses.clone()]).collect();
    for _ in 0..2 {
        store.append(Arc::clone(&batch)).await.unwrap();
    }
    let posting = Posting { id: PostingId(Uuid::new_v4()), subject: Subject::User(user), day: TODAY, count: 9 };
    store.post(posting).await.unwrap();
    let reports = store.of(user);
    the_days_and_what_they_were_spent_on(&*reports).await;
    rows_pass_every_filter_that_is_given(&*reports, &rows).await;
    what_is_asked_absurdly_is_answered(&*reports, rows.len()).await;

    assert_eq!(reports.row(rows[1].request).await.unwrap(), Some(read_back(&rows[1])));
    assert_eq!(reports.row(elses.request).await.unwrap(), None, "it is another's");
    assert_eq!(reports.row(RequestId(Uuid::new_v4())).await.unwrap(), None);
    let (yesterday, first, tomorrow) = (Day(TODAY.0 - 1), rows[0].created_at, Timestamp(NOON.0 + DAY));
    let overview = reports.overview(yesterday, TODAY, first, Timestamp(i64::MAX)).await.unwrap();
    assert_eq!(overview.days, reports.days(yesterday, TODAY).await.unwrap());
    assert_eq!(overview.split, reports.split(TODAY, TODAY).await.unwrap());
    let pace = overview.pace;
    assert_eq!((pace.requests, pace.latency_p50, pace.latency_p95), (2, Some(10), Some(30)));
    assert_eq!((pace.first_token_p50, pace.first_token_p95), (Some(321), Some(321)), "of the one stream");
    for (since, until, requests) in [
        (tomorrow, Timestamp(i64::MAX), 1),
        (first, tomorrow, 1),
        (first, first, 0),
        (Timestamp(i64::MIN), Timestamp(i64::MAX), 2),
        (Timestamp(i64::MAX), Timestamp(i64::MIN), 0),
    ] {
        let overview = reports.overview(Day(i32::MIN), Day(i32::MAX), since, until).await.unwrap();
        assert_eq!((overview.pace.requests, overview.days.len(), overview.split), (requests, 2, vec![]), "{since:?}");
    }
    let nobody = store.of(UserId(Uuid::new_v4()));
    assert_eq!(nobody.overview(yesterday, TODAY, first, tomorrow).await.unwrap(), Overview::default());
    assert_eq!(nobody.days(Day(i32::MIN), Day(i32::MAX)).await.unwrap(), []);
    assert_eq!(nobody.rows(&Filter::default(), None, 50).await.unwrap(), []);
    pages_show_each_row_once(store, other).await;
    filters_pass_in_any_company_what_each_of_them_passes(store).await;
}

async fn the_days_and_what_they_were_spent_on(reports: &dyn Reports) {
    let tomorrow = Day(TODAY.0 + 1);
    let first = DayUsage {
        day: TODAY,
        requests: 9,
        rows: 3,
        answered: 1,
        failed: 1,
        input_tokens: 200,
        output_tokens: 40,
        cost: NanoUsd(53),
    };
    let second = DayUsage { day: tomorrow, requests: 2, rows: 2, failed: 0, cost: NanoUsd(61), ..first };
    assert_eq!(reports.days(TODAY, tomorrow).await.unwrap(), [first, second], "what is counted late is in the rows");
    assert_eq!(reports.days(TODAY, TODAY).await.unwrap(), [first]);
    assert_eq!(reports.days(tomorrow, TODAY).await.unwrap(), []);

    let share = |stage, model: Option<&str>, requests, answered, tokens: u64, cost| Share {
        stage,
        model: model.map(str::to_owned),
        requests,
        answered,
        input_tokens: tokens * 100,
        output_tokens: tokens * 20,
        cost: NanoUsd(cost),
    };
    let both = reports.split(TODAY, tomorrow).await.unwrap();
    let code = share(Some(Stage::Code), Some("deepseek"), 3, 1, 3, 64);
    let review = share(Some(Stage::Review), Some("gpt-mini"), 1, 1, 1, 50);
    assert_eq!(both, [code, review.clone(), share(None, None, 1, 0, 0, 0)]);
    let code = share(Some(Stage::Code), Some("deepseek"), 1, 0, 1, 3);
    assert_eq!(reports.split(TODAY, TODAY).await.unwrap(), [review, code, share(None, None, 1, 0, 0, 0)]);
}

pub(super) async fn rows_pass_every_filter_that_is_given(reports: &dyn Reports, rows: &[Row]) {
    let all = Filter::default;
    let error = |text: &str| Filter { error: Some(text.to_owned()), ..all() };
    let at = |place: usize| rows[place].created_at;
    let cases: &[(Filter, &[usize])] = &[
        (all(), &[4, 3, 2, 1, 0]),
        (Filter { stage: Some(Stage::Code), ..all() }, &[4, 3, 1]),
        (Filter { stage: Some(Stage::Plan), ..all() }, &[]),
        (Filter { model: Some("deepseek".into()), ..all() }, &[4, 3, 1]),
        (Filter { model: Some("deep".into()), ..all() }, &[]),
        (Filter { model: Some("'; drop table request_logs; --".into()), ..all() }, &[]),
        (Filter { status: Some(Status::RateLimited), ..all() }, &[2]),
        (Filter { key: Some(KeyId(Uuid::from_u128(77))), ..all() }, &[3]),
        (Filter { session_id: Some("session".into()), ..all() }, &[4, 1, 0]),
        (Filter { status: Some(Status::Success), ..all() }, &[3, 0]),
        (Filter { model: Some("".into()), ..all() }, &[]),
        (Filter { stage: Some(Stage::Review), model: Some("deepseek".into()), ..all() }, &[]),
        (
            Filter { stage: Some(Stage::Code), model: Some("deepseek".into()), status: Some(Status::Error), ..all() },
            &[1],
        ),
        (Filter { stage: Some(Stage::Code), key: Some(KeyId(Uuid::from_u128(77))), ..all() }, &[3]),
        (Filter { stage: Some(Stage::Review), session_id: Some("session".into()), ..all() }, &[0]),
        (Filter { stage: Some(Stage::Code), since: Some(at(3)), until: Some(at(4)), ..all() }, &[3]),
        (error("upstream"), &[1]),
        (error("100%_ OF"), &[1]),
        (error("0_% of"), &[]),
        (error("\\"), &[1]),
        (error("\u{d7}19"), &[2]),
        (error(""), &[4, 2, 1]),
        (Filter { status: Some(Status::Cancelled), ..error("CLOSED") }, &[4]),
        (Filter { stage: Some(Stage::Code), session_id: Some("other".into()), ..error("closed") }, &[]),
        (Filter { since: Some(at(3)), ..all() }, &[4, 3]),
        (Filter { until: Some(at(3)), ..all() }, &[2, 1, 0]),
        (Filter { since: Some(at(1)), until: Some(Timestamp(at(2).0 + 1)), ..all() }, &[2, 1]),
        (Filter { since: Some(at(4)), until: Some(at(1)), ..all() }, &[]),
    ];
    for (filter, meant) in cases {
        let meant: Vec<_> = meant.iter().map(|place| read_back(&rows[*place])).collect();
        assert_eq!(reports.rows(filter, None, 50).await.unwrap(), meant, "{filter:?}");
    }
    let before = Cursor { created_at: at(3), request: rows[3].request };
    let page = reports.rows(&error(""), Some(before), 1).await.unwrap();
    assert_eq!(page, [read_back(&rows[2])], "a page of a filter goes on where the last one ended");
}

async fn what_is_asked_absurdly_is_answered(reports: &dyn Reports, rows: usize) {
    let (first, last) = (Some(Timestamp(i64::MIN)), Some(Timestamp(i64::MAX)));
    assert_eq!(reports.days(Day(i32::MIN), Day(i32::MAX)).await.unwrap().len(), 2);
    assert_eq!(reports.split(Day(i32::MIN), Day(i32::MAX)).await.unwrap().len(), 3);
    let ever = Filter { since: first, until: last, ..Filter::default() };
    assert_eq!(reports.rows(&ever, None, u32::MAX).await.unwrap().len(), rows);
    let never = Filter { since: last, until: first, ..Filter::default() };
    assert_eq!(reports.rows(&never, None, 50).await.unwrap(), []);
    assert_eq!(reports.rows(&ever, None, 0).await.unwrap(), []);
    for created_at in [Timestamp(i64::MIN), Timestamp(i64::MAX)] {
        let before = Cursor { created_at, request: RequestId(Uuid::max()) };
        assert!(reports.rows(&ever, Some(before), 50).await.is_ok());
    }
    let odd = |text: String| {
        let text = Some(text);
        [
            Filter { model: text.clone(), ..Filter::default() },
            Filter { session_id: text.clone(), ..Filter::default() },
            Filter { error: text, ..Filter::default() },
        ]
    };
    for filter in odd("a\0b".into()).into_iter().chain(odd("x".repeat(1 << 20))).chain(odd("\u{1f98a}\u{202e}".into()))
    {
        assert_eq!(reports.rows(&filter, None, 50).await.unwrap(), []);
    }
}

/// Many rows, some in one millisecond, by pages of a size that does not divide them.
async fn pages_show_each_row_once<S: LedgerStore + ReportStore>(store: &S, user: UserId) {
    let rows: Arc<[Row]> = (0..60).map(|n| logged(user, 2, n / 3)).collect();
    store.append(Arc::clone(&rows)).await.unwrap();
    let (reports, all) = (store.of(user), Filter { since: Some(rows[0].created_at), ..Filter::default() });
    let by_kind = Filter { stage: rows[0].stage, status: Some(rows[0].status), ..all.clone() };
    for filter in [all, by_kind] {
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = reports.rows(&filter, before, 7).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(Cursor { created_at: last.created_at, request: last.request });
            seen.extend(page);
            assert!(seen.len() <= rows.len(), "a page was shown twice");
        }
        assert!(seen.is_sorted_by(|newer, older| newer.created_at >= older.created_at));
        let ids = |ids: &mut dyn Iterator<Item = RequestId>| ids.collect::<BTreeSet<_>>();
        assert_eq!(ids(&mut seen.iter().map(|row| row.request)), ids(&mut rows.iter().map(|row| row.request)));
    }
}

/// Rows in all kinds of company, asked for by every choice of filters: those of one row, which passes them all, and those
/// of two, which may have nothing to do with each other.
async fn filters_pass_in_any_company_what_each_of_them_passes<S: LedgerStore + ReportStore>(store: &S) {
    let user = UserId(Uuid::new_v4());
    let rows = mixed(user);
    store.append(rows.clone().into()).await.unwrap();
    let reports = store.of(user);
    let mut newest_first: Vec<&Row> = rows.iter().collect();
    newest_first.sort_by_key(|row| std::cmp::Reverse((row.created_at, row.request.0)));
    let (mut some, mut none) = (0, 0);
    for chosen in 0..1_u32 << 7 {
        for (one, other) in [(40, 40), (117, 112), (117, 84), (117, 63)] {
            let asked = |number: usize| ((chosen >> number) & 1 == 1).then(|| &rows[[one, other][number % 2]]);
            let filter = Filter {
                stage: asked(0).and_then(|row| row.stage),
                model: asked(1).and_then(|row| row.model.as_deref().map(str::to_owned)),
                status: asked(2).map(|row| row.status),
                key: asked(3).map(|row| row.key),
                session_id: asked(4).and_then(|row| row.session_id.clone()),
                error: asked(5).and_then(|row| row.error.as_ref().map(|text| text[3..].to_uppercase())),
                since: asked(6).map(|_| rows[20].created_at),
                until: asked(6).map(|_| rows[110].created_at),
            };
            let meant: Vec<_> =
                newest_first.iter().filter(|row| passes(&filter, row)).map(|row| read_back(row)).collect();
            let (first, second) = meant.split_at(meant.len().min(7));
            let page = reports.rows(&filter, None, 7).await.unwrap();
            assert_eq!(page, first, "{filter:?}");
            if let Some(last) = page.last() {
                let before = Cursor { created_at: last.created_at, request: last.request };
                assert_eq!(reports.rows(&filter, Some(before), 1_000).await.unwrap(), second, "{filter:?}");
            }
            if meant.is_empty() { none += 1 } else { some += 1 }
        }
    }
    assert!(some > 100 && none > 100, "{some} found rows, {none} none");
}

/// Whether a row of [`mixed`] is what is asked for.
fn passes(filter: &Filter, row: &Row) -> bool {
    fn is<T: PartialEq>(asked: Option<T>, value: Option<T>) -> bool {
        asked.is_none() || asked == value
    }
    is(filter.stage, row.stage)
        && is(filter.model.as_deref(), row.model.as_deref())
        && is(filter.status, Some(row.status))
        && is(filter.key, Some(row.key))
        && is(filter.session_id.as_deref(), row.session_id.as_deref())
        && filter.error.as_ref().is_none_or(|part| {
            row.error.as_ref().is_some_and(|text| text.to_lowercase().contains(&part.to_lowercase()))
        })
        && filter.since.is_none_or(|since| since <= row.created_at)
        && filter.until.is_none_or(|until| row.created_at < until)
}

/// Three days of somebody whose rows have everything in common with some others, and nothing with all; three in a millisecond.
fn mixed(user: UserId) -> Vec<Row> {
    let mut state = 1_u64;
    let mut of = |count: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % count
    };
    let row = |n: i64| Row {
        stage: [None, Some(Stage::Plan), Some(Stage::Code)][of(3)],
        model: [None, Some("claude-sonnet"), Some("deepseek")][of(3)].map(Arc::from),
        status: [Status::Success, Status::Error, Status::RateLimited, Status::Cancelled][of(4)],
        key: KeyId(Uuid::from_u128([2, 77, 78][of(3)])),
        session_id: [None, Some("one"), Some("other")][of(3)].map(str::to_owned),
        error: [None, Some("upstream_timeout"), Some("Client_Closed")][of(3)].map(str::to_owned),
        ..logged(user, n / 40, n / 3)
    };
    (0..120).map(row).collect()
}
