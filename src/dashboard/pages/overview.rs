//! What was used today, what is left, what it cost and how quick it was.

use axum::Extension;
use axum::response::Response;
use maud::{Markup, PreEscaped, html};
use serde::Serialize;

use crate::dashboard::assets::{CHART, UPLOT, UPLOT_STYLE};
use crate::dashboard::frame::{self, Here, Page};
use crate::dashboard::parts::{bar, figure, maybe};
use crate::dashboard::shown::{count, day, duration, instant, money, share};
use crate::dashboard::signed::Signed;
use crate::dashboard::texts::{Texts, fill};
use crate::ledger::{DayUsage, Pace, Share};
use crate::units::{Day, NanoUsd, Stage, StoreError, Timestamp};

const CHARTED: i32 = 30;
const HOUR: i64 = 3_600 * 1_000_000;
const DAY: i64 = 24 * HOUR;
/// Hours that the pace is told of.
const PACED: i64 = 24;

/// All that the page shows.
struct View {
    today: Day,
    now: Timestamp,
    /// Of the last 30 days and of this month, oldest first, without gaps.
    days: Vec<DayUsage>,
    /// Today's.
    split: Vec<Share>,
    /// Of the last [`PACED`] hours.
    pace: Pace,
}

pub(super) async fn page(Extension(signed): Extension<Signed>) -> Response {
    let view = match signed.reports().await {
        Ok(reports) => read(&*reports, signed.now()).await,
        Err(answer) => return answer,
    };
    match view {
        Ok(view) => shown(&signed, &view),
        Err(error) => signed.unread(&error),
    }
}

async fn read(reports: &dyn crate::ledger::Reports, now: Timestamp) -> Result<View, StoreError> {
    let today = now.day();
    let first = Day((today.0 - CHARTED + 1).min(first_of_month(today).0));
    // What another edge's clock has begun a little later than now counts, too; months that are still to come are not looked at.
    let known = reports.overview(first, today, Timestamp(now.0 - PACED * HOUR), Timestamp(now.0 + DAY)).await?;
    let days = (first.0..=today.0).map(|day| {
        let known = known.days.iter().find(|known| known.day.0 == day).copied();
        known.unwrap_or_else(|| nothing_on(Day(day)))
    });
    Ok(View { today, now, days: days.collect(), split: known.split, pace: known.pace })
}

fn nothing_on(day: Day) -> DayUsage {
    let cost = NanoUsd::default();
    DayUsage { day, requests: 0, rows: 0, answered: 0, failed: 0, input_tokens: 0, output_tokens: 0, cost }
}

fn first_of_month(today: Day) -> Day {
    let of_month = today.iso().get(8..10).and_then(|day| day.parse::<i32>().ok()).unwrap_or(1);
    Day(today.0 - of_month + 1)
}

fn shown(signed: &Signed, view: &View) -> Response {
    let texts = signed.visitor.texts();
    let today = view.days.last().copied().unwrap_or_else(|| nothing_on(view.today));
    let body = html! {
        header.heading { h1 { (texts.overview) } p.soft { (day(texts, view.today)) " · UTC" } }
        @if view.days.iter().all(|day| day.rows == 0 && day.requests == 0) { (welcome(texts)) }
        (quota(signed, view, &today))
        (figures(signed, view, &today))
        (stages(signed, view))
        (history(signed, view))
    };
    let page = Page {
        title: texts.overview,
        here: Here::Overview,
        scripts: &[&*UPLOT, &*CHART],
        styles: &[&*UPLOT_STYLE],
        body,
    };
    frame::signed(signed, page)
}

fn welcome(texts: &Texts) -> Markup {
    html! {
        section.panel.empty {
            h2 { (texts.welcome) }
            p { (texts.welcome_words) }
            p.actions { a.button href="/keys" { (texts.make_key) } a.button.plain href="/connect" { (texts.connect) } }
        }
    }
}

fn quota(signed: &Signed, view: &View, today: &DayUsage) -> Markup {
    let (texts, language) = (signed.visitor.texts(), signed.visitor.language);
    let limit = u64::from(signed.me.daily_limit);
    let left = limit.saturating_sub(today.requests);
    let full = today.requests >= limit;
    html! {
        section.panel.quota aria-labelledby="today" {
            div.split {
                h2 #today { (texts.requests_today) }
                p.soft {
                    (texts.resets) " "
                    time.countdown datetime=(view.today.end().rfc3339()) data-countdown=(texts.resets_in) {
                        (fill(texts.resets_in, &[("time", &remaining(texts, view))]))
                    }
                }
            }
            p.large { strong { (count(language, today.requests)) } span.soft { " / " (count(language, limit)) } }
            progress.meter max=(limit.max(1)) value=(today.requests.min(limit.max(1))) aria-labelledby="today" data-full[full] {
                (count(language, today.requests)) " / " (count(language, limit))
            }
            p.hint { (fill(texts.left_today, &[("n", &count(language, left))])) }
        }
    }
}

fn remaining(texts: &Texts, view: &View) -> String {
    let minutes = view.now.until(view.today.end()).as_secs().div_ceil(60);
    let mut units = texts.countdown_units.split(' ');
    let (hour, minute) = (units.next().unwrap_or_default(), units.next().unwrap_or_default());
    format!("{} {hour} {} {minute}", minutes / 60, minutes % 60)
}

fn figures(signed: &Signed, view: &View, today: &DayUsage) -> Markup {
    let (texts, language) = (signed.visitor.texts(), signed.visitor.language);
    let first = first_of_month(view.today);
    let month = view.days.iter().filter(|day| day.day >= first).map(|day| day.cost.0).fold(0, i64::saturating_add);
    let tokens = fill(
        texts.tokens_today,
        &[("input", &count(language, today.input_tokens)), ("output", &count(language, today.output_tokens))],
    );
    let rate = share(language, today.failed, today.rows).unwrap_or_else(|| texts.none.to_owned());
    let failed =
        fill(texts.failed_of, &[("n", &count(language, today.failed)), ("rows", &count(language, today.rows))]);
    let paced = |number: Option<u64>| number.map_or_else(|| texts.none.to_owned(), |number| duration(language, number));
    let p95 = |number: Option<u64>| html! { "p95 " (maybe(texts, language, number, duration)) };
    html! {
        dl.figures {
            (figure(texts.cost_today, &money(language, today.cost), &html! { (tokens) }))
            (figure(texts.cost_month, &money(language, NanoUsd(month)), &html! { (fill(texts.since, &[("day", &day(texts, first))])) }))
            (figure(texts.latency, &paced(view.pace.latency_p50), &p95(view.pace.latency_p95)))
            (figure(texts.first_token, &paced(view.pace.first_token_p50), &p95(view.pace.first_token_p95)))
            (figure(texts.error_rate, &rate, &html! { (failed) }))
        }
        p.hint.under { (fill(texts.pace_of, &[("hours", &PACED.to_string()), ("n", &count(language, view.pace.requests))])) }
    }
}

/// Today's requests by stage, and by model below it.
fn stages(signed: &Signed, view: &View) -> Markup {
    let (texts, language) = (signed.visitor.texts(), signed.visitor.language);
    let all: u64 = view.split.iter().map(|share| share.requests).sum();
    let named: Vec<Option<Stage>> = Stage::ALL.into_iter().map(Some).chain([None]).collect();
    let of_stage = |stage: Option<Stage>| view.split.iter().filter(move |share| share.stage == stage);
    html! {
        section.panel aria-labelledby="stages" {
            h2 #stages { (texts.by_stage) }
            @if all == 0 {
                p.soft { (texts.nothing_today) }
            } @else {
                div.scroll tabindex="0" role="group" aria-labelledby="stages" {
                    table.stacks {
                        thead { tr {
                            th scope="col" { (texts.stage) } th scope="col" { (texts.model) }
                            th.number scope="col" { (texts.requests) } th scope="col" { span.away { (texts.share) } }
                            th.number scope="col" { (texts.tokens) } th.number scope="col" { (texts.cost) }
                        } }
                        tbody {
                            @for stage in named {
                                @for part in of_stage(stage) {
                                    tr {
                                        td data-name=(texts.stage) { (crate::dashboard::parts::stage(texts, stage)) }
                                        td.breaks data-name=(texts.model) { @match &part.model { Some(model) => bdi { (model) }, None => span.soft { (texts.unknown) } } }
                                        td.number data-name=(texts.requests) { (count(language, part.requests)) }
                                        td.wide { (bar(part.requests, all)) }
                                        td.number data-name=(texts.tokens) { (count(language, part.input_tokens.saturating_add(part.output_tokens))) }
                                        td.number data-name=(texts.cost) { (money(language, part.cost)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What the chart's script draws. Arrays of one length, by day.
#[derive(Serialize)]
struct Chart<'a> {
    /// Seconds since the Unix epoch, at the day's beginning.
    days: Vec<i64>,
    answered: Vec<u64>,
    /// Failed, refused or cancelled.
    other: Vec<u64>,
    /// US dollars.
    cost: Vec<f64>,
    words: [&'a str; 5],
}

fn history(signed: &Signed, view: &View) -> Markup {
    let (texts, language) = (signed.visitor.texts(), signed.visitor.language);
    let charted = view.days.len().saturating_sub(CHARTED.unsigned_abs() as usize);
    let days = view.days.get(charted..).unwrap_or_default();
    let other = |day: &DayUsage| day.rows.saturating_sub(day.answered);
    let chart = Chart {
        days: days.iter().map(|day| day.day.start().0 / 1_000_000).collect(),
        answered: days.iter().map(|day| day.answered).collect(),
        other: days.iter().map(other).collect(),
        cost: days.iter().map(|day| dollars(day.cost)).collect(),
        words: [texts.day, texts.answered, texts.not_answered, texts.cost_usd, texts.requests],
    };
    // Numbers and words of ours; `<` is written so that nothing in it can end the script element.
    let json = serde_json::to_string(&chart).unwrap_or_default().replace('<', "\\u003c");
    let charted = CHARTED.to_string();
    let charted = [("n", charted.as_str())];
    html! {
        section.panel aria-labelledby="history" {
            h2 #history { (fill(texts.last_days, &charted)) }
            div #chart .chart role="img" aria-label=(fill(texts.chart_label, &charted)) {}
            script #chart-data type="application/json" { (PreEscaped(json)) }
            noscript { p.hint { (texts.chart_needs_script) } }
            details {
                summary { (texts.as_table) }
                div.scroll tabindex="0" role="group" aria-labelledby="history" {
                    table {
                        thead { tr {
                            th scope="col" { (texts.day) } th.number scope="col" { (texts.requests) }
                            th.number scope="col" { (texts.answered) } th.number scope="col" { (texts.failed) }
                            th.number scope="col" { (texts.tokens) } th.number scope="col" { (texts.cost) }
                        } }
                        tbody {
                            @for row in days.iter().rev() {
                                tr {
                                    th scope="row" { (day(texts, row.day)) }
                                    td.number { (count(language, row.rows)) }
                                    td.number { (count(language, row.answered)) }
                                    td.number { (count(language, row.failed)) }
                                    td.number { (count(language, row.input_tokens.saturating_add(row.output_tokens))) }
                                    td.number { (money(language, row.cost)) }
                                }
                            }
                        }
                    }
                }
            }
            p.hint { (texts.as_of) " " (instant(texts, view.now)) }
        }
    }
}

/// For drawing alone: a float is fine for a line of 200 pixels.
#[expect(clippy::cast_precision_loss, reason = "a line of 200 pixels shows no more")]
fn dollars(amount: NanoUsd) -> f64 {
    amount.0 as f64 / 1e9
}
